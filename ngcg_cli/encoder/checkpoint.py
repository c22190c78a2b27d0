"""Checkpoints: what training writes and `load_encoder` reads, one folder each.

A LoRA checkpoint holds the adapter as peft writes it (`adapter_config.json`,
`adapter_model.safetensors`) and `ngcg.json`; a full one is a model directory in transformers' own
format (`config.json`, `model.safetensors`, the tokenizer) and `ngcg.json`. `pooling.safetensors`
holds the learned query where there is one.
"""

from __future__ import annotations

import errno
import hashlib
import json
import platform
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ngcg_cli import __version__
from ngcg_cli.beside import put_folder, workshop
from ngcg_cli.encoder.backbones import BACKBONES
from ngcg_cli.encoder.encoder import Encoder, assemble
from ngcg_cli.encoder.lora import (
    ADAPTER_WEIGHTS,
    adapter_settings,
    load_lora,
)
from ngcg_cli.encoder.memory import Place
from ngcg_cli.encoder.module import Pooling
from ngcg_cli.encoder.precision import Precision, PrecisionChoice, settle
from ngcg_cli.encoder.stamp import (
    ADAPTER_CONFIG,
    FORMAT,
    POOLING,
    STAMP,
    read_stamp,
    stands_for,
)
from ngcg_cli.encoder.tokenizer_file import is_panic
from ngcg_cli.encoder.weights import (
    Source,
    digest_weights,
    load_base,
    pick_device,
    resolve,
    weight_files,
)
from ngcg_cli.errors import ModelError, NgcgError, UsageError

#: Checkpoints that may be trained on one another; a circle of them has no end.
MAX_ADAPTERS = 8
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json")
_DTYPES: dict[Precision, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
}


def load_encoder(
    name_or_path: str | Path = "tiny",
    device: str | torch.device = "auto",
    *,
    pooling: Pooling | None = None,
    trainable: bool = False,
    precision: PrecisionChoice = "auto",
) -> Encoder:
    """The encoder that a `--model` means.

    Args:
        name_or_path: a named backbone, a hub id of a supported architecture, a model directory,
            a checkpoint that training wrote, or the folder of a run, whose best is taken.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        pooling: for a backbone that states none; by default what `ngcg.json` says, else `eos`.
        trainable: for training: nothing is frozen, and a LoRA checkpoint's adapter is left
            unmerged, so that its training can go on.
        precision: of the weights; auto is bfloat16 on CUDA for inference, else float32.

    Raises:
        ModelError: unknown, unreachable, damaged, or not fitting its base model.
        UsageError: no such device, or a precision that torch does not compute in.
    """
    name = str(name_or_path)
    place = pick_device(device)
    dtype = dtype_of(settle(precision, "cpu" if trainable else place.type))
    try:
        return _loaded(name, place, pooling, trainable, dtype)
    except (NgcgError, MemoryError, torch.OutOfMemoryError):
        raise
    except BaseException as error:
        # A file that is damaged in a way that nothing above foresaw, or a library's panic.
        if not isinstance(error, Exception) and not is_panic(error):
            raise
        raise ModelError(
            f"cannot be loaded ({type(error).__name__}: {error})", where=name
        ) from error


def _loaded(
    name: str, place: torch.device, pooling: Pooling | None, trainable: bool, dtype: torch.dtype
) -> Encoder:
    source, goal = source_of(name), Place(place, dtype)
    if (source.folder / ADAPTER_CONFIG).is_file():
        # An adapter is merged in float32 and only then rounded.
        held = dtype if trainable else torch.float32
        encoder = _load_adapted(source, held, goal, trainable=trainable)
    else:
        require_model(source)
        encoder = _load_model(source, pooling, dtype, goal)
    if trainable:
        encoder.module.to(place)
    else:  # tensor by tensor: none is on a GPU in more bytes than it will have there
        encoder.module.to(place, dtype).requires_grad_(False)
    encoder.module.eval()
    return encoder


def source_of(name: str) -> Source:
    """The folder that a `--model` means: a model's, a checkpoint's, or the best of a run's."""
    given = Path(name).expanduser()
    folder = given if name in BACKBONES else _best_inside(given)
    if folder != given or (folder / ADAPTER_CONFIG).is_file():
        return Source(name, folder)
    return resolve(name)


def _best_inside(folder: Path) -> Path:
    """The best checkpoint, else the last, of a run's folder that is no checkpoint itself (yet)."""
    for inner in (folder, folder / "best", folder / "last"):
        if any((inner / name).is_file() for name in (ADAPTER_CONFIG, "config.json")):
            return inner
    return folder


