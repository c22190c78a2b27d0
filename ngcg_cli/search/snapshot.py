"""One committed state of an index, to read from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np

from ngcg_cli.search import graph
from ngcg_cli.search.files import damaged
from ngcg_cli.search.format import Manifest, SegmentRecord
from ngcg_cli.search.graph import Graph
from ngcg_cli.search.ranking import BLOCK_ROWS, Mask, Vectors, merge, top_k
from ngcg_cli.search.tiles import Floats, Ints, TileColumns, read_geometry


class Snapshot:
    """The tiles of one manifest, numbered 0..N-1 through its segments in order.

    Reads what is asked for when it is asked for, and keeps the tiles' numbers (80 bytes a tile).
    FileNotFoundError from any method means that a writer has since replaced a segment.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest
        self.segments = manifest.segments
        sizes = [segment.tiles for segment in self.segments]
        self._starts = np.cumsum([0, *sizes])
        self.count = int(self._starts[-1])
        self.segment_source = np.repeat(
            np.arange(len(manifest.sources)),
            np.array([len(source.segments) for source in manifest.sources], np.int64),
        )
        self._columns: dict[int, TileColumns] = {}
        self._graph: tuple[Graph, Ints, Mask] | None = None
        self._graph_failed = False
        self._queries = 0

    def segment_of(self, rows: Ints) -> Ints:
        """(N,) number of each row's segment."""
        return np.searchsorted(self._starts, rows, side="right") - 1

    def columns(self, rows: Ints) -> TileColumns:
        """The numbers of some tiles, in the order asked."""
        count = len(rows)
        taken = TileColumns(
            np.empty(count), np.empty(count), np.empty((count, 4)), np.empty((count, 4), np.int64)
        )
        segment_of = self.segment_of(rows)
        for number in np.unique(segment_of).tolist():
            columns = self._segment_columns(number)
            mine = segment_of == number
            at = rows[mine] - self._starts[number]
            taken.lon[mine], taken.lat[mine] = columns.lon[at], columns.lat[at]
            taken.bbox[mine], taken.window[mine] = columns.bbox[at], columns.window[at]
        return taken

    def centres(self) -> tuple[Floats, Floats]:
        """Longitude and latitude, each (N,), of all tiles' centres."""
        parts = [self._segment_columns(number) for number in range(len(self.segments))]
        none = [np.empty(0)]
        return (
            np.concatenate([part.lon for part in parts] or none),
            np.concatenate([part.lat for part in parts] or none),
        )

    def _segment_columns(self, number: int) -> TileColumns:
        if number not in self._columns:
            segment = self.segments[number]
            self._columns[number] = TileColumns.read(
                self.folder / segment.table_path, segment.tiles
            )
        return self._columns[number]

    def geometry(self, rows: Ints) -> list[bytes]:
        """The footprints (WKB) of some tiles, in the order asked."""
        found: dict[int, bytes] = {}
        segment_of = self.segment_of(rows)
        for number in np.unique(segment_of):
            mine = np.unique(rows[segment_of == number])
            path = self.folder / self.segments[number].table_path
            footprints = read_geometry(path, mine - self._starts[number])
            found.update(zip(mine.tolist(), footprints, strict=True))
        return [found[row] for row in rows.tolist()]

    def vectors(self, segment: SegmentRecord) -> Vectors:
        """The (tiles, dim) vectors of a segment; mapped from disk when more than a block."""
        path = self.folder / segment.vectors_path
        try:
            # Plain reading is several times faster than mapping, which tells with many segments.
            mapping: Literal["r"] | None = "r" if segment.tiles > BLOCK_ROWS else None
            vectors = np.load(path, mmap_mode=mapping, allow_pickle=False)
        except FileNotFoundError:
            raise
        except (OSError, ValueError) as error:
            raise damaged(path, error) from error
        shape = (segment.tiles, self.manifest.model.dim)
        if vectors.shape != shape or vectors.dtype != np.float32:
            raise damaged(path, f"{vectors.dtype} {vectors.shape}, where float32 {shape} is due")
        return vectors

    def blocks(self, keep: Mask | None = None) -> Iterator[tuple[Ints, Vectors]]:
        """(rows, vectors) of all tiles, or of those kept, in blocks of about BLOCK_ROWS."""
        waiting: list[tuple[Ints, Vectors]] = []
        held = 0
        for start, segment in zip(self._starts, self.segments, strict=False):
            if keep is not None and not keep[start : start + segment.tiles].any():
                continue
            vectors = self.vectors(segment)
            for first in range(0, segment.tiles, BLOCK_ROWS):
                block = vectors[first : first + BLOCK_ROWS]
                rows = np.arange(start + first, start + first + len(block))
                if keep is not None:
                    wanted = keep[rows]
                    rows, block = rows[wanted], block[wanted]
                # Many small sources make one product, not many.
                if held and held + len(rows) > BLOCK_ROWS:
                    yield _joined(waiting)
                    waiting, held = [], 0
                waiting.append((rows, block))
                held += len(rows)
        if held:
            yield _joined(waiting)

    def rank(
        self, queries: Vectors, k: int, keep: Mask | None = None, exact: bool = False
    ) -> tuple[Ints, Vectors]:
        """The k best tiles for each query, as `ranking.top_k` gives them.

        Exact unless there are many tiles, no filter, and a graph of use: then what the graph holds
        is approximate, and what it does not hold (yet) is exact.
        """
        self._queries += len(queries)
        if not exact and keep is None and k <= graph.MAX_K:
            ranking = self._rank_by_graph(queries, k)
            if ranking:
                return ranking
        return top_k(queries, self.blocks(keep), k)

    def _rank_by_graph(self, queries: Vectors, k: int) -> tuple[Ints, Vectors] | None:
        loaded = self._load_graph()
        if not loaded:
            return None
        tree, row_of, missing = loaded
        found = tree.search(queries, k)
        if not found:
            return None
        rows, scores = row_of[found[0]], found[1]
        scores[rows < 0] = -np.inf
        padding = max(0, k - rows.shape[1])
        rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=-1)
        scores = np.pad(scores, ((0, 0), (0, padding)), constant_values=-np.inf)
        rankings = [(rows, scores)]
        if missing.any():
            rankings.append(top_k(queries, self.blocks(missing), k))
        return merge(*rankings, k=k)

    def _load_graph(self) -> tuple[Graph, Ints, Mask] | None:
        """The graph, the row of each of its labels (-1: gone), and the rows it lacks."""
        record = self.manifest.graph
        if self._graph or self._graph_failed or not record or self._queries < graph.MIN_QUERIES:
            return self._graph
        start_of = {s.name: (self._starts[i], s.tiles) for i, s in enumerate(self.segments)}
        row_of = np.full(record.count, -1, np.int64)
        label = 0
        for name, tiles in record.segments:
            start, held = start_of.get(name, (0, -1))
            if held == tiles:
                row_of[label : label + tiles] = np.arange(start, start + tiles)
            label += tiles
        missing = np.ones(self.count, bool)
        missing[row_of[row_of >= 0]] = False
        live = record.count and (row_of >= 0).mean() >= 1 - graph.MAX_DEAD
        # Of use while most of it is live and most tiles are in it.
        useful = live and record.dim == self.manifest.model.dim and missing.mean() < 0.5
        tree = Graph.load(self.folder, record) if useful else None
        if tree:
            self._graph = (tree, row_of, missing)
        else:
            self._graph_failed = True
        return self._graph


def _joined(blocks: list[tuple[Ints, Vectors]]) -> tuple[Ints, Vectors]:
    if len(blocks) == 1:
        return blocks[0]
    return np.concatenate([rows for rows, _ in blocks]), np.concatenate([v for _, v in blocks])
