"""Search at size: the graph's recall, latency, build and update against exact search.

    export OMP_NUM_THREADS=1
    python tests/bench/search_at_size.py search.json --data clustered [--sizes 1000 10000]
    python tests/bench/search_at_size.py search.json --data clustered --sizes 100000 --serve
    python tests/bench/search_at_size.py search.json --plot docs/images/search-at-size.png

Grows one graph from size to size with ngcg's own code and settings, two threads building and one
searching, and measures at each size; the results in the file are kept, and completed after each.
`--plot` draws what the file holds and prints it as Markdown tables. Times are processor seconds, so
that other work on the machine does not spoil them. The baseline is what anyone would write with
NumPy: one matrix product over the same array and an argpartition.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from search_report import plot, tables

from ngcg_cli.search import (
    Block,
    ModelStamp,
    SourceRecord,
    TileIndex,
    TileTable,
    graph,
    graph_file,
)
from ngcg_cli.search.graph import Graph
from ngcg_cli.search.graph_file import check_graph
from ngcg_cli.search.ranking import top_k
from ngcg_cli.search.records import GraphRecord
from ngcg_cli.search.vectors import BLOCK_ROWS, Vectors

DIM = 256
CHUNK = 10_000
CLUSTERS = 4000
QUERIES = 200
SIZES = (1000, 10_000, 100_000, 300_000, 1_000_000)


def unit(vectors: Vectors) -> Vectors:
    """Rows scaled to length one."""
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def random_chunk(generator: np.random.Generator, count: int) -> Vectors:
    """Uniform on the sphere: no neighbourhoods at all, the worst case for any graph."""
    return unit(generator.standard_normal((count, DIM), np.float32))


def clustered_chunk(generator: np.random.Generator, count: int) -> Vectors:
    """4,000 clusters of sizes falling as 1/sqrt(rank); two of one have a cosine of 0.5 to 0.8."""
    fixed = np.random.default_rng(1)
    centres = unit(fixed.standard_normal((CLUSTERS, DIM), np.float32))
    cosines = fixed.uniform(0.5, 0.8, CLUSTERS).astype(np.float32)
    weights = np.arange(1, CLUSTERS + 1) ** -0.5
    of = generator.choice(CLUSTERS, count, p=weights / weights.sum())
    noise = random_chunk(generator, count)
    share = cosines[of, None]
    return unit(np.sqrt(share) * centres[of] + np.sqrt(np.float32(1) - share) * noise)


class Grown:
    """Vectors grown from real ones, for there are no million real ones.

    Each: a real vector drawn at random, moved by a random part of the way to one of its 10 nearest,
    plus noise in any direction (all 256: harder than real) as long as the way to its nearest.
    """

    def __init__(self, real: Vectors) -> None:
        cosines = real @ real.T
        np.fill_diagonal(cosines, -2)
        self.real = real
        self.near = np.argsort(-cosines, axis=1)[:, :10]
        self.reach = np.sqrt(np.maximum(2 - 2 * cosines.max(axis=1), 0))

    def chunk(self, generator: np.random.Generator, count: int) -> Vectors:
        """Some of them."""
        here = generator.integers(len(self.real), size=count)
        there = self.near[here, generator.integers(self.near.shape[1], size=count)]
        part = generator.random((count, 1), np.float32)
        noise = self.reach[here, None] * random_chunk(generator, count)
        return unit((1 - part) * self.real[here] + part * self.real[there] + noise)


def embed(pairs: Path, count: int = 1000) -> tuple[Vectors, Vectors]:
    """Some images of a JSON Lines file of pairs, and captions of them, through `tiny`."""
    from PIL import Image

    from ngcg_cli.encoder.checkpoint import load_encoder

    rows = [json.loads(line) for line in pairs.read_text().splitlines()]
    rows = [rows[i] for i in np.random.default_rng(0).permutation(len(rows))[:count]]
    encoder = load_encoder("tiny")
    parts = []
    for start in range(0, len(rows), 64):
        files = [pairs.parent / row["image"] for row in rows[start : start + 64]]
        parts.append(
            encoder.encode_images([np.asarray(Image.open(f).convert("RGB")) for f in files])
        )
    captions = list(dict.fromkeys(row["captions"][0] for row in rows))[:QUERIES]
    return np.concatenate(parts), encoder.encode_texts(captions)


KINDS: dict[str, Callable[[np.random.Generator, int], Vectors]] = {
    "random": random_chunk,
    "clustered": clustered_chunk,
}
TEXTS: dict[str, Vectors] = {}  # queries that are captions, where there are any


def make(kind: str, count: int) -> Vectors:
    """The first `count` vectors of a kind: more are only ever added."""
    vectors = np.empty((count, DIM), np.float32)
    for number, start in enumerate(range(0, count, CHUNK)):
        chunk = KINDS[kind](np.random.default_rng((2, number)), CHUNK)
        vectors[start : start + CHUNK] = chunk[: count - start]
    return vectors


def queries_for(kind: str, vectors: Vectors) -> dict[str, Vectors]:
    """Queries of three kinds, none of them used in tuning.

    held: further vectors of the same kind, as a photo is asked for.
    between: as the graph is tuned with, from other rows.
    texts: captions, where there are real ones.
    beside: half a vector of the index (cosine 0.5), the rest in any direction at all, as a text.
    """
    held = KINDS[kind](np.random.default_rng(3), QUERIES)
    generator = np.random.default_rng(4)
    rows = generator.permutation(len(vectors))[: 3 * QUERIES]
    noise = random_chunk(generator, QUERIES)
    beside = unit(np.float32(0.5) * vectors[rows[:QUERIES]] + np.float32(0.75**0.5) * noise)
    queries = {"held": held, "between": graph.probes_between(vectors[rows]), "beside": beside}
    return {**queries, "texts": TEXTS[kind]} if kind in TEXTS else queries


def blocks(vectors: Vectors) -> Iterable[tuple[Any, Vectors]]:
    """As an index hands its vectors to exact search."""
    for start in range(0, len(vectors), BLOCK_ROWS):
        block = vectors[start : start + BLOCK_ROWS]
        yield np.arange(start, start + len(block)), block


def seconds(work: Callable[[], object], repeat: int = 1) -> float:
    """The least processor seconds of some runs."""
    times = []
    for _ in range(repeat):
        began = time.process_time()
        work()
        times.append(time.process_time() - began)
    return min(times)


def baseline(queries: Vectors, vectors: Vectors, k: int) -> None:
    """NumPy alone."""
    scores = queries @ vectors.T
    np.argpartition(scores, len(vectors) - k, axis=1)[:, -k:]


def add(tree: Graph, vectors: Vectors) -> float:
    """Add to the graph in blocks, as an index does; processor seconds."""
    return seconds(lambda: tree.add((block for _, block in blocks(vectors)), None))


def measure(kind: str, tree: Graph, vectors: Vectors, folder: Path) -> dict[str, Any]:
    """Everything about one size, but the building."""
    size, k = len(vectors), 10
    files: list[Any] = []
    saving = seconds(lambda: files.append(tree.save(folder, "graph/000001.hnsw", None)))
    record = GraphRecord("000001", DIM, size, (("000000", size),), files[0])
    load = seconds(lambda: Graph.load(folder, record))
    with (folder / record.path).open("rb") as file:
        check = seconds(lambda: check_graph(file, DIM, size))
    digest = seconds(lambda: Graph.sound(folder, record))
    rows = np.random.default_rng(0).permutation(size)[: 3 * graph.PROBES]
    probes = graph.probes_between(vectors[rows])
    began = time.process_time()
    best = graph.breadth(tree, probes, lambda: blocks(vectors))
    row: dict[str, Any] = {
        "save_s": saving,
        "bytes": files[0].bytes,
        "tuning_s": time.process_time() - began,
        "ef": best,
        "load_s": load,
        "check_s": check,
        "digest_s": digest,
        "curves": {},
    }
    for name, queries in queries_for(kind, vectors).items():
        _, exact = top_k(queries, blocks(vectors), k)
        curve, ef = [], graph.DEPTH
        efs: list[int] = []
        while ef < min(size, 8000):
            efs.append(ef)
            ef *= 2
        for ef in sorted({*efs, best or graph.DEPTH}):
            began = time.process_time()
            # One at a time, as they come to a service.
            found = [tree.search(query[None], graph.DEPTH, ef) for query in queries]
            spent = time.process_time() - began
            scores = np.concatenate([answer[1][:, :k] for answer in found if answer])
            recall = float((scores >= exact[:, -1:] - 1e-6).mean())
            curve.append({"ef": ef, "recall10": recall, "ms": 1000 * spent / len(queries)})
            if recall > 0.999 and ef >= (best or 0):
                break
        row["curves"][name] = curve
    one, many = queries[:1], queries[:64]
    row["exact_ms"] = 1000 * seconds(lambda: top_k(one, blocks(vectors), k), 5)
    row["numpy_ms"] = 1000 * seconds(lambda: baseline(one, vectors, k), 5)
    row["exact_batch_ms"] = 1000 * seconds(lambda: top_k(many, blocks(vectors), k), 2) / len(many)
    row["numpy_batch_ms"] = 1000 * seconds(lambda: baseline(many, vectors, k), 2) / len(many)
    return row


def run(kind: str, sizes: list[int], out: Path) -> None:
    """Grow a graph from size to size; after each, write what is known."""
    vectors = make(kind, max(sizes) + 1000)
    tree, built = Graph.empty(DIM, len(vectors)), 0.0
    with tempfile.TemporaryDirectory(dir=out.parent) as folder:
        for size in sizes:
            tree._index.set_num_threads(2)
            for start in range(tree.count, size, CHUNK):
                built += add(tree, vectors[start : min(start + CHUNK, size)])
                print(f"{kind} {tree.count} {built:.0f} s", flush=True)
            tree._index.set_num_threads(1)
            row = {"data": kind, "size": size, "build_s": built}
            row |= {"m": graph_file.M, "ef_construction": graph_file.EF_CONSTRUCTION}
            row |= measure(kind, tree, vectors[:size], Path(folder))
            if size == max(sizes):
                row["add_1000_s"] = add(tree, vectors[size : size + 1000])
            rows = [*(json.loads(out.read_text())["rows"] if out.exists() else []), row]
            kept = {(r["data"], r["size"]): r for r in rows}
            out.write_text(json.dumps({"rows": list(kept.values())}, indent=1))
            print(json.dumps(row), flush=True)


def serve(kind: str, size: int) -> dict[str, Any]:
    """An index as a service holds it: what it answers, and what that costs, its own choices made.

    Each kind of query comes to an index opened anew, first one at a time, four times over, then all
    together. `recall10` and `ms` are of the last time one by one.
    """
    vectors = make(kind, size)
    told: dict[str, Any] = {"data": kind, "size": size}
    with tempfile.TemporaryDirectory() as folder:
        index = TileIndex.create(Path(folder) / "index", ModelStamp("none", "0" * 64, DIM))
        with index.writing():
            for number, (rows, block) in enumerate(blocks(vectors)):
                index.commit([Block(SourceRecord(f"{number}", None, None, "1px", 0, 0),
                                    tiles_of(len(rows)), block)])  # fmt: skip
            told["build_s"] = seconds(index.refresh_graph)
        record = index.manifest.graph
        told["ef"] = record and record.ef
        for name, queries in queries_for(kind, vectors).items():
            _, exact = top_k(queries, blocks(vectors), 10)
            served = TileIndex.open(index.path)
            ranker = served._ranker
            for _ in range(4):
                began = time.process_time()
                scores = np.concatenate([ranker.rank(q[None], graph.DEPTH)[1] for q in queries])
                spent = time.process_time() - began
            loaded = ranker._graph
            many = seconds(partial(ranker.rank, queries, graph.DEPTH), 2)
            told[name] = {
                "graph": loaded is not None,
                "ef": loaded and loaded.ef,
                "recall10": float((scores[:, :10] >= exact[:, -1:] - 1e-6).mean()),
                "ms": 1000 * spent / len(queries),
                "exact_ms": 1000 * ranker._exact[1] * size,
                "batch_ms": 1000 * many / len(queries),
            }
    return told


def tiles_of(count: int) -> TileTable:
    """Some tiles, anywhere."""
    bbox = np.tile([10.0, 50.0, 10.001, 50.001], (count, 1))
    window = np.tile(np.array([0, 0, 100, 100]), (count, 1))
    wkb = shapely.to_wkb(shapely.box(*bbox[0]))
    return TileTable(bbox[:, 0], bbox[:, 1], bbox, window, [wkb] * count)


def main() -> None:
    """Measure, or tell and draw what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="the results, JSON; added to")
    parser.add_argument("--data", choices=[*KINDS, "real-like"], default="clustered")
    parser.add_argument("--pairs", type=Path, help="images and captions, for real-like data")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--serve", action="store_true", help="measure a whole index, at each size")
    parser.add_argument("--plot", type=Path, help="draw the results here, and measure nothing")
    args = parser.parse_args()
    if args.plot:
        rows = json.loads(args.out.read_text())["rows"]
        plot(rows, args.plot)
        print(tables(rows))
        return
    if os.environ.get("OMP_NUM_THREADS") != "1":
        sys.exit("Set OMP_NUM_THREADS=1: the times are those of one thread.")
    if args.data == "real-like":
        if not args.pairs:
            parser.error("--data real-like takes --pairs")
        images, TEXTS[args.data] = embed(args.pairs)
        KINDS[args.data] = Grown(images).chunk
    if args.serve:
        for size in sorted(args.sizes):
            print(json.dumps(serve(args.data, size)), flush=True)
        return
    run(args.data, sorted(args.sizes), args.out)


if __name__ == "__main__":
    main()