def dtype_of(precision: Precision) -> torch.dtype:
    """The torch type of a precision; UsageError for one that torch does not compute in."""
    if precision not in _DTYPES:
        raise UsageError(
            f"in precision {precision} only an export runs, on a CPU, and none made in it is here",
            hint="Make one: ngcg export MODEL --out DIR --precision int8",
        )
    return _DTYPES[precision]


def require_model(source: Source) -> None:
    """ModelError where a folder holds no model, with those that lie in it."""
    folder = source.folder
    if (folder / "config.json").is_file():
        return
    if source.hub_id is not None:
        raise ModelError(
            "no config.json in its copy in the cache: neither a model nor a checkpoint, or half of "
            "one",
            where=f"{source.hub_id} at revision {source.revision}",
            hint=f"Fetch it again: hf download {source.hub_id} --revision {source.revision}",
        )
    inside = [path.parent for path in sorted(folder.glob("*/ngcg.json"))] or [
        path.parent for path in sorted(folder.glob("*/config.json"))
    ]
    raise ModelError(
        "neither a model nor a checkpoint",
        where=folder,
        hint=f"Perhaps {' or '.join(map(str, inside[:3]))}."
        if inside
        else f"Expected config.json or {ADAPTER_CONFIG}.",
    )


def _adapted_digest(encoder: Encoder, folder: Path) -> str:
    learned = [folder / POOLING] if encoder.module.pooling == "query" else []
    files = digest_weights([folder / ADAPTER_CONFIG, folder / ADAPTER_WEIGHTS, *learned])
    return hashlib.sha256((_held(encoder) + files).encode()).hexdigest()


def _held(encoder: Encoder) -> str:
    """The digest of the very weights that were loaded; an export's stand for others."""
    return encoder.weights_digest if encoder.origin is None else str(encoder.origin["weights"])


def _check_base(base: Any, encoder: Encoder, where: Path) -> None:
    """See that `encoder` is what the adapter in `where` was trained on, as its stamp tells it."""
    if _held(encoder) != base.get("weights"):
        raise ModelError(
            f"trained on {base['name']} with weights {str(base.get('weights'))[:12]}, "
            f"but {encoder.name} now has weights {_held(encoder)[:12]}",
            where=where,
            hint="Train again on the base model that is here, or bring the old one back.",
        )


def _load_model(
    source: Source, pooling: Pooling | None, dtype: torch.dtype, goal: Place
) -> Encoder:
    base, backbone = load_base(source, dtype, goal)
    stamp_path = source.folder / STAMP
    stamp = read_stamp(stamp_path) if stamp_path.is_file() else {}
    if "settings" in stamp:
        backbone = backbone.with_settings(stamp["settings"], stamp_path)
    learned = [source.folder / POOLING] if stamp.get("pooling") == "query" else []
    digest = digest_weights(weight_files(source.folder) + learned)
    encoder = assemble(
        base,
        source.folder,
        backbone,
        name=source.name,
        pooling=pooling or stamp.get("pooling", "eos"),
        weights_digest=stands_for(stamp, digest),
    )
    encoder.revision = source.revision
    encoder.origin = _origin(source, digest)
    if stamp.get("pooling") == "query" and encoder.module.query_pooling is not None:
        _load_pooling(encoder, source.folder)
    return encoder


def base_of(source: Source) -> tuple[dict[str, Any], Source]:
    """What a LoRA checkpoint's stamp says of the model it was trained on, and where that is."""
    origin = read_stamp(source.folder / STAMP).get("base")
    if not isinstance(origin, dict) or not isinstance(origin.get("name"), str):
        raise ModelError("no base model is named", where=source.folder / STAMP)
    return origin, resolve(origin["name"], origin.get("revision"), named=False)


def _load_adapted(
    source: Source, dtype: torch.dtype, goal: Place, *, trainable: bool = False, depth: int = 0
) -> Encoder:
    folder = source.folder
    if depth > MAX_ADAPTERS:
        raise ModelError(f"more than {MAX_ADAPTERS} adapters on one another", where=folder)
    stamp = read_stamp(folder / STAMP)
    origin, below = base_of(source)
    if (below.folder / ADAPTER_CONFIG).is_file():
        encoder = _load_adapted(below, dtype, goal, depth=depth + 1)
    else:
        encoder = _load_model(below, stamp.get("pooling", "eos"), dtype, goal)
    _check_base(origin, encoder, folder)
    if "settings" in stamp:
        encoder.backbone = encoder.backbone.with_settings(stamp["settings"], folder / STAMP)
    # Trained here on whole vectors: whether shorter ones still serve, nobody has seen.
    encoder.backbone = replace(encoder.backbone, least_dim=0)
    load_lora(encoder.module, folder, trainable=trainable)
    if encoder.module.pooling == "query":
        _load_pooling(encoder, folder)
    encoder.name, encoder.revision = source.name, source.revision
    encoder.folder = folder
    encoder.weights_digest = _adapted_digest(encoder, folder)
    if not trainable:
        # What a further adapter would be trained on is this checkpoint, not its base.
        encoder.origin = _origin(source, encoder.weights_digest)
    return encoder


