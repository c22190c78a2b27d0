"""Tiles a second and agreement with float32 of the ways to compute with a model on a CPU.

    python tests/bench/precision.py [MODEL]

The same 256 random images go through each way in turn, three rounds; the best counts. Agreement is
the least cosine between a way's vector and float32's for one image.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np
import torch

from ngcg_cli.encoder.checkpoint import load_encoder
from ngcg_cli.encoder.encoder import Encoder

TILES = 256


def _int8(encoder: Encoder) -> Encoder:
    """The language model's and connector's linear layers in int8, dynamically quantised."""
    encoder.module.base = torch.ao.quantization.quantize_dynamic(
        encoder.module.base, {torch.nn.Linear}, dtype=torch.qint8
    )
    return encoder


def main() -> None:
    """Print a JSON object: for each way its rate, the ratio to float32, and the agreement."""
    model = sys.argv[1] if len(sys.argv) > 1 else "tiny"
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (TILES, 16, 16, 3), dtype=np.uint8)  # blobs rather than noise
    images = coarse.repeat(14, axis=1).repeat(14, axis=2)
    ways = {
        "float32": load_encoder(model, "cpu", precision="float32"),
        "bfloat16": load_encoder(model, "cpu", precision="bfloat16"),
        "int8 (linear layers)": _int8(load_encoder(model, "cpu", precision="float32")),
    }
    best: dict[str, float] = {}
    vectors: dict[str, np.ndarray] = {}
    for _ in range(3):
        for name, encoder in ways.items():
            began = time.perf_counter()
            vectors[name] = encoder.encode_images(images)
            best[name] = max(best.get(name, 0), TILES / (time.perf_counter() - began))
    exact = vectors["float32"]
    figures = {
        name: {
            "tiles_per_second": round(rate, 1),
            "ratio_to_float32": round(rate / best["float32"], 3),
            "least_cosine": round(float((vectors[name] * exact).sum(1).min()), 5),
        }
        for name, rate in best.items()
    }
    print(json.dumps({"model": model, "threads": torch.get_num_threads(), **figures}, indent=2))


if __name__ == "__main__":
    main()
