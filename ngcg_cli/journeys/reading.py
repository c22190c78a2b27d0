"""Reader threads ahead of the model: windows of rasters to tiles of uint8 RGB, in order.

A source is read by one thread, window after window in the order of its grid, so that a block of the
file that neighbours share is decoded once and then found in GDAL's cache; several sources are read
at the same time. What waits for the model is bounded in tiles.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ngcg_cli.errors import RasterError
from ngcg_cli.journeys.files import is_gone, is_local
from ngcg_cli.journeys.planning import Job
from ngcg_cli.search import SourceRecord, TileTable

if TYPE_CHECKING:
    from ngcg_cli.raster import Raster, Window

# Windows that are placed, read and handed on together.
CHUNK = 8
READERS = min(4, os.cpu_count() or 1)
# Unreadable windows of one chunk after which a remote raster counts as out of reach.
_OUT_OF_REACH = 4
# A reader inside GDAL cannot be called back; the process may end without it.
_PATIENCE = 5.0


@dataclass
class Chunk:
    """Some neighbouring windows of a raster: read, then embedded, then committed.

    Attributes:
        path: of the raster.
        windows: how many were looked at.
        tiles: those that hold enough data, N of them, and where they lie; None where N is 0.
        pixels: their N images, uint8 RGB (h, w, 3), until they are embedded.
        vectors: those of its tiles that are embedded, each (dim,) float32, in order.
        skipped: of each that could not be read, which and why.
        readable: how many were read, or are known to be empty.
        nowhere: how many have their centre off the Earth.
        complaints: what the user may want to know of the source; with its last chunk.
        error: why the source cannot be read on; then nothing else is set.
    """

    path: str
    windows: int = 0
    tiles: TileTable | None = None
    pixels: list[np.ndarray] = field(default_factory=list)
    vectors: list[np.ndarray] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    readable: int = 0
    nowhere: int = 0
    complaints: list[str] = field(default_factory=list)
    error: Exception | None = None

    @property
    def whole(self) -> bool:
        """Whether all of its tiles are embedded."""
        return self.tiles is None or len(self.vectors) == len(self.tiles)


def read_ahead(
    jobs: Sequence[Job],
    max_side: int,
    tiles_ahead: int = 2 * CHUNK,
    readers: int = READERS,
    prepare: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Generator[Chunk, None, None]:
    """Reads all windows of all jobs, in order, a bounded number of tiles ahead of the caller.

    A window that lies nowhere on the Earth, or holds too little data, is counted but gives no tile.
    After an error the next source follows.

    Args:
        jobs: what to read, and from which window on.
        max_side: a tile's longer side is averaged down to this many pixels while reading.
        tiles_ahead: of the source in turn, and of those after it together, this many tiles may
            wait, and a chunk for each reader.
        readers: threads; each keeps one raster open.
        prepare: what a reader makes of each tile's pixels (h, w, 3) before they wait.
    """
    ahead = _Ahead(tiles_ahead)
    todo = iter(enumerate(jobs))
    lock = threading.Lock()

    def work() -> None:
        while not ahead.stopped:
            with lock:
                number, job = next(todo, (-1, None))
            if job is None:
                return
            try:
                for chunk in read_source(job, max_side):
                    if prepare is not None:
                        chunk.pixels = [prepare(pixels) for pixels in chunk.pixels]
                    ahead.put(number, chunk)
                    if ahead.stopped:
                        return
            except Exception as error:  # whatever a hostile file provokes, the other sources go on
                ahead.put(number, Chunk(job.path, error=error))
            ahead.put(number, None)

    threads = [
        threading.Thread(target=work, name=f"reader-{number}", daemon=True)
        for number in range(min(readers, len(jobs)))
    ]
    try:
        for thread in threads:
            thread.start()
        for number in range(len(jobs)):
            while (chunk := ahead.take(number)) is not None:
                yield chunk
    finally:
        ahead.stop()
        until = time.monotonic() + _PATIENCE
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))


class _Ahead:
    """Chunks that wait for the model, by source.

    The source in turn has room of its own, so those after it can never stand in its way.
    """

    def __init__(self, tiles: int) -> None:
        self._room = tiles
        self._changed = threading.Condition()
        self._lines: dict[int, deque[Chunk | None]] = {}
        self._held: dict[int, int] = {}
        self._turn = 0
        self.stopped = False

    def put(self, source: int, chunk: Chunk | None) -> None:
        """Adds a source's next chunk, or its end (None), when there is room; nothing once stopped.

        What goes over the room is the last chunk that was put.
        """
        with self._changed:
            self._changed.wait_for(lambda: self.stopped or chunk is None or self._has_room(source))
            self._lines.setdefault(source, deque()).append(chunk)
            self._held[source] = self._held.get(source, 0) + _weight(chunk)
            self._changed.notify_all()

    def take(self, source: int) -> Chunk | None:
        """The next chunk of the source in turn, as soon as it is there; None at its end."""
        with self._changed:
            self._turn = source
            self._changed.wait_for(lambda: self._lines.get(source))
            chunk = self._lines[source].popleft()
            self._held[source] -= _weight(chunk)
            if chunk is None:
                del self._lines[source], self._held[source]
            self._changed.notify_all()
            return chunk

    def stop(self) -> None:
        """Lets all who wait go on."""
        with self._changed:
            self.stopped = True
            self._changed.notify_all()

    def _has_room(self, source: int) -> bool:
        mine = self._held.get(self._turn, 0)
        return (mine if source == self._turn else sum(self._held.values()) - mine) < self._room


def _weight(chunk: Chunk | None) -> int:
    return 0 if chunk is None else max(1, len(chunk.pixels))


def read_source(job: Job, max_side: int, stop: int | None = None) -> Iterator[Chunk]:
    """Reads the windows of one source, in the order of its grid, from where an earlier run ended.

    Args:
        job: the source.
        max_side: a tile's longer side is averaged down to this many pixels while reading.
        stop: the window before which to end; None reads to the last.

    Raises:
        RasterError: it cannot be read on.
    """
    from ngcg_cli.raster import Raster, TileSize
    from ngcg_cli.raster.gdal import settings

    record = job.record
    opened, job.raster = job.raster, None
    with settings(job.path), opened or Raster.open(job.path) as raster:
        windows = raster.grid(TileSize.parse(record.tile), record.overlap)
        if len(windows) != job.windows:
            raise RasterError("it changed while it was being indexed", hint="Index it again.")
        stop = len(windows) if stop is None else stop
        for start in range(job.start, stop, CHUNK):
            chunk = _read(raster, windows[start : min(start + CHUNK, stop)], record, max_side)
            if start + CHUNK >= len(windows):
                chunk.complaints = raster.complaints()
            yield chunk


def _read(raster: Raster, windows: Sequence[Window], record: SourceRecord, max_side: int) -> Chunk:
    chunk = Chunk(record.path, len(windows))
    filled = [window for window in windows if not raster.empty(window)]
    chunk.readable = len(windows) - len(filled)
    if not filled:
        return chunk
    footprints = raster.footprints(filled)
    chunk.nowhere = int((~footprints.placed).sum())
    kept = []
    for row in np.flatnonzero(footprints.placed).tolist():
        try:
            pixels, valid = raster.read(filled[row], max_side=max_side)
        except RasterError as error:
            chunk.skipped.append(error.what)
            _stop_when_out_of_reach(record.path, len(chunk.skipped), error)
            continue
        chunk.readable += 1
        if valid > 0 and valid >= record.min_valid:
            kept.append(row)
            chunk.pixels.append(pixels)
    if kept:
        chunk.tiles = TileTable(
            lon=footprints.lon[kept],
            lat=footprints.lat[kept],
            bbox=footprints.bbox[kept],
            window=np.array([filled[row] for row in kept], np.int64),
            geometry=[footprints.geometry[row] for row in kept],
        )
        try:
            chunk.tiles.check()
        except ValueError as error:  # what the index would refuse is this source's failure alone
            raise RasterError(str(error), hint="Check its georeference with gdalinfo.") from error
    return chunk


def _stop_when_out_of_reach(path: str, failures: int, error: RasterError) -> None:
    """An unreadable window of a local file will not get better; a file or server that is gone may.

    Then the source breaks off here, and the next run goes on from this chunk.
    """
    if is_gone(path):
        raise RasterError("it vanished while it was being indexed", where=path) from error
    if failures >= _OUT_OF_REACH and not is_local(path):
        raise error
