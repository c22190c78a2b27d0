"""The HNSW graph: a cache over the vectors, for many queries against many tiles.

What hnswlib does not keep, is kept here: its file tells neither dimension nor space and is loaded
whatever it holds, so it is loaded only when its checksum is the recorded one; its `knn_query`
raises where it finds fewer than k, so k is clamped and the caller falls back to exact search.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ngcg_cli.search.files import FileRecord, write_beside
from ngcg_cli.search.format import GraphRecord
from ngcg_cli.search.ranking import Vectors
from ngcg_cli.search.tiles import Ints

# Below this a graph is not worth building. Measured with 256 dimensions on one core: at 20,000
# tiles a query costs the same either way (1 to 2 ms in a batch); building takes 1.3 ms a tile.
MIN_TILES = 100_000
# Loading the graph reads more bytes than an exact search does: it pays from the second handful of
# queries on. Counted over the life of an open index, so that a service comes to load it too.
MIN_QUERIES = 16
# More neighbours than this are ranked exactly: the graph's cost grows faster than its gain.
MAX_K = 1024
# Rebuilt, not updated, when more of it than this is of segments that are gone.
MAX_DEAD = 0.2

_M = 16
_EF_CONSTRUCTION = 200


class Graph:
    """A loaded graph of `count` vectors, labelled from 0."""

    def __init__(self, index: Any, count: int) -> None:
        self._index = index
        self.count = count

    @classmethod
    def load(cls, folder: Path, record: GraphRecord, room_for: int = 0) -> Graph | None:
        """Load the recorded graph, or None when the file is missing, changed or not ours."""
        import hnswlib

        path = folder / record.path
        try:
            if FileRecord.of(path) != record.file:
                return None
            index = hnswlib.Index(space="ip", dim=record.dim)
            index.load_index(str(path), max_elements=max(record.count, room_for))
        except (OSError, RuntimeError):
            return None
        if index.get_current_count() != record.count:
            return None
        return cls(index, record.count)

    @classmethod
    def empty(cls, dim: int, room_for: int) -> Graph:
        """A graph without vectors, with room for some."""
        import hnswlib

        index = hnswlib.Index(space="ip", dim=dim)
        index.init_index(max_elements=room_for, M=_M, ef_construction=_EF_CONSTRUCTION)
        return cls(index, 0)

    def add(self, blocks: Iterable[Vectors], progress: Callable[[int], object] | None) -> None:
        """Add blocks of vectors (n, dim), labelled on from `count`; `progress` gets each n."""
        for vectors in blocks:
            self._index.add_items(vectors, np.arange(self.count, self.count + len(vectors)))
            self.count += len(vectors)
            if progress:
                progress(len(vectors))

    def save(self, folder: Path, path: str) -> FileRecord:
        """Save beside, flush, move into place: hnswlib itself writes straight to the name."""

        def write(file: Any) -> None:
            # hnswlib opens the (still empty) file by its name, and does not tell a full disk.
            self._index.save_index(file.name)
            if Path(file.name).stat().st_size != self._index.index_file_size():
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        return write_beside(folder / path, write)

    def search(self, queries: Vectors, k: int) -> tuple[Ints, Vectors] | None:
        """Approximate k best: labels and scores, each (Q, k); None when it cannot give k."""
        k = min(k, self.count)
        self._index.set_ef(max(2 * k, 128))
        try:
            labels, distances = self._index.knn_query(queries, k=k)
        except RuntimeError:
            return None
        return labels.astype(np.int64), np.float32(1) - distances
