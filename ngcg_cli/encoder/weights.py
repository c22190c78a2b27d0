"""A name, hub id or folder to a base model with its weights, on the device asked for."""

from __future__ import annotations

import hashlib
import os
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import isqrt, prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ngcg_cli.encoder.backbones import (
    BACKBONES,
    MODEL_TYPES,
    Backbone,
    derive_backbone,
    short_name,
)
from ngcg_cli.encoder.hub import check_complete, fetch_snapshot, split_revision
from ngcg_cli.encoder.memory import Place, check_room
from ngcg_cli.encoder.received import check_depth, model_config, parse_object, read_object
from ngcg_cli.errors import ModelError, UsageError

if TYPE_CHECKING:
    import torch

_MODELS = Path(__file__).parent.parent / "models"
#: Weight files up to this size are hashed whole, larger ones in blocks spread over them.
_WHOLE = 64 << 20
_BLOCK = 1 << 20
#: Bytes of what a safetensors file says it holds: some hundred thousand tensors.
_HEADER = 16 << 20
#: Numbers that may be missing before a model is refused unseen.
_SPARE = 1 << 24


@dataclass(frozen=True)
class Source:
    """A model directory in transformers' own format, and how it was asked for."""

    name: str
    folder: Path
    hub_id: str | None = None
    revision: str | None = None
    backbone: Backbone | None = None


def pick_device(device: str | torch.device = "auto") -> torch.device:
    """`auto`, `cpu`, `cuda`, `cuda:N` or `mps` to a device that is there.

    Raises:
        UsageError: no such device.
    """
    import torch

    if str(device) == "auto":
        kind = "cuda" if torch.cuda.is_available() else "cpu"
        return torch.device("mps" if torch.backends.mps.is_available() else kind)
    try:
        picked = torch.device(device)
        torch.empty(0, device=picked)
    except (RuntimeError, AssertionError) as error:  # torch asserts that CUDA was compiled in
        raise UsageError(
            f"device '{device}' is not available", hint="Use --device auto or cpu."
        ) from error
    return picked


def resolve(name_or_path: str, revision: str | None = None, *, named: bool = True) -> Source:
    """Find the directory that a `--model` means; a hub id is fetched or taken from the cache.

    Args:
        name_or_path: what was asked for, with `@REVISION` or without.
        revision: on the hub; by default the backbone's.
        named: by the user. What a file names is a folder only by its whole path, and comes from
            the hub only if it is one of the named backbones; else it must be in the cache.

    Raises:
        ModelError: nothing is there, or the hub cannot be reached and the cache has no copy.
    """
    name, asked = split_revision(name_or_path) if named else (name_or_path, None)
    revision = asked or revision
    folder = Path(name).expanduser()
    here = named or folder.is_absolute()
    if name not in BACKBONES and name and here and folder.is_dir():
        if asked:
            raise ModelError("a folder has no revisions", where=name_or_path)
        return Source(name, folder)
    # Its short name and its id on the hub are one model, with one declaration.
    backbone = BACKBONES.get(short_name(name))
    bundled = bundled_folder(backbone) if backbone is not None else None
    if bundled is not None:
        if asked:
            raise ModelError(
                "comes with the package and has no revisions", where=name, hint=f"--model {name}"
            )
        return Source(name, bundled, backbone=backbone)
    hub_id = backbone.hub_id if backbone is not None else name
    parts = (hub_id or "").split("/")
    if hub_id is None or len(parts) != 2 or not all(parts) or parts[0] in {".", "..", "~"}:
        raise ModelError(
            f"no model '{name}'",
            hint=f"Use {', '.join(BACKBONES)}, a hub id like org/model, or a directory.",
        )
    revision = revision or (backbone.revision if backbone is not None else "main")
    if not named and not re.fullmatch(r"[0-9a-f]{40}|main", revision):
        raise ModelError(f"no revision {revision!r} of {hub_id}", hint="A commit is due.")
    offline = not named and backbone is None
    folder = fetch_snapshot(hub_id, revision, named=name in BACKBONES, offline=offline)
    # A snapshot's folder is named by its commit: that is what a checkpoint must remember.
    return Source(name, folder, hub_id, folder.name, backbone)


def bundled_folder(backbone: Backbone) -> Path | None:
    """Where a bundled backbone lies inside the package; None for those on the hub."""
    if backbone.bundled is None:
        return None
    folder = _MODELS / backbone.bundled
    if not (folder / "config.json").is_file():
        raise ModelError(
            f"the bundled model '{backbone.name}' is missing",
            where=folder,
            hint="Install the package again.",
        )
    return folder


