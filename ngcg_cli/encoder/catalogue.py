"""The rows of `ngcg models`: counted on the meta device, without weights and without network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ngcg_cli.encoder.backbones import BACKBONES, Backbone
from ngcg_cli.encoder.lora import add_lora
from ngcg_cli.encoder.module import EncoderModule
from ngcg_cli.encoder.received import read_object
from ngcg_cli.encoder.weights import bundled_folder
from ngcg_cli.errors import ModelError

_CONFIGS = Path(__file__).parent / "configs"


def backbone_config(name: str) -> Any:
    """The transformers config of a named backbone, from the package.

    Raises:
        ModelError: no such backbone.
    """
    from transformers import AutoConfig

    from ngcg_cli.encoder import convnet  # noqa: F401 -- registers the bundled model's classes

    backbone = BACKBONES.get(name)
    if backbone is None:
        raise ModelError(f"no backbone '{name}'", hint=f"Named are {', '.join(BACKBONES)}.")
    folder = bundled_folder(backbone)
    path = _CONFIGS / f"{name}.json" if folder is None else folder / "config.json"
    values = read_object(path)
    return AutoConfig.for_model(values.pop("model_type"), **values)


def list_backbones() -> list[dict[str, Any]]:
    """One row for each named backbone, for `ngcg models`.

    `trainable_parameters` is what LoRA trains with its default settings; `parameters` is the base
    model, without language-model head, together with that adapter (as peft and the paper count).
    """
    return [row(backbone) for backbone in BACKBONES.values()]


def row(backbone: Backbone) -> dict[str, Any]:
    """One backbone's row: its declaration and its counts."""
    import torch
    from transformers import AutoModel

    with torch.device("meta"):
        base = AutoModel.from_config(backbone_config(backbone.name))
        module = EncoderModule(base, image_prefix=[], image_suffix=[])
        add_lora(module)
    parameters = list(module.parameters())
    return {
        "name": backbone.name,
        "hub_id": backbone.hub_id,
        "parameters": sum(p.numel() for p in parameters),
        "trainable_parameters": sum(p.numel() for p in parameters if p.requires_grad),
        "dim": module.dim,
        "image_size": backbone.image_size,
        "image_tokens": backbone.image_tokens,
        "bundled": backbone.bundled is not None,
    }
