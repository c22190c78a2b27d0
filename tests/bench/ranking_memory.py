"""GeoText-1652's full test, 51,355 images against 154,065 captions: time and memory of ranking.

    python tests/bench/ranking_memory.py [--dim 256] [--images 51355] [--captions 154065]

Random unit vectors, both directions through `ngcg eval`'s own ranking core. Prints one JSON object;
exits with 1 when ranking needed more than 4 GiB beside the vectors.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from typing import Any

import numpy as np

from ngcg_cli.evaluation.ranking import rank_of_truth

LIMIT_GIB = 4.0
BUILDINGS = 951


def main() -> None:
    """Make the vectors, rank both ways, tell what it took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--images", type=int, default=51_355)
    parser.add_argument("--captions", type=int, default=154_065)
    args = parser.parse_args()

    generator = np.random.default_rng(0)
    images = _unit(generator, args.images, args.dim)
    captions = _unit(generator, args.captions, args.dim)
    buildings = min(BUILDINGS, args.images, args.captions)
    of_image = np.arange(args.images) * buildings // args.images
    of_caption = np.arange(args.captions) * buildings // args.captions
    before = _peak_gib()
    report: dict[str, Any] = {**vars(args), "vectors_gib": _gib(images.nbytes + captions.nbytes)}
    for name, side in {
        "text_to_image": (captions, images, of_caption, of_image),
        "image_to_text": (images, captions, of_image, of_caption),
    }.items():
        began, used = time.perf_counter(), time.process_time()
        ranking = rank_of_truth(*side)
        report[name] = {
            "seconds": round(time.perf_counter() - began, 1),
            "cpu_seconds": round(time.process_time() - used, 1),
            "median_rank": float(np.median(ranking.rank)),
        }
    # The peak before ranking is that of making the vectors, so this counts nothing twice.
    report["beside_vectors_gib"] = round(_peak_gib() - min(before, report["vectors_gib"]), 3)
    report["full_matrix_gib"] = _gib(args.images * args.captions * 4)
    print(json.dumps(report))
    sys.exit(0 if report["beside_vectors_gib"] < LIMIT_GIB else 1)


def _unit(generator: np.random.Generator, count: int, dim: int) -> np.ndarray:
    vectors = generator.standard_normal((count, dim), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def _gib(count: float) -> float:
    return round(count / 2**30, 3)


def _peak_gib() -> float:
    """The process's largest resident size so far (Linux counts kilobytes, macOS bytes)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return _gib(peak if sys.platform == "darwin" else peak * 1024)


if __name__ == "__main__":
    main()
