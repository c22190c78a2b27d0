"""The HNSW graph: a cache over the vectors, for many queries against many tiles.

What hnswlib does not keep, is kept here: its file tells neither dimension nor space and is loaded
whatever it holds, so it is loaded only when its checksum is the recorded one and every number in it
that hnswlib follows is in range; its `knn_query` raises where it finds fewer than k, so k is
clamped and the caller falls back to exact search.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ngcg_cli.errors import TileIndexError
from ngcg_cli.search.files import FileRecord, open_inside, write_beside
from ngcg_cli.search.graph_file import EF_CONSTRUCTION, M, check_graph
from ngcg_cli.search.ranking import top_k
from ngcg_cli.search.records import GraphRecord
from ngcg_cli.search.tiles import Ints
from ngcg_cli.search.vectors import Vectors

# Below this a graph is not worth building: an exact search takes some 10 ms.
MIN_TILES = 100_000
# More neighbours than this are ranked exactly: the graph's cost grows faster than its gain.
MAX_K = 1024
# Rebuilt, not updated, when more of it than this is of segments that are gone.
MAX_DEAD = 0.2

# What a graph must find of the ten exact ranks: a little more than the 0.99 that is promised.
TARGET = 0.995
RANKS = 10
# Ranks that a query for ten hits asks for, since some of them may overlap better ones.
DEPTH = 56
# Queries that a graph is measured with: 2,560 ranks tell 0.995 from 0.99.
PROBES = 256


class Graph:
    """A loaded graph of `count` vectors, labelled from 0."""

    def __init__(self, index: Any, count: int) -> None:
        self._index = index
        self.count = count

    @classmethod
    def load(cls, folder: Path, record: GraphRecord, room_for: int = 0) -> Graph | None:
        """Load the recorded graph, or None when the file is missing, changed or not ours."""
        import hnswlib

        try:
            if not cls.sound(folder, record):
                return None
            index = hnswlib.Index(space="ip", dim=record.dim)
            index.load_index(str(folder / record.path), max_elements=max(record.count, room_for))
        except (OSError, RuntimeError):
            return None
        if index.get_current_count() != record.count:
            return None
        return cls(index, record.count)

    @staticmethod
    def sound(folder: Path, record: GraphRecord) -> bool:
        """Whether the recorded graph's file is there, the one that was written, and a graph."""
        try:
            if FileRecord.of(folder, record.path) != record.file:
                return False
            with open_inside(folder, record.path, record.file.bytes) as file:
                check_graph(file, record.dim, record.count)
        except (OSError, ValueError, TileIndexError):
            return False
        return True

    @classmethod
    def empty(cls, dim: int, room_for: int) -> Graph:
        """A graph without vectors, with room for some."""
        import hnswlib

        index = hnswlib.Index(space="ip", dim=dim)
        index.init_index(max_elements=room_for, M=M, ef_construction=EF_CONSTRUCTION)
        return cls(index, 0)

    def add(self, blocks: Iterable[Vectors], progress: Callable[[int], object] | None) -> None:
        """Add blocks of vectors (n, dim), labelled on from `count`; `progress` gets each n."""
        for vectors in blocks:
            self._index.add_items(vectors, np.arange(self.count, self.count + len(vectors)))
            self.count += len(vectors)
            if progress:
                progress(len(vectors))

    def save(self, folder: Path, path: str, ready: Callable[[], object] | None) -> FileRecord:
        """Save as `files.write_beside` does: hnswlib itself writes straight to the name."""

        def write(file: Any) -> None:
            # hnswlib opens the (still empty) file by its name, and does not tell a full disk.
            self._index.save_index(file.name)
            if Path(file.name).stat().st_size != self._index.index_file_size():
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        return write_beside(folder / path, write, ready)

    def drop(self, labels: Ints) -> None:
        """Never again find these labels; they still lead to others."""
        for label in labels.tolist():
            # hnswlib refuses what is dropped already, as in a graph saved since.
            with contextlib.suppress(RuntimeError):
                self._index.mark_deleted(label)

    def search(self, queries: Vectors, k: int, ef: int) -> tuple[Ints, Vectors] | None:
        """Approximate k best: labels and scores, each (Q, k); None when it cannot give k."""
        k = min(k, self.count)
        self._index.set_ef(max(ef, k))
        try:
            labels, distances = self._index.knn_query(queries, k=k)
        except RuntimeError:
            return None
        return labels.astype(np.int64), np.float32(1) - distances


class Fit(NamedTuple):
    """A breadth of search that is enough, what it finds, and what it costs a query."""

    ef: int
    recall: float
    seconds: float


def fit(tree: Graph, queries: Vectors, worst: Vectors, limit: float, ef: int = DEPTH) -> Fit | None:
    """The least breadth (in steps from `ef`) with which the graph finds enough of the exact ranks.

    Args:
        tree: the graph.
        queries: (Q, dim).
        worst: (Q,) score of each query's exact rank `RANKS` among the graph's vectors. What scores
            no less is right, so that equal vectors may stand for one another.
        limit: seconds; a query that takes longer is not worth it.
        ef: where to start.

    Returns:
        None when there is no such breadth within the limit.
    """
    floor = worst[:, None] - np.float32(1e-6)
    while True:
        began = time.process_time()
        found = tree.search(queries, DEPTH, ef)
        seconds = (time.process_time() - began) / len(queries)
        if not found or seconds > limit:
            return None
        recall = float((found[1][:, :RANKS] >= floor).mean())
        if recall >= TARGET:
            return Fit(ef, round(recall, 5), seconds)
        ef = ef * 4 // 3


def breadth(
    tree: Graph, probes: Vectors, blocks: Callable[[], Iterable[tuple[Ints, Vectors]]]
) -> int | None:
    """The least breadth (`ef`) with which a graph finds enough; None where none is cheaper.

    Args:
        tree: the graph.
        probes: (Q, dim) queries to measure with.
        blocks: all of the graph's vectors, as `ranking.top_k` takes them, which gives the truth
            and, one query at a time, the limit of what a query may cost.
    """
    _, scores = top_k(probes, blocks(), RANKS)
    began = time.process_time()
    top_k(probes[:1], blocks(), DEPTH)
    found = fit(tree, probes, scores[:, -1], limit=time.process_time() - began)
    return found.ef if found else None


def probes_between(vectors: Vectors) -> Vectors:
    """Queries like those to come, (n, dim), from 3n vectors of the index in random order.

    A vector of the index finds itself, which is too easy, and a text lies beside the images. So
    each probe is a vector pushed towards one and away from another, by a quarter up to half of
    their difference: the cosine to where it started falls from 0.94 to 0.82 (in random directions).
    That is somewhat harder than real captions are: pushed up to the whole of the difference, a
    graph is asked for twenty times the breadth that captions need.
    """
    here, towards, away = np.array_split(vectors[: len(vectors) // 3 * 3], 3)
    push = np.linspace(0.25, 0.5, len(here), dtype=np.float32)[:, None]
    probes = here + push * (towards - away)
    lengths = np.maximum(np.linalg.norm(probes, axis=1, keepdims=True), 1e-6)
    return np.asarray(probes / lengths, np.float32)
