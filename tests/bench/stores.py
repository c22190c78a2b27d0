"""The folder index and the embedded Milvus side by side.

    python tests/bench/stores.py same INDEX CAPTIONS.jsonl [--count 200] [--date 2022]
    python tests/bench/stores.py size N [--dim 256]

`same` loads a folder index into Milvus and asks both the same captions, with each filter and
without: hits must be the same in order, tile and footprint, and scores to 1e-5. `size` puts N
vectors (clusters of unit vectors) into both and prints insert rate, memory, recall@10 and latency.
Times are processor seconds of this process, the engine's included.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from ngcg_cli.search import (
    Block,
    Filters,
    ModelStamp,
    SourceRecord,
    Store,
    TileTable,
    create_index,
    open_index,
)
from ngcg_cli.search.transfer import transfer

ROWS = 4096


def same(index: str, captions: str, count: int, date: str) -> None:
    """Compare the hits of a folder index with those of its copy in Milvus."""
    from ngcg_cli.journeys.model import load_model

    folder = open_index(index)
    rows = [json.loads(line) for line in Path(captions).read_text("utf-8").splitlines()]
    texts = list(dict.fromkeys(text for row in rows for text in row["captions"]))[:count]
    vectors = load_model(None, "cpu", folder).encode_texts(texts)
    west, south, east, north = folder.describe()["bbox"]
    lon, lat = (west + east) / 2, (south + north) / 2
    source = folder.sources()[0]
    box = folder.describe()["sources"][0]["bbox"]
    near = ((box[1] + box[3]) / 2, (box[0] + box[2]) / 2, 400.0)
    filters = {
        "none": Filters(),
        "bbox": Filters(bbox=(west, south, lon, lat)),
        "near": Filters(near=near),
        "area": Filters(areas=(shapely.Polygon([(west, south), (east, south), (lon, north)]),)),
        "source": Filters(source=Path(source.path).name),
        "after": Filters(after=date),
        "before": Filters(before=date),
    }
    with tempfile.TemporaryDirectory() as scratch:
        name = f"milvus:{scratch}/copy.db"
        transfer([index], name)
        other = open_index(name)
        for told, asked in filters.items():
            for exact in (False, True):
                pairs = [store.search(vectors, 10, asked, exact=exact) for store in (folder, other)]
                print(f"{told}, exact={exact}: {_compared(*pairs)}")
        del other


def _compared(one: list[list[Any]], other: list[list[Any]]) -> str:
    hits = off = 0
    worst = 0.0
    for mine, theirs in zip(one, other, strict=True):
        hits += len(mine)
        off += len(mine) != len(theirs)
        for a, b in zip(mine, theirs, strict=False):
            off += (a.source, a.window, a.footprint) != (b.source, b.window, b.footprint)
            worst = max(worst, abs(a.score - b.score))
    return f"{len(one)} questions, {hits} hits, {off} not the same, scores off by {worst:.1e}"


def size(count: int, dim: int) -> None:
    """Fill both and measure."""
    random = np.random.default_rng(0)
    centres = random.normal(size=(1000, dim)).astype(np.float32)

    def vectors(rows: int) -> np.ndarray:
        some = centres[random.integers(0, len(centres), rows)]
        some = some + 0.5 * random.normal(size=(rows, dim)).astype(np.float32)
        return some / np.linalg.norm(some, axis=1, keepdims=True)

    blocks = [vectors(min(ROWS, count - first)) for first in range(0, count, ROWS)]
    queries = vectors(100)
    every = np.concatenate(blocks)
    best = np.argpartition(-(queries @ every.T), 10, axis=1)[:, :10]
    del every
    with tempfile.TemporaryDirectory() as scratch:
        for name in (f"{scratch}/folder", f"milvus:{scratch}/engine.db"):
            _filled(create_index(name, ModelStamp("bench", "b" * 64, dim)), blocks, queries, best)


def _filled(store: Store, blocks: list[np.ndarray], queries: np.ndarray, best: np.ndarray) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    resident = _resident()
    begun = time.process_time()
    with store.writing():
        for number, block in enumerate(blocks):
            record = SourceRecord("bench.tif", 1, 1, "100px", 0.0, 0.0)
            store.commit([Block(record, _tiles(len(block), number), block, number == 0)])
            if number % 25 == 24:  # for whoever waits, and should it not come to its end
                done, taken = ROWS * (number + 1), time.process_time() - begun
                peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
                told = f"{done:,} tiles, {done / taken:,.0f} a second, {peak // 1024:,} MiB more"
                print(type(store).__name__, told, file=sys.stderr, flush=True)
        filled = time.process_time()
        store.refresh_graph()
    built = time.process_time()
    found = store.search(queries, 10, keep_overlaps=True)
    asked = time.process_time()
    right = sum(
        len({(hit.window[1] // 100) * ROWS + hit.window[0] // 100 for hit in hits} & set(true))
        for hits, true in zip(found, best.tolist(), strict=True)
    )
    held = _resident() - resident
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    told = {
        "store": type(store).__name__,
        "tiles": store.tile_count,
        "tiles_per_second": round(store.tile_count / (filled - begun)),
        "graph_seconds": round(built - filled, 1),
        "recall@10": right / best.size,
        "ms_a_query": round(1000 * (asked - built) / len(queries), 1),
        "held_mib_more": held,
        "peak_mib_more": (after - before) // 1024,
    }
    print(json.dumps(told))


def _resident() -> int:
    """MiB of memory that this process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() >> 20


def _tiles(count: int, row: int) -> TileTable:
    west = 0.001 * np.arange(count)
    south = np.full(count, 0.001 * row)
    box = np.column_stack([west, south, west + 0.001, south + 0.001])
    window = np.column_stack(
        [100 * np.arange(count), np.full(count, 100 * row), *np.full((2, count), 100)]
    )
    shapes = shapely.to_wkb(shapely.box(*box.T), byte_order=1)
    return TileTable(west + 0.0005, south + 0.0005, box, window, list(shapes))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    modes = parser.add_subparsers(dest="mode", required=True)
    mode = modes.add_parser("same")
    mode.add_argument("index")
    mode.add_argument("captions")
    mode.add_argument("--count", type=int, default=200)
    mode.add_argument("--date", default="2022", help="for the filters by date")
    mode = modes.add_parser("size")
    mode.add_argument("count", type=int)
    mode.add_argument("--dim", type=int, default=256)
    given = parser.parse_args()
    if given.mode == "same":
        same(given.index, given.captions, given.count, given.date)
    else:
        size(given.count, given.dim)
