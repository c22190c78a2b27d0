"""An `adapter_config.json` from a stranger: plain names and ranks that its weights bear out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ngcg_cli.encoder.received import is_number, read_object
from ngcg_cli.errors import ModelError

_PLAIN_NAME = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*")

#: Of a LoRA config, what is taken over; the rest must be empty, or is about training alone.
_ADAPTER_KEYS = ("r", "lora_alpha", "lora_dropout", "use_dora", "use_rslora", "target_modules")
_PATTERN_KEYS = ("rank_pattern", "alpha_pattern")
_IDLE_KEYS = (
    *("peft_type", "peft_version", "task_type", "base_model_name_or_path", "revision"),
    *("inference_mode", "init_lora_weights", "auto_mapping", "qalora_group_size", "bias"),
    # Without its config, peft imports nothing of this name.
    *("ensure_weight_tying", "megatron_core"),
)


def adapter_config(path: Path) -> dict[str, Any]:
    """What `peft.LoraConfig` may be told of a received `adapter_config.json`.

    `target_modules` and the keys of the patterns are plain names, as peft would take anything else
    for regular expressions; parts that import, fetch or initialise in their own way are refused.

    Raises:
        ModelError: anything else.
    """
    config = read_object(path)
    if config.get("peft_type", "LORA") != "LORA" or config.get("bias", "none") != "none":
        raise ModelError("only LoRA adapters without biases are supported", where=path)
    known = {*_ADAPTER_KEYS, *_PATTERN_KEYS, *_IDLE_KEYS}
    odd = sorted(key for key, value in config.items() if key not in known and value)
    if odd:
        raise ModelError(f"the adapter uses {odd[0]!r}, which is not supported", where=path)
    targets = config.get("target_modules")
    if not isinstance(targets, list) or not 0 < len(targets) <= 4096 or not _plain(targets):
        raise ModelError("target_modules is not a list of plain layer names", where=path)
    taken = {key: config[key] for key in _ADAPTER_KEYS if key in config}
    for key in _PATTERN_KEYS:
        taken[key] = config.get(key) or {}
        if not isinstance(taken[key], dict) or not _plain(taken[key]):
            raise ModelError(f"{key} is not a list of plain layer names", where=path)
    ranks = [config.get("r"), *taken["rank_pattern"].values()]
    if not all(isinstance(rank, int) and 0 < rank <= 1 << 16 for rank in ranks):
        raise ModelError(f"rank {config.get('r')!r} is not a number of columns", where=path)
    scales = [config.get("lora_alpha", 8), *taken["alpha_pattern"].values()]
    if not all(map(is_number, [*scales, config.get("lora_dropout", 0.0)])):
        raise ModelError("lora_alpha and lora_dropout are not numbers", where=path)
    return taken


def _plain(names: Any) -> bool:
    return all(isinstance(n, str) and len(n) < 512 and _PLAIN_NAME.fullmatch(n) for n in names)


def check_rank(
    config: Mapping[str, Any],
    layers: Mapping[str, Any],
    shapes: Mapping[str, list[int]],
    where: Path,
) -> None:
    """See that an adapter's weights are there, in the sizes its config asks for.

    Before any of them is made, as the sizes may be beyond all memory.

    Args:
        config: as `adapter_config` gives it.
        layers: the base's layers by name.
        shapes: of the adapter's tensors, by key.
        where: named in errors.

    Raises:
        ModelError: a rank beyond a layer's sides, or another than that of its weights.
    """
    targets = tuple(config["target_modules"])
    for name, layer in layers.items():
        weight = getattr(layer, "weight", None)
        if weight is None or not _meant(name, targets):
            continue
        key = f"base_model.model.{name}.lora_A.weight"
        down = shapes.get(key, []) or shapes.get(key.replace("A.weight", "embedding_A"), [])
        rank = _rank_of(name, config)
        if rank > max(weight.shape) or (down and down[0] != rank):
            found = "" if not down else f", {key} has {down[0]}"
            raise ModelError(
                f"the adapter does not fit the base model: rank {rank} is asked for{found}, "
                f"of a layer of {'x'.join(map(str, weight.shape))}",
                where=where,
                hint="It must be used with the base model that it was trained on.",
            )


def _rank_of(name: str, config: Mapping[str, Any]) -> int:
    """The rank that peft gives a layer: the first pattern that its name ends with, else `r`."""
    for key, rank in config["rank_pattern"].items():
        if re.fullmatch(rf"(.*\.)?({key})", name):
            return int(rank)
    return int(config["r"])


def _meant(name: str, targets: tuple[str, ...]) -> bool:
    """Whether peft takes a layer for one of `target_modules`: by its whole name or its end."""
    return name in targets or any(name.endswith(f".{target}") for target in targets)
