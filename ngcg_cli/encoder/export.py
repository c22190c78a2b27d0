"""`ngcg export`: any encoder as a model directory that runs without torch.

The directory is a full checkpoint, which torch loads too, with two ONNX graphs that point into its
weights: each weight is stored once. What was written is compared with torch's vectors.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError

from ngcg_cli.beside import workshop
from ngcg_cli.choices import ExportPrecision
from ngcg_cli.encoder.checkpoint import load_encoder, save_checkpoint, source_of
from ngcg_cli.encoder.encoder import Encoder
from ngcg_cli.encoder.graphs import GRAPHS, INT8, OPSET, write_graphs
from ngcg_cli.encoder.loading import open_encoder
from ngcg_cli.encoder.precision import Precision
from ngcg_cli.encoder.quantise import drawn_images
from ngcg_cli.encoder.stamp import POOLING, STAMP, read_stamp
from ngcg_cli.encoder.weights import digest_weights, weight_files
from ngcg_cli.errors import ModelError, UsageError

#: Least cosine to torch's vectors with which an export counts as done.
LEAST = {"float32": 0.999999, "float16": 0.9995, "int8": 0.8}
#: Least number of images to calibrate on; a quarter of them only serves to compare.
FEWEST = 8
#: What `ngcg calibrate` writes, and looks for in a model's folder.
CONFIDENCE = "confidence.safetensors"
_SAMPLES = [
    "a harbour",
    "many planes are parked next to a long building in an airport",
    "some boats are in a river near a green meadow and two ponds; a road with four cars crosses it",
    "",
]


@dataclass(frozen=True)
class ExportReport:
    """What an export wrote and how it compares.

    Attributes:
        out: the directory.
        precision: as it was asked for.
        text_cosine, image_cosine: least cosine between its vector and torch's, of samples.
        largest_difference: in any component of those vectors.
        bytes: of all files.
    """

    out: str
    precision: str
    text_cosine: float
    image_cosine: float
    largest_difference: float
    bytes: int

    def as_json(self) -> dict[str, Any]:
        """The object that `ngcg export --json` prints."""
        return asdict(self)


def export(
    model: str,
    out: Path,
    precision: ExportPrecision = "float32",
    calibration: Sequence[np.ndarray] | None = None,
) -> ExportReport:
    """Write `model` to `out` as it runs without torch.

    Args:
        model: as `--model` takes it; an adapter is merged.
        out: a folder that is not there yet or is empty; or the model's own, which must be a full
            checkpoint: then only the graphs are written, beside the weights that are there.
        precision: of the stored weights; float16 halves the files and computes in float32. int8
            writes graphs in int8 besides those in float32, which `--precision int8` computes with.
        calibration: (h, w, 3) uint8 images, at least 8. The ranges of int8 are measured on three
            quarters of them, and it is compared with torch on the others. By default drawn ones.

    Raises:
        ModelError: the model cannot be loaded; or what was written does not agree with torch.
        UsageError: `out` holds something else; or a model of this class cannot be exported.
    """
    if calibration is not None and precision != "int8":
        raise UsageError("images to calibrate on are for --precision int8 only")
    encoder = load_encoder(model, "cpu", precision="float32")
    if encoder.backbone.model_type in ("qwen3_vl", "embedding_gemma2"):
        raise UsageError(
            "has no export: its vision tower works out its patches as it runs",
            where=model,
            hint="Use it as it is, in torch.",
        )
    own = out.is_dir() and out.samefile(encoder.tokenizer.folder)
    if not own and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(
            "is there already", where=str(out), hint="Give --out a folder that is not there yet."
        )
    if calibration is None:
        count = 48 if precision == "int8" else FEWEST
        calibration = list(drawn_images(encoder.image_size, count=count))
    if len(calibration) < FEWEST:
        raise UsageError(f"{len(calibration)} images to calibrate on, at least {FEWEST} are due")
    images = [encoder.resized(image) for image in calibration]
    if own:
        return _add(encoder, encoder, out, precision, images)
    whole = out.resolve()  # where it is a link, what it leads to
    try:
        whole.parent.mkdir(parents=True, exist_ok=True)
        with workshop(whole.parent) as shop:
            fresh = shop / whole.name
            save_checkpoint(
                encoder, fresh, dtype=torch.float16 if precision == "float16" else torch.float32
            )
            kept = source_of(model).folder / CONFIDENCE
            if kept.is_file():  # it is of this model's vectors, and the export's are the same
                shutil.copyfile(kept, fresh / CONFIDENCE)
            stored = load_encoder(fresh, "cpu", precision="float32")
            report = _add(encoder, stored, fresh, precision, images)
            fresh.replace(whole)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ModelError(f"cannot be written ({reason})", where=out) from error
    return ExportReport(**{**asdict(report), "out": os.fspath(out)})


def _add(
    encoder: Encoder,
    stored: Encoder,
    folder: Path,
    precision: ExportPrecision,
    images: Sequence[np.ndarray],
) -> ExportReport:
    """The graphs of `stored`, loaded from `folder`, beside its weights; compared with `encoder`."""
    held = images[::4]
    measured = [image for number, image in enumerate(images) if number % 4]
    write_graphs(stored, folder, measured if precision == "int8" else None)
    learned = [folder / POOLING] if encoder.engine.pooling == "query" else []
    stamp = read_stamp(folder / STAMP)
    stamp["pooling"] = encoder.engine.pooling
    stamp["settings"] = encoder.backbone.settings()
    stamp["export"] = {
        "opset": OPSET,
        "dim": encoder.dim,
        "eos": encoder.tokenizer.eos_id,
        "rows": encoder.module.language.get_input_embeddings().weight.shape[0],
        # The weights that the graphs point into, and those whose vectors these are.
        "weights": digest_weights(weight_files(folder) + learned),
        "stands_for": encoder.weights_digest,
        "graphs": {
            kind: {side: _file(folder / name) for side, name in names.items()}
            for kind, names in GRAPHS.items()
            if kind in ("float32", precision)
        },
    }
    if precision == "int8":
        weights = {"name": INT8, "sha256": digest_weights([folder / INT8])}
        stamp["export"]["graphs"]["int8"]["weights"] = weights
    text = json.dumps(stamp, indent=2, ensure_ascii=False, allow_nan=False)
    (folder / STAMP).write_text(text + "\n", "utf-8")
    if precision == "int8":
        compare(encoder, folder, "float32", held)
    return compare(encoder, folder, precision, held)


def _file(path: Path) -> dict[str, str]:
    return {"name": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def compare(
    encoder: Encoder, folder: Path, precision: ExportPrecision, images: Sequence[np.ndarray]
) -> ExportReport:
    """How an export's vectors of samples and `images` compare with those of `encoder`, in torch.

    Raises:
        ModelError: not well enough.
    """
    computed: Precision = "int8" if precision == "int8" else "float32"
    exported = open_encoder(folder, "cpu", engine="onnx", precision=computed)
    # One of another shape, and one without any contrast.
    images = [*images, images[0][::2, ::3], np.full((64, 48, 3), 128, np.uint8)]
    pairs = [
        (encoder.encode_texts(_SAMPLES), exported.encode_texts(_SAMPLES)),
        (encoder.encode_images(images), exported.encode_images(images)),
    ]
    # Of unit vectors this is the cosine, and 1 also where both are zero.
    text, image = (1 - float(((ours - theirs) ** 2).sum(1).max()) / 2 for ours, theirs in pairs)
    difference = max(float(np.abs(ours - theirs).max()) for ours, theirs in pairs)
    if not min(text, image) >= LEAST[precision]:
        raise ModelError(
            f"the export does not agree with torch: cosine {text:.6f} (texts), "
            f"{image:.6f} (images)",
            where=folder,
        )
    size = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    return ExportReport(os.fspath(folder), precision, text, image, difference, size)
