"""The best tiles of a state: by its graph where that costs less, exactly otherwise."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from ngcg_cli.search import graph
from ngcg_cli.search.extent import Mask
from ngcg_cli.search.graph import Graph
from ngcg_cli.search.ranking import merge, top_k
from ngcg_cli.search.records import GraphRecord
from ngcg_cli.search.snapshot import Snapshot
from ngcg_cli.search.tiles import Ints
from ngcg_cli.search.vectors import Vectors

# Bytes of a graph that a second of the processor loads, checks included (docs/performance.md).
LOAD_RATE = 3e8
# The last queries asked, with which a graph is tried before it is used: texts may lie otherwise.
RECENT = 32


@dataclass
class _Loaded:
    """A graph in memory.

    Attributes:
        ef: breadth for `graph.DEPTH` ranks.
        seconds: of the processor that a query for so many took of late.
        row_of: (count,) the row of each label, -1 where it is gone.
        missing: (N,) the rows that the graph lacks.
    """

    tree: Graph
    ef: int
    seconds: float
    row_of: Ints
    missing: Mask


class Ranker:
    """Ranks the tiles of one state, and remembers what that cost: nothing is guessed but loading.

    Searches are exact until they have cost as much as loading the graph would. Then each goes the
    way that costs less, by what each way did cost for as many queries at once. All costs are
    processor seconds, which a busy machine does not spoil.
    """

    def __init__(self, view: Snapshot) -> None:
        self._view = view
        self._graph: _Loaded | None = None
        record = view.manifest.graph
        self._record = record if record and record.ef and record.dim == view.dim else None
        self._spent = 0.0
        # Seconds of exact search for each query and tile, by the power of two of the queries.
        self._exact: dict[int, float] = {}
        self._recent = np.empty((0, view.dim), np.float32)

    def rank(
        self, queries: Vectors, k: int, keep: Mask | None = None, exact: bool = False
    ) -> tuple[Ints, Vectors]:
        """The k best tiles for each query, as `ranking.top_k` gives them.

        Args:
            queries: (Q, dim).
            k: how many.
            keep: (N,) which tiles; None for all.
            exact: never use the graph. Where it is used, what it holds is approximate, and what it
                does not hold (yet) is exact.
        """
        self._recent = np.concatenate([self._recent, queries[-RECENT:]])[-RECENT:]
        tiles = self._view.count if keep is None else int(keep.sum())
        if not exact and self._record and self._pays(self._record, len(queries), tiles, k):
            found = self._by_graph(queries, k, keep, tiles)
            if found:
                return found
        began = time.process_time()
        ranking = top_k(queries, self._view.blocks(keep), k)
        self._note_exact(len(queries), tiles, time.process_time() - began, exact)
        return ranking

    def _note_exact(self, queries: int, tiles: int, seconds: float, asked: bool) -> None:
        each = seconds / max(1, queries * tiles)
        size = queries.bit_length()
        # The first search also fetches vectors from the disk.
        self._exact[size] = min(each, self._exact.get(size, each))
        self._spent += 0 if asked else seconds

    def _pays(self, record: GraphRecord, queries: int, tiles: int, k: int) -> bool:
        """Whether the graph, loaded if it is time to, is the cheaper way."""
        depth = self._depth(k, tiles)
        if depth > min(graph.MAX_K, record.count):
            return False
        if self._graph is None:
            if self._spent <= record.file.bytes / LOAD_RATE:
                return False
            self._graph = self._load(record)
            if self._graph is None:
                self._record = None
                return False
        each = self._exact.get(queries.bit_length())  # not known: an exact search will tell
        return each is not None and each * tiles > self._graph.seconds * self._stretch(depth)

    def _depth(self, k: int, tiles: int) -> int:
        """Ranks to ask the graph for: it knows no filter, so more, and half as many again."""
        count = self._view.count
        return k if tiles == count else -(-3 * k * count // (2 * max(1, tiles)))

    def _stretch(self, depth: int) -> float:
        return max(1.0, depth / graph.DEPTH)

    def _by_graph(
        self, queries: Vectors, k: int, keep: Mask | None, tiles: int
    ) -> tuple[Ints, Vectors] | None:
        loaded = self._graph
        if loaded is None:
            return None
        depth = self._depth(k, tiles)
        stretch = self._stretch(depth)
        began = time.process_time()
        found = loaded.tree.search(queries, depth, int(loaded.ef * stretch))
        if not found:
            return None
        took = (time.process_time() - began) / len(queries) / stretch
        loaded.seconds += (took - loaded.seconds) / 4
        rows, scores = loaded.row_of[found[0]], found[1]
        scores[(rows < 0) if keep is None else ~keep[rows] | (rows < 0)] = -np.inf
        rows[scores == -np.inf] = -1
        short = np.flatnonzero((rows >= 0).sum(axis=1) < k)
        rankings = [(rows, scores)]
        lacking = loaded.missing if keep is None else loaded.missing & keep
        if lacking.any():
            rankings.append(top_k(queries, self._view.blocks(lacking), k))
        rows, scores = merge(*rankings, k=k)
        if len(short):
            rows[short], scores[short] = top_k(queries[short], self._view.blocks(keep), k)
        return rows, scores

    def _load(self, record: GraphRecord) -> _Loaded | None:
        """The graph with a breadth that finds enough of what the last queries should find.

        None when too much of it is gone or missing, it is not the file that was written, or it
        costs more than exact search.
        """
        view = self._view
        row_of = view.rows_of(record)
        missing = np.ones(view.count, bool)
        missing[row_of[row_of >= 0]] = False
        dead = np.flatnonzero(row_of < 0)
        if len(dead) > graph.MAX_DEAD * record.count or missing.mean() >= 0.5:
            return None
        tree = Graph.load(view.folder, record)
        if not tree:
            return None
        tree.drop(dead)
        held = view.blocks(~missing if missing.any() else None)
        _, scores = top_k(self._recent, held, graph.RANKS)
        limit = max(self._exact.values()) * view.count
        found = graph.fit(tree, self._recent, scores[:, -1], limit, record.ef or graph.DEPTH)
        return _Loaded(tree, found.ef, found.seconds, row_of, missing) if found else None
