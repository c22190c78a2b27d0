"""The tile table: GeoParquet written and read with pyarrow alone.

One row a tile, footprint as WKB in longitude and latitude (OGC:CRS84, GeoParquet's default), so
that geopandas, QGIS, DuckDB or plain Parquet readers open the folder of tables with no code of
ours. pyarrow is imported where it is used: opening an index does not need it.
"""

from __future__ import annotations

import contextlib
import json
import mmap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ngcg_cli.search.files import damaged, open_inside
from ngcg_cli.search.footer import BYTES, DOUBLE, INT64, MAX_CHUNK, read_footer
from ngcg_cli.search.footprints import pieces
from ngcg_cli.search.records import SegmentRecord

if TYPE_CHECKING:
    import pyarrow.parquet as pq

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_POINT = ("lon", "lat")
_BBOX = ("west", "south", "east", "north")
_WINDOW = ("column", "row", "width", "height")
_COLUMNS = {
    **dict.fromkeys((*_POINT, *_BBOX), DOUBLE),
    **dict.fromkeys(_WINDOW, INT64),
    "geometry": BYTES,
}
# Small enough that the footprints of ten hits are read without those of a million tiles.
_ROW_GROUP = 4096


@dataclass(frozen=True)
class TileTable:
    """N tiles of one source, in row order.

    Attributes:
        lon, lat: (N,) centres, degrees, WGS 84.
        bbox: (N, 4) west, south, east, north; west > east across the antimeridian (RFC 7946).
        window: (N, 4) column, row, width, height in pixels of the source.
        geometry: N footprints as WKB polygons in longitude and latitude.
    """

    lon: Floats
    lat: Floats
    bbox: Floats
    window: Ints
    geometry: Sequence[bytes]

    def __len__(self) -> int:
        return len(self.lon)

    @classmethod
    def empty(cls) -> TileTable:
        """No tiles."""
        nothing = np.empty((0, 4))
        return cls(nothing[:, 0], nothing[:, 0], nothing, nothing.astype(np.int64), [])

    def check(self) -> None:
        """Raise ValueError where the columns do not fit together or are no places on the Earth."""
        count = len(self.lon)
        shapes = [np.shape(x) for x in (self.lon, self.lat, self.bbox, self.window)]
        if shapes != [(count,), (count,), (count, 4), (count, 4)] or len(self.geometry) != count:
            raise ValueError(f"a tile table of shapes {shapes}, {len(self.geometry)} geometries")
        if count:
            _check_numbers(self)
        for wkb in self.geometry:
            pieces(wkb)


