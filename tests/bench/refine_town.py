"""What `--refine` brings on the drawn town, where every true point is known.

    python tests/bench/refine_town.py [CAPTIONS]

Asks a sample of the captions (100 unless told) with and without `refine`, ten hits each.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import shapely
import shapely.geometry

from ngcg_cli.evaluation.metrics import distance_m
from ngcg_cli.journeys.indexing import index_sources
from ngcg_cli.journeys.querying import Finder
from ngcg_cli.search import Hit

TOWN = Path(__file__).parents[2] / "examples" / "town"


def main(count: int) -> None:
    rows = [json.loads(line) for line in (TOWN / "region.jsonl").read_text("utf-8").splitlines()]
    texts = [(text, row["true_at"]) for row in rows for text in row["captions"]]
    drawn = np.random.default_rng(0).permutation(len(texts))[:count]
    questions = [texts[i] for i in drawn]
    with tempfile.TemporaryDirectory() as folder:
        index = Path(folder) / "index"
        index_sources([str(TOWN / "region.tif")], index)
        finder = Finder(index, None, "cpu", top=10)
        sentences = [text for text, _ in questions]
        plain = [list(answer.hits) for answer in finder.of_texts([sentences])]
        began = time.process_time()
        refined = [list(answer.hits) for answer in finder.of_texts([sentences], refine=True)]
        seconds = (time.process_time() - began) / count

    before, after = [], []
    for (_, points), tiles, smaller in zip(questions, plain, refined, strict=True):
        right = next((hit for hit in tiles if holds(hit, points)), None)
        if right is None:
            continue
        # Its refined self is the one whose point lies in the tile and nearest to its centre's tile.
        mine = next(hit for hit in smaller if hit.point and within(hit, right))
        before.append(nearest(right.lon, right.lat, points))
        after.append(nearest(*mine.point, points))
    first = [
        bool(hits) and holds(hits[0], points)
        for (_, points), hits in zip(questions, plain, strict=True)
    ]
    tile_of = [
        next(tile for tile in tiles if within(smaller[0], tile))
        for tiles, smaller in zip(plain, refined, strict=True)
    ]
    again = [holds(tile, points) for (_, points), tile in zip(questions, tile_of, strict=True)]
    fall = 100 * (1 - np.median(after) / np.median(before))
    print(
        f"{count} captions, first right hit of {len(before)}: median distance "
        f"{np.median(before):.1f} m of the tile's centre, {np.median(after):.1f} m of the point "
        f"({fall:.0f} % less)"
    )
    print(f"R@1 of tiles: {100 * np.mean(first):.1f} % before, {100 * np.mean(again):.1f} % after")
    print(f"{seconds:.2f} CPU seconds a question of ten hits")


def holds(hit: Hit, points: list[list[float]]) -> bool:
    area = shapely.geometry.shape(hit.__geo_interface__["geometry"])
    return any(area.covers(shapely.Point(*point)) for point in points)


def within(small: Hit, tile: Hit) -> bool:
    """Whether a refined hit came of a tile: by its vector, which refining keeps."""
    return small.vector is tile.vector or bool(np.array_equal(small.vector, tile.vector))


def nearest(lon: float, lat: float, points: list[list[float]]) -> float:
    lons, lats = np.array(points).T
    return float(distance_m(lon, lat, lons, lats).min())


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100)
