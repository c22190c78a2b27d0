"""DoRA's norms, computed once while the weights stand still."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


@contextmanager
def norms_taken_once(module: nn.Module) -> Iterator[None]:
    """Inside, each DoRA layer of `module` has the norm of its weight from a single computation.

    peft takes it in every forward pass: the product of both LoRA matrices, as large as the layer's
    own weight, and its norm. Between two updates of the weights it is always the same, and DoRA
    treats it as a constant in the backward pass (arXiv 2402.09353, section 4.3). A gradient cache
    makes two passes a chunk. So: no update of the weights inside. Gradients are the same, to the
    bit in float32; under autocast the norm is taken in float32 instead of 16 bits.
    """
    layers = []
    wrapper: Any
    for wrapper in module.modules():
        # A LoRA layer holds its DoRA part, if any, by the adapter's name.
        for name, layer in getattr(wrapper, "lora_magnitude_vector", {}).items():
            if isinstance(wrapper.get_base_layer(), nn.Linear):
                _fix(layer, wrapper, name)
                layers.append(layer)
    try:
        yield
    finally:
        for layer in layers:
            del layer.get_lora_weight, layer.get_weight_norm


def _fix(layer: Any, wrapper: Any, name: str) -> None:
    """Make the layer's two methods give the norm as it is now."""
    with torch.no_grad():
        product = layer.get_lora_weight(lora_A=wrapper.lora_A[name], lora_B=wrapper.lora_B[name])
        weight = wrapper.get_base_layer().weight
        norm = layer.get_weight_norm(weight, product.to(weight.dtype), wrapper.scaling[name])
    # peft uses the product for the norm alone, so that it need not be there either.
    layer.get_lora_weight = layer.get_weight_norm = lambda *_, **__: norm