def load_base(
    source: Source, dtype: torch.dtype, place: Place, *, head: bool = False
) -> tuple[Any, Backbone]:
    """The transformers base model on the CPU.

    Args:
        source: where it lies.
        dtype: of its weights.
        place: where it will go.
        head: with its language-model head, so that it can generate.

    Raises:
        ModelError: unsupported architecture, weights that do not match it key by key, or more of
            them than there is memory.
    """
    from transformers import AutoConfig

    from ngcg_cli.encoder import convnet  # noqa: F401 -- registers the bundled model's classes

    where = source.folder
    check_complete(where, source.hub_id)
    held = _held(where)
    data = model_config(where / "config.json", MODEL_TYPES)
    check_depth(data, len(held), where / "config.json")
    _never_ask()
    if data["model_type"] == "siglip" and isinstance(data.setdefault("text_config", {}), dict):
        # transformers' own defaults are those of another vocabulary, and it warns of them.
        data["text_config"] = {"bos_token_id": None, "eos_token_id": None} | data["text_config"]
    if data["model_type"] == "embedding_gemma2":
        data["audio_config"] = None  # its tower hears, and is passed over with its weights
    try:
        # Not `from_pretrained`, which also looks for code and for files that a config names.
        config = AutoConfig.for_model(data.pop("model_type"), **data)
    except Exception as error:  # unknown types and invalid values raise their own kinds
        raise ModelError(
            f"no usable model config ({error})", where=where / "config.json"
        ) from error
    preprocessor = where / "preprocessor_config.json"
    _settle_scale_factor(config, held)
    # Of a dual encoder, sizes vary within one name: its own files say which.
    named = source.backbone if config.model_type != "siglip" else None
    backbone = named or derive_backbone(
        config,
        name=source.name,
        hub_id=source.hub_id,
        revision=source.revision or "main",
        preprocessor=read_object(preprocessor) if preprocessor.is_file() else None,
        where=where,
    )
    base = _skeleton(config, sum(map(prod, held.values())), where)
    numbers = sum(weight.numel() for weight in base.parameters())
    check_room(numbers, dtype, place, source.name)
    # Tied weights of a head are stored once, or twice.
    filled = None if head else _filled(base, where, dtype)
    base = filled or _load_converted(config, where, dtype, head=head)
    return base.eval(), backbone


def _never_ask() -> None:
    """transformers may neither run code that a model brings nor ask whether to.

    Every call says so too; this is for those that it makes itself, for parts of a model.
    """
    from transformers import dynamic_module_utils

    dynamic_module_utils.TIME_OUT_REMOTE_CODE = 0


def _skeleton(config: Any, held: int, folder: Path) -> Any:
    """The model without memory for its weights, of which `held` numbers came along.

    Those that are missing are named later; here it is only seen that they would fit into memory.
    """
    from accelerate import init_empty_weights
    from transformers import AutoModel

    try:
        # Buffers are computed, not stored, so they must be real.
        with init_empty_weights(include_buffers=False):
            base = AutoModel.from_config(
                config, attn_implementation="sdpa", trust_remote_code=False
            )
    except Exception as error:  # shapes that do not go together: whatever a layer raises
        raise ModelError(
            f"no usable model config ({error})", where=folder / "config.json"
        ) from error
    due = sum(weight.numel() for weight in base.parameters())
    if due > 2 * held + _SPARE:
        raise ModelError(
            f"weights do not fit config.json: it asks for {due:,} numbers, there are {held:,}",
            where=folder,
        )
    return base


def _filled(base: Any, folder: Path, dtype: torch.dtype) -> Any:
    """`base` with weights that are stored under its own names; None where they are not.

    Several times faster than `from_pretrained` for a small model, and a query waits for it.
    """
    from safetensors import safe_open

    path = folder / "model.safetensors"
    if not path.is_file():
        return None
    try:
        with safe_open(str(path), "pt") as file:
            keys = list(file.keys())
            if set(keys) != base.state_dict().keys():
                return None
            state = {key: file.get_tensor(key).to(dtype) for key in keys}
        base.load_state_dict(state, assign=True)
    except Exception as error:  # a damaged file is safetensors' own kind, shapes a RuntimeError
        raise ModelError(f"weights do not fit config.json ({error})", where=path) from error
    return base