def write_table(file: IO[bytes], source: str, tiles: TileTable) -> None:
    """Write one segment's tiles as GeoParquet 1.1."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    bbox = np.asarray(tiles.bbox, np.float64)
    window = np.asarray(tiles.window, np.int64)
    # Unix file names may hold bytes that are no UTF-8; Parquet text may not.
    text = source.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    columns: dict[str, Any] = {
        "source": pa.array([text] * len(tiles), pa.string()),
        **{name: pa.array(window[:, i]) for i, name in enumerate(_WINDOW)},
        "lon": pa.array(np.asarray(tiles.lon, np.float64)),
        "lat": pa.array(np.asarray(tiles.lat, np.float64)),
        **{name: pa.array(bbox[:, i]) for i, name in enumerate(_BBOX)},
        "geometry": pa.array(list(tiles.geometry), pa.binary()),
    }
    kinds = {"MultiPolygon" if len(pieces(wkb)) > 1 else "Polygon" for wkb in tiles.geometry}
    geo = {
        "version": "1.1.0",
        "primary_column": "geometry",
        "columns": {
            "geometry": {
                "encoding": "WKB",
                "geometry_types": sorted(kinds),
            }
        },
    }
    table = pa.table(columns).replace_schema_metadata({"geo": json.dumps(geo)})
    longest = max((len(wkb) for wkb in tiles.geometry), default=1)
    rows = max(1, min(_ROW_GROUP, MAX_CHUNK // (2 * longest)))
    pq.write_table(table, file, row_group_size=rows, compression="snappy")


@dataclass(frozen=True)
class TileColumns:
    """The numbers of N tiles: (N,) lon, lat; (N, 4) bbox, window; as in `TileTable`."""

    lon: Floats
    lat: Floats
    bbox: Floats
    window: Ints

    @classmethod
    def read(cls, folder: Path, segment: SegmentRecord) -> TileColumns:
        """Read a segment's numbers.

        Raises:
            FileNotFoundError: the table is gone.
            TileIndexError: it is not what was committed.
        """
        with _opened(folder, segment) as (table, _):
            columns = table.read(columns=[*_POINT, *_BBOX, *_WINDOW], use_threads=False)
            # Not `to_numpy`, which imports pandas where it is there.
            numbers: dict[str, Any] = {
                name: np.from_dlpack(columns.column(name).combine_chunks())
                for name in columns.column_names
            }
            read = cls(
                lon=numbers["lon"],
                lat=numbers["lat"],
                bbox=np.column_stack([numbers[name] for name in _BBOX]),
                window=np.column_stack([numbers[name] for name in _WINDOW]),
            )
            if len(read.lon) != segment.tiles:
                raise ValueError(f"{len(read.lon)} rows where {segment.tiles} are due")
            _check_numbers(read)
            return read


def read_geometry(folder: Path, segment: SegmentRecord, rows: Ints) -> list[bytes]:
    """Read the footprints (WKB) of some rows of a segment, in the order asked.

    Raises:
        FileNotFoundError: the table is gone.
        TileIndexError: it is not what was committed.
    """
    with _opened(folder, segment) as (table, sizes):
        ends = np.cumsum(sizes)
        group = np.searchsorted(ends, rows, side="right")
        used = np.unique(group)
        column = table.read_row_groups(used, columns=["geometry"], use_threads=False)["geometry"]
        # Where each used row group begins in the file, and in what was read of it.
        begins = ends - sizes
        read_begins = np.zeros(len(sizes), np.int64)
        read_begins[used] = np.cumsum([0, *(sizes[i] for i in used)])[:-1]
        # One by one: `take` wants an Arrow array, and making one imports pandas where it is there.
        at = rows - begins[group] + read_begins[group]
        found = [column[i].as_py() for i in at.tolist()]
        for wkb in found:
            pieces(wkb)
        return found


@contextlib.contextmanager
def _opened(folder: Path, segment: SegmentRecord) -> Iterator[tuple[pq.ParquetFile, list[int]]]:
    """A segment's table with the rows of its row groups; its footer was looked at before.

    Whatever is thrown while it is read is the fault of the file, and told so.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    name = segment.table_path
    with open_inside(folder, name, segment.table.bytes) as file:
        try:
            groups = read_footer(file, segment.tiles, _COLUMNS)
            # Mapped: what is a Python file Arrow reads in a thread of its own, and a process that
            # ends meanwhile is aborted. As a dictionary, one footprint that stands in all rows is
            # held in memory once.
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            table = pq.ParquetFile(
                pa.BufferReader(mapped),
                read_dictionary=["geometry"],
                arrow_extensions_enabled=False,
            )
            yield table, groups
        except FileNotFoundError:
            raise
        # Arrow throws its own, and KeyError, IndexError, OverflowError, UnicodeDecodeError, ...
        except Exception as error:
            raise damaged(folder / name, error) from error


def _check_numbers(tiles: TileTable | TileColumns) -> None:
    """Raise ValueError where tiles are no places on the Earth, or no windows."""
    # Written so that NaN fails too.
    lons = np.column_stack([tiles.lon, tiles.bbox[:, 0], tiles.bbox[:, 2]])
    lats = np.column_stack([tiles.lat, tiles.bbox[:, 1], tiles.bbox[:, 3]])
    if not ((np.abs(lons) <= 180).all() and (np.abs(lats) <= 90).all()):
        raise ValueError("a tile that lies outside -180..180, -90..90 degrees")
    window = np.asarray(tiles.window)
    if not (window[:, 2:] > 0).all():
        raise ValueError("a tile without pixels")
    # So that the products of sizes stay numbers.
    if not (np.abs(window) < 1 << 31).all():
        raise ValueError("a tile outside of any raster")
