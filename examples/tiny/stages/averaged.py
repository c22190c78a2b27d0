"""The mean of several runs' weights, a "soup" (arXiv 2203.05482): one model, as quick as each."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from examples.tiny.keyed import contents
from examples.tiny.stages.panel import bare
from ngcg_cli.encoder.encoder import Encoder
from ngcg_cli.errors import UsageError


@torch.no_grad()
def mean(models: Sequence[Encoder]) -> Encoder:
    """The first of the models, with the mean of all models' weights, and none of their balances.

    Raises:
        UsageError: their weights differ in names or shapes, or their tokenizers differ.
    """
    states = [bare(model).module.state_dict() for model in models]
    shapes = [{name: weight.shape for name, weight in state.items()} for state in states]
    if any(own != shapes[0] for own in shapes):
        raise UsageError("these models differ in architecture: their weights have no mean")
    if len({contents(model.folder / "tokenizer.json") for model in models}) > 1:
        raise UsageError("these models differ in their tokenizers: their weights have no mean")
    for name, weight in states[0].items():
        if weight.is_floating_point():
            weight.copy_(torch.stack([state[name] for state in states]).mean(0))
    return models[0]