def _origin(source: Source, digest: str) -> dict[str, Any]:
    named = source.hub_id is not None or source.backbone is not None
    return {
        "name": source.name if named else str(source.folder.resolve()),
        "hub_id": source.hub_id,
        "revision": source.revision,
        "weights": digest,
    }


def _load_pooling(encoder: Encoder, folder: Path) -> None:
    from safetensors.torch import load_file

    assert encoder.module.query_pooling is not None
    try:
        encoder.module.query_pooling.load_state_dict(load_file(folder / POOLING))
    except Exception as error:  # missing, damaged, other keys or shapes
        raise ModelError(
            f"the learned pooling cannot be loaded ({error})", where=folder / POOLING
        ) from error


def save_checkpoint(
    encoder: Encoder,
    folder: str | Path,
    extra: dict[str, Any] | None = None,
    *,
    dtype: torch.dtype | None = None,
) -> Path:
    """Write `encoder` as a checkpoint: its adapter if it carries one, else the whole model.

    The folder is written beside `folder` and moved into place, so that a kill never leaves half a
    checkpoint under that name.

    Args:
        encoder: with or without an adapter.
        folder: where to; what stands there is replaced.
        extra: more for `ngcg.json` (temperature, data fingerprint, metrics, ...).
        dtype: of a whole model's weights, such as float16; by default as they are.
    """
    from safetensors import SafetensorError

    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with workshop(folder.parent) as shop:
        fresh = shop / folder.name
        fresh.mkdir()
        try:
            _write(encoder, fresh, extra or {}, dtype)
        except SafetensorError as error:  # what it calls a full disk
            raise OSError(errno.EIO, str(error), str(folder)) from error
        for path in fresh.glob("*.safetensors"):  # the library writes them for their owner alone
            shutil.copymode(fresh / STAMP, path)
        put_folder(fresh, folder)
    return folder


def _write(
    encoder: Encoder, folder: Path, extra: dict[str, Any], dtype: torch.dtype | None
) -> None:
    from safetensors.torch import save_file

    module, origin = encoder.module, encoder.origin
    stamp: dict[str, Any] = {"format": FORMAT, "name": encoder.name}
    if module.adapter is not None:
        if origin is None:
            raise ModelError("an adapter on random weights cannot be saved: its base is nowhere")
        config = module.adapter.peft_config["default"]
        config.base_model_name_or_path = origin["hub_id"] or origin["name"]
        config.revision = origin["revision"]
        # Without this word peft asks the hub whether the vocabulary has grown.
        module.adapter.save_pretrained(str(folder), save_embedding_layers=False)
        (folder / "README.md").unlink(missing_ok=True)  # peft's empty model card
        stamp |= {"tuning": "lora", "base": origin, "lora": adapter_settings(module.adapter)}
    else:
        _write_model(module.base, folder, dtype)
        for name in _TOKENIZER:
            if (encoder.tokenizer.folder / name).is_file():
                shutil.copyfile(encoder.tokenizer.folder / name, folder / name)
        stamp |= {"tuning": "full", "base": origin}
    if module.query_pooling is not None:
        state = {
            k: v.detach().cpu().contiguous() for k, v in module.query_pooling.state_dict().items()
        }
        save_file(state, folder / POOLING)
    told = getattr(module.base.config, "scale_factor", None)
    if told is not None:
        # As the weights have it: plain transformers goes by a published config that may not.
        stamp["config"] = {"scale_factor": int(told)}
    stamp |= {
        "pooling": module.pooling,
        "settings": encoder.backbone.settings(),
        "versions": _versions(),
    }
    text = json.dumps(stamp | extra, indent=2, ensure_ascii=False, allow_nan=False)
    (folder / STAMP).write_text(text + "\n", "utf-8")


def _write_model(base: Any, folder: Path, dtype: torch.dtype | None) -> None:
    """`config.json` and `model.safetensors`, under the base model's own names, in one file."""
    from safetensors.torch import save_file

    state = {
        key: tensor.detach().to("cpu", dtype or tensor.dtype).contiguous()
        for key, tensor in base.state_dict().items()
    }
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    config = type(base.config).from_dict(base.config.to_dict())
    config.architectures = [type(base).__name__]
    config.dtype = dtype or base.dtype
    config.save_pretrained(str(folder))


def _versions() -> dict[str, str]:
    import transformers

    return {
        "ngcg": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