def _load_converted(config: Any, folder: Path, dtype: torch.dtype, *, head: bool = False) -> Any:
    """Through transformers, which knows older names, shards, and checkpoints with a head."""
    from transformers import AutoModel, AutoModelForImageTextToText

    kind: Any = AutoModelForImageTextToText if head else AutoModel
    try:
        with _no_progress_bars():
            base, report = kind.from_pretrained(
                folder,
                config=config,
                dtype=dtype,
                attn_implementation="sdpa",
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                output_loading_info=True,
            )
    except Exception as error:  # mismatched shapes, broken files: RuntimeError, OSError, own kinds
        raise ModelError(f"weights cannot be loaded ({error})", where=folder) from error
    if head and any("lm_head" in key for key in report["missing_keys"]):
        raise ModelError(
            "cannot answer: its language-model head is not in the folder",
            where=folder,
            hint="Take a model as it was published, with the head that makes words.",
        )
    # A head of its own (untied embeddings) is at the top, or inside InternVL's language model.
    spare = [key for key in report["unexpected_keys"] if "lm_head" not in key.split(".")]
    for what, keys in (("missing", sorted(report["missing_keys"])), ("unexpected", sorted(spare))):
        if keys:
            names = ", ".join(keys[:3]) + (", ..." if len(keys) > 3 else "")
            raise ModelError(f"{len(keys)} {what} weights ({names})", where=folder)
    return base


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    from transformers.utils import logging

    if not logging.is_progress_bar_enabled():
        yield
        return
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.enable_progress_bar()


def _settle_scale_factor(config: Any, held: dict[str, list[int]]) -> None:
    """Let the connector's weights say how many patches make an image token.

    Some published SmolVLM configs state `scale_factor` 1 beside weights that were made with 4.
    """
    if not hasattr(config, "scale_factor"):
        return
    for key, shape in held.items():
        if key.endswith("connector.modality_projection.proj.weight") and len(shape) == 2:
            groups = shape[1] // config.vision_config.hidden_size
            config.scale_factor = isqrt(groups)


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a model directory, sorted.

    Raises:
        ModelError: a device or a pipe stands where weights are due.
    """
    found = sorted(folder.glob("model*.safetensors"))
    for path in found:
        _require_regular(path)
    return found


def _require_regular(path: Path) -> None:
    if path.exists() and not path.is_file():
        raise ModelError("no regular file", where=path)


def _held(folder: Path) -> dict[str, list[int]]:
    """The tensors of a model directory by name, as the files' headers tell; nothing is loaded."""
    return {key: shape for path in weight_files(folder) for key, shape in _shapes(path).items()}


def _shapes(path: Path) -> dict[str, list[int]]:
    """The shapes of the tensors in a safetensors file, which must be long enough for them."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > _HEADER:
                raise ValueError("the header is too long")
            header = parse_object(file.read(length), path)
            room = file.seek(0, os.SEEK_END) - 8 - length
        header.pop("__metadata__", None)
        shapes = {key: list(map(int, facts["shape"])) for key, facts in header.items()}
        ends = [int(facts["data_offsets"][1]) for facts in header.values()]
        if any(side < 0 for shape in shapes.values() for side in shape):
            raise ValueError("a negative shape")
        # Some formats hold two numbers in a byte.
        if max(ends, default=0) > room or sum(map(prod, shapes.values())) > 2 * room:
            raise ValueError("incomplete")
    except ModelError as error:
        raise ModelError(f"not a safetensors file ({error.what})", where=path) from error
    except (OSError, ValueError, TypeError, KeyError, IndexError, struct.error) as error:
        raise ModelError(f"not a safetensors file ({error})", where=path) from error
    return shapes


def digest_weights(paths: list[Path]) -> str:
    """Hex SHA-256 that stands for weight files.

    Up to 64 MiB a file is read whole; of a larger one the first MiB (names and shapes) and 63
    more spread evenly to its end, so that a model of gigabytes costs a fraction of a second.
    Full fine-tuning moves every tensor, so sampling sees it; a change to one small tensor of a
    model above that size can go unseen.
    """
    digest = hashlib.sha256()
    for path in paths:
        _require_regular(path)
        try:
            with path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                digest.update(f"{size}\n".encode())
                spread = [(size - _BLOCK) * block // 63 for block in range(64)]
                for start in spread if size > _WHOLE else [0]:
                    file.seek(start)
                    digest.update(file.read(_BLOCK if size > _WHOLE else -1))
        except OSError as error:
            raise ModelError(f"cannot be read ({error.strerror})", where=path) from error
    return digest.hexdigest()
