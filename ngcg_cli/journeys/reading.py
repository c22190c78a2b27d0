"""Reader threads ahead of the model: windows of rasters to tiles of uint8 RGB, in order."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

import numpy as np

from ngcg_cli.search import SourceRecord, TileTable

if TYPE_CHECKING:
    from ngcg_cli.raster import Raster, Window

# Windows that a thread reads in one go: neighbours share blocks of the file.
CHUNK = 8
READERS = min(4, os.cpu_count() or 1)


@dataclass(frozen=True)
class Plan:
    """A raster to read: how it is cut, into how many windows, and which of them count."""

    path: str
    tile: str
    overlap: float
    min_valid: float
    windows: int

    @classmethod
    def of(cls, record: SourceRecord, windows: int) -> Self:
        """The plan for a source whose grid has so many windows."""
        return cls(record.path, record.tile, record.overlap, record.min_valid, windows)


@dataclass
class Chunk:
    """Some neighbouring windows of a raster, read.

    Attributes:
        source: which of the plans they belong to.
        windows: how many were looked at.
        tiles: those that hold enough data, N of them, and where they lie; None where N is 0.
        pixels: their N images, uint8 RGB (h, w, 3).
        error: why they could not be read.
    """

    source: int
    windows: int
    tiles: TileTable | None = None
    pixels: list[np.ndarray] = field(default_factory=list)
    error: Exception | None = None


def join(chunks: Sequence[Chunk]) -> TileTable:
    """The tiles of all chunks of a source, in order."""
    tables = [chunk.tiles for chunk in chunks if chunk.tiles is not None]
    if not tables:
        nothing = np.empty((0, 4))
        return TileTable(nothing[:, 0], nothing[:, 0], nothing, nothing.astype(np.int64), [])
    return TileTable(
        lon=np.concatenate([table.lon for table in tables]),
        lat=np.concatenate([table.lat for table in tables]),
        bbox=np.concatenate([table.bbox for table in tables]),
        window=np.concatenate([table.window for table in tables]),
        geometry=[wkb for table in tables for wkb in table.geometry],
    )


def read_ahead(
    plans: Sequence[Plan], max_side: int, readers: int = READERS
) -> Generator[Chunk, None, None]:
    """Reads all windows of all plans, in order, a bounded number of chunks ahead of the caller.

    At most 2 x `readers` chunks of `CHUNK` tiles wait in memory. A window that lies nowhere on the
    Earth, or holds too little data, is counted but gives no tile. After an error the rest of that
    source is counted without being read.

    Args:
        plans: what to read.
        max_side: a tile's longer side is averaged down to this many pixels while reading.
        readers: threads; each keeps one raster open.
    """
    reader = _Reader(plans, max_side)
    parts = (
        (source, start)
        for source, plan in enumerate(plans)
        for start in range(0, plan.windows, CHUNK)
    )
    waiting: deque[Future[Chunk]] = deque()
    pool = ThreadPoolExecutor(readers, thread_name_prefix="reader")
    try:
        for source, start in parts:
            waiting.append(pool.submit(reader.read, source, start))
            if len(waiting) >= 2 * readers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        reader.close()


class _Reader:
    """What the threads share: the plans, each thread's open raster, the sources that failed."""

    def __init__(self, plans: Sequence[Plan], max_side: int) -> None:
        self._plans = plans
        self._max_side = max_side
        self._open: dict[int, _Cut] = {}
        self._failed: set[int] = set()

    def read(self, source: int, start: int) -> Chunk:
        """The windows from `start` on; errors come back in the chunk."""
        plan = self._plans[source]
        chunk = Chunk(source, windows=min(CHUNK, plan.windows - start))
        if source in self._failed:
            return chunk
        try:
            self._fill(chunk, self._cut(source), start)
        except Exception as error:  # whatever a hostile file provokes, the other sources go on
            self._failed.add(source)
            return Chunk(source, chunk.windows, error=error)
        return chunk

    def _fill(self, chunk: Chunk, cut: _Cut, start: int) -> None:
        min_valid = self._plans[chunk.source].min_valid
        windows = cut.windows[start : start + CHUNK]
        places = cut.raster.footprints(windows)
        kept = []
        for row in np.flatnonzero(places.placed).tolist():
            pixels, valid = cut.raster.read(windows[row], max_side=self._max_side)
            if valid > 0 and valid >= min_valid:
                kept.append(row)
                chunk.pixels.append(pixels)
        if kept:
            chunk.tiles = TileTable(
                lon=places.lon[kept],
                lat=places.lat[kept],
                bbox=places.bbox[kept],
                window=np.array([windows[row] for row in kept], np.int64),
                geometry=[places.geometry[row] for row in kept],
            )

    def _cut(self, source: int) -> _Cut:
        """The source's raster, open in this thread; the one before it is closed."""
        from ngcg_cli.raster import Raster, TileSize

        thread = threading.get_ident()
        cut = self._open.get(thread)
        if cut is None or cut.source != source:
            if cut is not None:
                del self._open[thread]
                cut.raster.close()
            plan = self._plans[source]
            raster = Raster.open(plan.path)
            windows = raster.grid(TileSize.parse(plan.tile), plan.overlap)
            cut = self._open[thread] = _Cut(source, raster, windows)
        return cut

    def close(self) -> None:
        for cut in self._open.values():
            cut.raster.close()
        self._open.clear()


@dataclass(frozen=True)
class _Cut:
    """An open raster and its grid."""

    source: int
    raster: Raster
    windows: list[Window]
