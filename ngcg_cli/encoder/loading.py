"""The one door to an encoder: an export in ONNX Runtime on a CPU, everything else in torch.

Nothing here imports torch unless torch is what computes.
"""

from __future__ import annotations

import gc
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from ngcg_cli.encoder.backbones import BACKBONES, Backbone, backbone_from_settings
from ngcg_cli.encoder.encoder import Encoder
from ngcg_cli.encoder.precision import PrecisionChoice
from ngcg_cli.encoder.runtime import Graphs, OnnxEngine
from ngcg_cli.encoder.stamp import ADAPTER_CONFIG, POOLING, STAMP, read_stamp
from ngcg_cli.encoder.tokens import TextTokenizer
from ngcg_cli.encoder.weights import bundled_folder, digest_weights, weight_files
from ngcg_cli.errors import ModelError

logger = logging.getLogger(__name__)

#: Width of vectors that an export may claim.
_WIDEST = 1 << 16
EngineChoice = Literal["auto", "torch", "onnx"]


def open_encoder(
    name_or_path: str | Path = "tiny",
    device: str = "auto",
    *,
    precision: PrecisionChoice = "auto",
    engine: EngineChoice = "auto",
) -> Encoder:
    """The encoder that a `--model` means, for embedding.

    A model that carries its export runs in ONNX Runtime on a CPU; on a GPU, in bfloat16, or
    without an export it runs in torch. The vectors of both agree to 1e-4 in every component.

    Args:
        name_or_path: a named backbone, a hub id of a supported architecture, a model directory,
            a checkpoint that training wrote, or an export.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`. `auto` is the CPU for an export, unless
            the machine has a CUDA device.
        precision: what the model computes in; `auto` is bfloat16 on CUDA, else float32.
        engine: which engine computes.

    Raises:
        ModelError: unknown, unreachable, damaged; or `engine` is `onnx` and there is no export.
        UsageError: no such device or precision.
    """
    name = str(name_or_path)
    if engine != "torch":
        found = _exported(name, device, precision)
        if found is not None:
            return found
        if engine == "onnx":
            raise ModelError("has no export that can be used", where=name, hint="See ngcg export.")
    with _no_collecting():
        from ngcg_cli.encoder.checkpoint import load_encoder

        return load_encoder(name, device, precision=precision)


@contextmanager
def _no_collecting() -> Iterator[None]:
    """Imports make a million objects that stay: looking for garbage among them takes seconds."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.freeze()
            gc.enable()


def _exported(name: str, device: str, precision: PrecisionChoice) -> Encoder | None:
    """The model's export, where it has one for this precision and the CPU is meant."""
    if device not in ("auto", "cpu") or precision == "bfloat16":
        return None
    backbone = BACKBONES.get(name)
    folder = bundled_folder(backbone) if backbone is not None else Path(name).expanduser()
    if folder is None or not (folder / STAMP).is_file():
        return None
    if (folder / ADAPTER_CONFIG).is_file():
        return None  # the adapter belongs to the model, and is not in the graphs
    stamp = read_stamp(folder / STAMP)
    if not isinstance(stamp.get("export"), dict):
        return None
    if device == "auto" and precision != "int8" and _has_cuda():
        return None
    return _open(name, folder, backbone, stamp, "float32" if precision == "auto" else precision)


def _open(
    name: str, folder: Path, backbone: Backbone | None, stamp: dict[str, Any], precision: str
) -> Encoder | None:
    try:
        facts = stamp["export"]
        if not isinstance(facts["graphs"], dict):
            raise TypeError("graphs is no JSON object")
        if precision not in facts["graphs"]:
            return None
        files = {
            part: (Path(str(file["name"])).name, str(file["sha256"]))
            for part, file in facts["graphs"][precision].items()
        }
        graphs = Graphs(folder, files, precision, int(facts["dim"]), stamp["pooling"])
        if not files.keys() >= {"text", "image"} or not 0 < graphs.dim <= _WIDEST:
            raise ValueError("no two graphs, or vectors of no width")
        eos, rows, weights = int(facts["eos"]), int(facts["rows"]), str(facts["weights"])
        stands_for = str(facts["stands_for"])
        if backbone is None:
            backbone = backbone_from_settings(name, stamp["settings"], folder / STAMP)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(
            f"what it says of its export is damaged ({error})", where=folder / STAMP
        ) from error
    learned = [folder / POOLING] if stamp["pooling"] == "query" else []
    if not weight_files(folder):
        return None  # torch says that there are none
    held = weight_files(folder) + learned
    if any(not path.resolve().is_relative_to(folder.resolve()) for path in held):
        # As the hub's cache is made; ONNX Runtime reads no weights outside of the graph's folder.
        logger.debug("%s: its weights are links out of it, its export is not used", folder)
        return None
    if digest_weights(held) != weights:
        logger.warning(
            "%s: its export was made of other weights and is not used; export it again", folder
        )
        return None
    backbone = backbone.with_settings(stamp["settings"], folder / STAMP)
    tokenizer = TextTokenizer(folder, eos_token_id=eos, rows=rows, backbone=backbone)
    return Encoder(
        OnnxEngine(graphs),
        tokenizer,
        backbone,
        name=name,
        weights_digest=stands_for,
    )


def _has_cuda() -> bool:
    """Whether torch would find a CUDA device, asked without importing torch where that is clear."""
    try:
        if metadata.version("torch").endswith("+cpu"):
            return False
    except metadata.PackageNotFoundError:
        return False
    if sys.platform == "darwin":
        return False
    if sys.platform == "linux":
        drivers = ("/dev/nvidiactl", "/dev/dxg")  # the second is that of Windows' Linux
        if not any(Path(driver).exists() for driver in drivers):
            return False
    import torch

    return torch.cuda.is_available()
