"""Processor time of each precision on a CPU, and how near its vectors are to those of float32.

    python tests/bench/precision.py [--model tiny] [--images DIR_OR_TAR] [--captions FILE.jsonl]

The same 64 images (drawn ones by default) and 64 sentences go through each way in turn, five
rounds; the median counts. float32 and int8 run in ONNX Runtime, bfloat16 in torch, on one thread.
Prints one JSON object. Recalls are `ngcg eval --precision`'s.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np

from ngcg_cli.datasets.loose import read_images
from ngcg_cli.encoder.encoder import Encoder
from ngcg_cli.encoder.loading import open_encoder
from ngcg_cli.encoder.quantise import drawn_images

COUNT, ROUNDS = 64, 5
ROOT = Path(__file__).parents[2]
FILES = {
    "float32": ["model.safetensors", "text.onnx", "image.onnx"],
    "int8": ["int8.safetensors", "text.int8.onnx", "image.int8.onnx"],
}


def main() -> None:
    """Time the ways, compare their vectors, tell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--images", type=Path)
    parser.add_argument("--captions", type=Path, default=ROOT / "examples/town/region.jsonl")
    args = parser.parse_args()
    ways = {
        "float32": open_encoder(args.model, "cpu", precision="float32"),
        "int8": open_encoder(args.model, "cpu", precision="int8"),
        "bfloat16": open_encoder(args.model, "cpu", precision="bfloat16"),
    }
    side = ways["float32"].image_size
    images = read_images(args.images, COUNT) if args.images else list(drawn_images(side, COUNT))
    images = [ways["float32"].resized(image) for image in images]
    rows = [json.loads(line) for line in args.captions.read_text("utf-8").splitlines()]
    texts = [row["captions"][0] for row in rows[:: max(1, len(rows) // COUNT)][:COUNT]]
    took: dict[tuple[str, str], list[float]] = {}
    vectors: dict[tuple[str, str], np.ndarray] = {}
    for number in range(ROUNDS + 1):
        for name, encoder in ways.items():
            for kind, inputs in (("image", images), ("text", texts)):
                began = time.process_time()
                vectors[name, kind] = _encode(encoder, kind, inputs)
                if number:  # the first warms up
                    each = 1000 * (time.process_time() - began) / len(inputs)
                    took.setdefault((name, kind), []).append(each)
    median = {key: statistics.median(values) for key, values in took.items()}
    told: dict[str, object] = {"model": args.model, "vnni": _has_vnni()}
    for name, encoder in ways.items():
        told[name] = {"engine": encoder.engine.kind}
        for kind in ("image", "text"):
            cosines = (vectors[name, kind] * vectors["float32", kind]).sum(1)
            told[name][kind] = {  # type: ignore[index]
                "cpu_ms": round(median[name, kind], 2),
                "speed_to_float32": round(median["float32", kind] / median[name, kind], 2),
                "cosine_least": round(float(cosines.min()), 4),
                "cosine_mean": round(float(cosines.mean()), 4),
            }
        folder = encoder.tokenizer.folder
        if name in FILES:
            bytes_ = sum((folder / file).stat().st_size for file in FILES[name])
            told[name]["megabytes"] = round(bytes_ / 1e6, 1)  # type: ignore[index]
    print(json.dumps(told, indent=2))


def _encode(encoder: Encoder, kind: str, inputs: list) -> np.ndarray:
    return encoder.encode_images(inputs) if kind == "image" else encoder.encode_texts(inputs)


def _has_vnni() -> bool | None:
    try:
        return "vnni" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return None


if __name__ == "__main__":
    main()
