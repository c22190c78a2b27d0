"""What `--rerank` gains: an index of a weaker encoder, its first hits ordered by a stronger one.

    mkdir weak && git archive f050a8e ngcg_cli/models/tiny | tar x -C weak --strip-components=3
    python tests/bench/rerank_gain.py region-val.tif region-val.jsonl weak

The rows have `captions`, `lon` and `lat`; a hit is right if its footprint's box holds that point.
Prints R@1, R@5 and R@10 in percent and CPU seconds: of the weaker encoder alone, of the stronger
one over its first 10, 20, 50 and 100 hits, and of an index of the stronger one.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ngcg_cli.datasets.json_lines import load_places
from ngcg_cli.journeys.indexing import index_sources
from ngcg_cli.journeys.querying import Finder
from ngcg_cli.search.hits import Hit

STRONG = "tiny"
DEPTHS = (10, 20, 50, 100)
BLOCK = 250


def holds(hit: Hit, lon: float, lat: float) -> bool:
    west, south, east, north = hit.bbox
    return west <= lon <= east and south <= lat <= north


def ranks(finder: Finder, texts: list[str], points: list[tuple[float, float]]) -> Iterator[int]:
    """Of each question the rank of its first right hit; 0 where none of ten is."""
    blocks = (texts[start : start + BLOCK] for start in range(0, len(texts), BLOCK))
    for answer, point in zip(finder.of_texts(blocks), points, strict=True):
        yield next((hit.rank for hit in answer.hits if holds(hit, *point)), 0)


def measure(name: str, finder: Finder, texts: list[str], points: list[tuple[float, float]]) -> None:
    began = time.process_time()
    found = np.array(list(ranks(finder, texts, points)))
    recalls = [100 * ((found > 0) & (found <= k)).mean() for k in (1, 5, 10)]
    told = " / ".join(f"{recall:.2f}" for recall in recalls)
    print(f"{name}: {told} ({time.process_time() - began:.0f} CPU s)", flush=True)


def main(raster: str, captions: Path, weak: str) -> None:
    places = load_places(captions)
    texts = [text for place in places for text in place.captions]
    points = [place.points[0] for place in places for _ in place.captions]
    with tempfile.TemporaryDirectory() as folder:
        for model in (weak, STRONG):
            index = f"{folder}/{Path(model).name}-index"
            index_sources(raster, index, model=model, tile="150px", overlap=0.0, device="cpu")
            measure(model, Finder(index, model, "cpu"), texts, points)
            for depth in DEPTHS if model == weak else ():
                finder = Finder(index, model, "cpu", rerank=STRONG, depth=depth)
                measure(f"{weak}, the first {depth} by {STRONG}", finder, texts, points)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
