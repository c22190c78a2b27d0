"""What an index is made of, as frozen records; `format` writes and reads them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime

from ngcg_cli.search.files import FileRecord

# What is larger than these is taken for an attack, not for an index: a segment's numbers are read
# at once, 80 bytes a tile.
MAX_SEGMENT = 1 << 22
MAX_DIM = 1 << 16

_NAME = re.compile(r"[0-9]{6,15}")  # also keeps a hostile manifest from pointing out of the folder


@dataclass(frozen=True)
class ModelStamp:
    """The model that made an index's vectors.

    Attributes:
        name: what the user calls it.
        fingerprint: hash of its config, weights and prompts: equal means the same vectors.
        dim: width of its vectors.
        precision: what they were computed in; float32 in an index of format 2 or before, which did
            not say.
        revision: the hub's commit that the model came from; None where it came from elsewhere.
    """

    name: str
    fingerprint: str
    dim: int
    precision: str = "float32"
    revision: str | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.dim <= MAX_DIM:
            raise ValueError(f"a model of {self.dim} dimensions")
        if not re.fullmatch(r"[a-z0-9]{1,16}", self.precision):
            raise ValueError(f"a model with the precision {self.precision!r}")
        if self.revision is not None and not re.fullmatch(r"[0-9a-f]{40}", self.revision):
            raise ValueError(f"a model with the revision {self.revision[:60]!r}")

    def told(self) -> dict[str, str | int]:
        """Its fields as an index writes them: versions before know no revision."""
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass(frozen=True)
class SegmentRecord:
    """A block of tiles: row i of the vector file is row i of the tile table.

    Attributes:
        bbox: west, south, east, north of what holds the tiles and their centres; None in an index
            of format 1.
    """

    name: str
    tiles: int
    table: FileRecord
    vectors: FileRecord
    bbox: tuple[float, float, float, float] | None = None

    def __post_init__(self) -> None:
        _check_name(self.name)
        if not 1 <= self.tiles <= MAX_SEGMENT:
            raise ValueError(f"segment {self.name} of {self.tiles} tiles")
        # Not `max`, which passes over NaN.
        if self.bbox is not None and not (
            len(self.bbox) == 4 and all(abs(edge) <= 180 for edge in self.bbox)
        ):
            raise ValueError(f"segment {self.name} with the box {self.bbox}")

    @property
    def table_path(self) -> str:
        """Where its GeoParquet table lies, from the index folder."""
        return f"tiles/{self.name}.parquet"

    @property
    def vectors_path(self) -> str:
        """Where its vectors lie, from the index folder."""
        return f"vectors/{self.name}.npy"

    def files(self) -> dict[str, FileRecord]:
        """Its files, by path from the index folder."""
        return {self.table_path: self.table, self.vectors_path: self.vectors}


@dataclass(frozen=True)
class SourceRecord:
    """A raster in the index, and how it was cut into tiles.

    Attributes:
        path: path or URL, as the user gave it; the key of the source.
        size: bytes, None where unknown (remote).
        mtime_ns: time of last change, with what is known of its side files mixed in: good for
            comparing only. None where unknown.
        tile: tile size with its unit ("224px", "100m"), or "auto".
        overlap: fraction of a tile shared with the next.
        min_valid: least share of valid pixels for a tile to be taken.
        tiles: tiles in the index; `TileIndex.commit` fills it in.
        complete: False while a source is committed block by block and not all are in.
        segments: where its tiles lie; `TileIndex.commit` fills it in.
        content: hex SHA-256 of the file's bytes, None where it has none of its own (remote, VRT).
        done: windows of the grid, in its order, that have been looked at and committed.
        windows: size of the grid; 0 in an index of format 1.
        skipped: of those done, the windows that could not be read.
        acquired: when the picture was taken, ISO 8601, if that is known: a moment, or an interval
            as START/END.
        gsd: metres of ground to a pixel's side at its centre; None where an older ngcg indexed it.
        item: id of the STAC item that names it.
        catalog: the STAC file, as the user gave it, in which that item was found.
        revision: of a remote asset, what its item tells of its state: good for comparing only.
    """

    path: str
    size: int | None
    mtime_ns: int | None
    tile: str
    overlap: float
    min_valid: float
    tiles: int = 0
    complete: bool = True
    segments: tuple[SegmentRecord, ...] = ()
    content: str | None = None
    done: int = 0
    windows: int = 0
    skipped: int = 0
    acquired: str | None = None
    gsd: float | None = None
    item: str | None = None
    catalog: str | None = None
    revision: str | None = None

    def __post_init__(self) -> None:
        if self.acquired is not None:
            span(self.acquired)
        if self.gsd is not None and not 0 < self.gsd < math.inf:
            raise ValueError(f"a source of {self.gsd} metres a pixel")


@dataclass(frozen=True)
class GraphRecord:
    """The HNSW graph: labels 0..count-1 run through `segments` in order.

    The graph file tells neither its dimension nor its space, so they are kept here, and the
    checksum ties them to that very file. Segments that have left the index since may be listed:
    their labels are ignored.

    Attributes:
        segments: (name, tiles) of each segment in the graph, in label order.
        ef: breadth of its search that was measured to find enough of `graph.DEPTH` ranks; None
            where no such breadth costs less than exact search: then it is not searched.
    """

    name: str
    dim: int
    count: int
    segments: tuple[tuple[str, int], ...]
    file: FileRecord
    ef: int | None = None

    def __post_init__(self) -> None:
        _check_name(self.name)
        if self.ef is not None and not 1 <= self.ef < 1 << 20:
            raise ValueError(f"a graph with the ef {self.ef}")
        if not 1 <= self.dim <= MAX_DIM or 4 * self.dim * self.count > self.file.bytes:
            raise ValueError("a graph of more vectors than its bytes hold")
        if self.count != sum(tiles for _, tiles in self.segments):
            raise ValueError("the graph's count is not that of its segments")

    @property
    def path(self) -> str:
        """Where it lies, from the index folder."""
        return f"graph/{self.name}.hnsw"


def file_name(number: int) -> str:
    """The name of the file of that number, without its ending."""
    return f"{number:06d}"


def instant(text: str) -> datetime:
    """A moment from an ISO 8601 date or time, or a year, or a year and month; UTC if it says none.

    Raises:
        ValueError: it is none.
    """
    if re.fullmatch(r"[0-9]{4}(-[0-9]{2})?", text):
        text = f"{text}-01-01"[:10]
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def span(text: str) -> tuple[datetime, datetime]:
    """First and last moment of START/END; of a moment alone (see `instant`), it twice.

    Raises:
        ValueError: it is neither, or ends before it starts.
    """
    start, slash, end = text.partition("/")
    first = instant(start)
    last = instant(end) if slash else first
    if last < first:
        raise ValueError(f"an interval that ends before it starts, {text[:100]!r}")
    return first, last


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name of a file of an index")
