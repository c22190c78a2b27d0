"""The rows of `ngcg models`: stored, and counted on the meta device to see that they are right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ngcg_cli.encoder.backbones import BACKBONES, Backbone, short_name
from ngcg_cli.encoder.received import read_object
from ngcg_cli.encoder.weights import bundled_folder
from ngcg_cli.errors import ModelError

_CONFIGS = Path(__file__).parent / "configs"
#: Parameters, those that LoRA trains, and the vectors' width: counting them takes seconds of
#: imports. A test compares them with `count`.
_COUNTS = {
    "tiny": (11_719_472, 218_112, 256),
    "smolvlm-256m": (232_236_480, 4_136_832, 576),
    "smolvlm-500m": (466_581_696, 6_408_192, 960),
    "internvl3.5-1b": (914_342_912, 9_027_584, 1024),
    "git-rsclip-base": (205_588_994, 2_433_024, 768),
    "git-rsclip": (658_638_850, 6_488_064, 1024),
    "siglip2-base": (377_667_074, 2_433_024, 768),
    "qwen3-vl-embedding-2b": (2_137_853_952, 10_321_920, 2048),
    "embeddinggemma-2": (444_535_808, 5_775_360, 768),
    "qwen3-vl-embedding-8b": (8_170_082_544, 25_288_704, 4096),
}
#: The licence on the model's page, and what must be there before one searches with it.
_HUB = "the hub"
_FACTS = {
    "tiny": ("research", "nothing"),
    "smolvlm-256m": ("Apache-2.0", f"{_HUB}; training"),
    "smolvlm-500m": ("Apache-2.0", f"{_HUB}; training"),
    "internvl3.5-1b": ("Apache-2.0", f"{_HUB}; training"),
    "git-rsclip-base": ("Apache-2.0", _HUB),
    "git-rsclip": ("Apache-2.0", _HUB),
    "siglip2-base": ("Apache-2.0", _HUB),
    "qwen3-vl-embedding-2b": ("Apache-2.0", f"{_HUB}; a GPU"),
    "qwen3-vl-embedding-8b": ("see its page", f"{_HUB}; a GPU"),
    "embeddinggemma-2": ("Apache-2.0", _HUB),
}


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


def licence_of(name: str) -> str | None:
    """The licence of a named backbone, by its short name or its hub id; None for any other."""
    return _FACTS[short][0] if (short := short_name(name)) in _FACTS else None


def list_backbones() -> list[dict[str, Any]]:
    """One row for each named backbone, for `ngcg models`.

    `trainable_parameters` is what LoRA trains with its default settings; `parameters` is the base
    model, without language-model head, together with that adapter (as peft and the paper count).
    """
    rows = []
    for name, backbone in BACKBONES.items():
        licence, needs = _FACTS[name]
        rows.append(row(backbone, *_COUNTS[name]) | {"licence": licence, "needs": needs})
    return rows


def row(backbone: Backbone, parameters: int, trainable: int, dim: int) -> dict[str, Any]:
    """One backbone's row: its declaration and its counts."""
    return {
        "name": backbone.name,
        "hub_id": backbone.hub_id,
        "parameters": parameters,
        "trainable_parameters": trainable,
        "dim": dim,
        "image_size": backbone.image_size,
        "image_tokens": backbone.image_tokens,
        "bundled": backbone.bundled is not None,
    }


def count(backbone: Backbone) -> tuple[int, int, int]:
    """Parameters, those that LoRA trains by default, and width, of the architecture itself."""
    import torch
    from transformers import AutoModel

    from ngcg_cli.encoder.dual import module_for
    from ngcg_cli.encoder.lora import add_lora

    with torch.device("meta"):
        base = AutoModel.from_config(backbone_config(backbone.name))
        module = module_for(base, backbone, ([], []))
        add_lora(module)
    sizes = [(weight.numel(), weight.requires_grad) for weight in module.parameters()]
    return sum(n for n, _ in sizes), sum(n for n, trained in sizes if trained), module.dim
