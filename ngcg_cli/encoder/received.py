"""What a model folder from a stranger may hold: checked before any library sees it.

Weights are numbers and come as safetensors; what could run, fetch, hang or fill memory is in the
JSON beside them. Nothing here trusts a size: configs are held to the tensors that really came, a
tokenizer to the model's vocabulary (`tokenizer_file.py`), an adapter to the layers of its base
(`adapter_file.py`).
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ngcg_cli.errors import ModelError

#: Bytes of a config: the largest published ones have some 100 kB.
_CONFIG_BYTES = 4 << 20
#: Whole numbers in a config: vocabularies and context lengths are far below.
_MAX_NUMBER = 1 << 24
_MAX_SIDE = 4096

#: Parts of a supported model. Others could fetch weights of their own (timm) or are never tested.
VISION_TYPES = ("smolvlm_vision", "idefics3_vision", "internvl_vision", "ngcg_convnet")
TEXT_TYPES = ("llama", "mistral", "qwen2", "qwen3", "qwen3_moe", "phi3", "gemma", "gemma2")
#: Those of a model type that has its own.
_OWN_PARTS = {
    "siglip": (("siglip_vision_model",), ("siglip_text_model",)),
    "qwen3_vl": (("qwen3_vl_vision", "qwen3_vl"), ("qwen3_vl_text",)),
    "embedding_gemma2": (("gemma4_vision",), ("embedding_gemma2_text",)),
}
#: Words of a config that make transformers import or fetch code; the encoder needs none of them.
_UNWANTED = ("auto_map", "attn_implementation", "experts_implementation", "transformers_weights")


def read_bounded(path: Path, limit: int) -> bytes:
    """The bytes of a regular file; links are followed, as the hub's cache is made of them.

    Raises:
        ModelError: it is missing, a device or a pipe, or holds more than `limit` bytes.
    """
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        with open(handle, "rb") as file:
            facts = os.fstat(handle)
            if not stat.S_ISREG(facts.st_mode):
                raise ModelError("no regular file", where=path)
            if facts.st_size > limit:
                raise ModelError(f"{facts.st_size:,} bytes, more than {limit:,}", where=path)
            return file.read(limit)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ModelError(f"cannot be read ({reason})", where=path) from error


def read_object(path: Path, limit: int = _CONFIG_BYTES) -> dict[str, Any]:
    """A JSON object of at most `limit` bytes.

    Raises:
        ModelError: the file is missing, too large, or is no JSON object.
    """
    return parse_object(read_bounded(path, limit), path)


def parse_object(data: bytes, where: Path) -> dict[str, Any]:
    """The JSON object that `data` spells."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"cannot be read ({error})", where=where) from error
    if not isinstance(value, dict):
        raise ModelError("expected a JSON object", where=where)
    return value


def model_config(path: Path, model_types: tuple[str, ...]) -> dict[str, Any]:
    """A `config.json` without the words that make transformers import or fetch something.

    Raises:
        ModelError: not a model of the supported types, or a number in it is out of all bounds.
    """
    config: dict[str, Any] = _without_code(read_object(path))
    own = config.get("model_type")
    parts = _OWN_PARTS.get(own if isinstance(own, str) else "", (VISION_TYPES, TEXT_TYPES))
    kinds = [("", model_types), ("vision_config", parts[0]), ("text_config", parts[1])]
    for part, known in kinds:
        held = config.get(part, {}) if part else config
        # transformers knows a part without a type by its place.
        kind = held.get("model_type", None if not part else known[0]) if _is_map(held) else held
        if kind is None:
            raise ModelError(
                f"no usable model config ({part or path.name} has no model_type)", where=path
            )
        if kind not in known:
            named = f"{part}.model_type" if part else "model type"
            raise ModelError(
                f"{named} {kind!r} is not supported",
                where=path.parent,
                hint=f"Supported are {', '.join(known)}.",
            )
    for key, value in _numbers(config):
        if abs(value) > _MAX_NUMBER and "rope" not in key and "theta" not in key:
            raise ModelError(f"{key} is {value}, which no model has", where=path)
    _check_sides(config.get("vision_config", {}), path)
    return config


def check_depth(config: Mapping[str, Any], tensors: int, where: Path) -> None:
    """See that a config asks for no more layers than `tensors`, those that came with it.

    Raises:
        ModelError: it does; building it would take for ever.
    """
    counted = [
        (key, value)
        for key, value in _numbers(config)
        if re.search(r"layers|depth|experts$|blocks", key) and "per_tok" not in key
    ]
    stages = config.get("vision_config", {}).get("stages", [])
    with contextlib.suppress(TypeError, IndexError, KeyError):
        counted.append(("stages", sum(stage[-1] for stage in stages)))
    for key, value in counted:
        if value > max(tensors, 0):
            raise ModelError(f"{key} is {value}, with {tensors} weights in all", where=where)


def _without_code(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_code(item) for item in value]
    if not isinstance(value, dict):
        return value
    if value.get("quantization_config"):
        raise ModelError("quantised weights are not supported", hint="Use the original weights.")
    kept = value.items()
    return {k: _without_code(v) for k, v in kept if k not in _UNWANTED and not k.startswith("_")}


def _is_map(value: Any) -> bool:
    return isinstance(value, dict)


def _numbers(value: Any, key: str = "") -> Iterator[tuple[str, int]]:
    """Every whole number in a config, with the key it stands under."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _numbers(item, str(name))
    elif isinstance(value, list):
        for item in value:
            yield from _numbers(item, key)
    elif isinstance(value, int) and not isinstance(value, bool):
        yield key, value


def _check_sides(vision: Mapping[str, Any], where: Path) -> None:
    for key, least in (("image_size", 1), ("patch_size", 2)):
        sides = vision.get(key, 16)
        for side in sides if isinstance(sides, list) else [sides]:
            if not isinstance(side, int) or not least <= side <= _MAX_SIDE:
                raise ModelError(f"{key} is {sides}, not {least} to {_MAX_SIDE}", where=where)


_BOUNDS = {"image_size": _MAX_SIDE, "image_tokens": 1 << 14, "max_text_tokens": 1 << 15}


def check_settings(settings: Mapping[str, Any], known: Mapping[str, Any], where: Any) -> None:
    """See that the encoder settings of a checkpoint are of the kinds and sizes of a backbone's.

    Raises:
        ModelError: a value of another type, out of bounds, or not finite.
    """
    for key, value in settings.items():
        own = known[key]
        good = type(value) is type(own)
        if isinstance(own, list):
            good = good and len(value) == len(own) and all(map(is_number, value))
            good = good and (key != "std" or all(item > 0 for item in value))
        elif key in _BOUNDS:
            good = good and 1 <= value <= _BOUNDS[key]
        elif isinstance(own, str):
            good = good and len(value) <= 256
        if key == "resample":
            good = good and value in ("bilinear", "bicubic", "lanczos")
        if not good:
            raise ModelError(f"setting {key} cannot be {str(value)[:60]!r}", where=where)


def is_number(value: Any) -> bool:
    """Whether a JSON value is a finite number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
