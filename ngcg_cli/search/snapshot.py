"""One committed state of an index, to read from."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from ngcg_cli.errors import TileIndexError
from ngcg_cli.search.extent import Mask, meets
from ngcg_cli.search.filters import Filters
from ngcg_cli.search.format import Manifest
from ngcg_cli.search.records import GraphRecord, SegmentRecord
from ngcg_cli.search.tiles import Ints, TileColumns, read_geometry
from ngcg_cli.search.vectors import BLOCK_ROWS, Vectors, read_vectors


class DamagedSegment(TileIndexError):
    """A segment whose files are there but not what was committed."""

    def __init__(self, name: str, error: TileIndexError) -> None:
        super().__init__(error.what, where=error.where, hint=error.hint)
        self.name = name
        path = Path(error.where or "")
        self.reason = f"{path.parent.name}/{path.name} {error.what}"


class Snapshot:
    """The tiles of one manifest, numbered 0..N-1 through its segments in order.

    Reads what is asked for when it is asked for, and keeps the tiles' numbers (80 bytes a tile).
    FileNotFoundError from any method means that a writer has since replaced a segment, and
    DamagedSegment that one cannot be read.

    Args:
        broken: segments that are left out because they are damaged, by name, with the reason.
    """

    def __init__(
        self, folder: Path, manifest: Manifest, broken: Mapping[str, str] | None = None
    ) -> None:
        self.folder = folder
        self.manifest = manifest
        self.dim = manifest.model.dim
        self.broken = dict(broken or {})
        sound = [
            (number, segment)
            for number, source in enumerate(manifest.sources)
            for segment in source.segments
            if segment.name not in self.broken
        ]
        self.segments = [segment for _, segment in sound]
        self.segment_source = np.array([number for number, _ in sound], np.int64)
        sizes = [segment.tiles for segment in self.segments]
        self._starts = np.cumsum([0, *sizes])
        self.count = int(self._starts[-1])
        self._columns: dict[int, TileColumns] = {}

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

    def allowed(self, filters: Filters) -> Mask | None:
        """Which tiles (N,) the filters allow; None for all. Reads the tables that may hold some."""
        if not filters:
            return None
        keep = np.zeros(self.count, bool)
        sources = np.array([filters.takes(source) for source in self.manifest.sources], bool)
        some = sources[self.segment_source]
        boxes = np.array([s.bbox or (-180, -90, 180, 90) for s in self.segments]).reshape(-1, 4)
        for places in filters.boxes():
            some &= np.any([meets(boxes, place) for place in places], axis=0)
        for number in np.flatnonzero(some).tolist():
            inside: Mask | bool = True
            if filters.spatial:
                columns = self._segment_columns(number)
                inside = filters.hold(columns.lon, columns.lat)
            keep[self._starts[number] : self._starts[number + 1]] = inside
        return keep

    def _segment_columns(self, number: int) -> TileColumns:
        if number not in self._columns:
            segment = self.segments[number]
            with _of(segment):
                self._columns[number] = TileColumns.read(self.folder, segment)
        return self._columns[number]

    def geometry(self, rows: Ints) -> list[bytes]:
        """The footprints (WKB) of some tiles, in the order asked."""
        found: dict[int, bytes] = {}
        segment_of = self.segment_of(rows)
        for number in np.unique(segment_of):
            mine = np.unique(rows[segment_of == number])
            segment = self.segments[number]
            with _of(segment):
                footprints = read_geometry(self.folder, segment, mine - self._starts[number])
            found.update(zip(mine.tolist(), footprints, strict=True))
        return [found[row] for row in rows.tolist()]

    def vectors(self, segment: SegmentRecord) -> Vectors:
        """The (tiles, dim) vectors of a segment; mapped from disk when more than a block."""
        with _of(segment):
            return read_vectors(self.folder, segment, self.dim)

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

    def take(self, rows: Ints) -> Vectors:
        """The vectors (len(rows), dim) of some tiles, in the order asked."""
        taken = np.empty((len(rows), self.dim), np.float32)
        segment_of = self.segment_of(rows)
        for number in np.unique(segment_of).tolist():
            mine = segment_of == number
            taken[mine] = self.vectors(self.segments[number])[rows[mine] - self._starts[number]]
        return taken

    def rows_of(self, record: GraphRecord) -> Ints:
        """(count,) the row of each label of a graph; -1 where its segment is gone."""
        start_of = {s.name: (self._starts[i], s.tiles) for i, s in enumerate(self.segments)}
        row_of = np.full(record.count, -1, np.int64)
        label = 0
        for name, tiles in record.segments:
            start, held = start_of.get(name, (0, -1))
            if held == tiles:
                row_of[label : label + tiles] = np.arange(start, start + tiles)
            label += tiles
        return row_of


@contextlib.contextmanager
def _of(segment: SegmentRecord) -> Iterator[None]:
    """Tells of which segment the damaged file is that is read inside."""
    try:
        yield
    except TileIndexError as error:
        raise DamagedSegment(segment.name, error) from error


def _joined(blocks: list[tuple[Ints, Vectors]]) -> tuple[Ints, Vectors]:
    if len(blocks) == 1:
        return blocks[0]
    return np.concatenate([rows for rows, _ in blocks]), np.concatenate([v for _, v in blocks])
