"""The tile table: GeoParquet written and read with pyarrow alone.

One row a tile, footprint as WKB in longitude and latitude (OGC:CRS84, GeoParquet's default), so
that geopandas, QGIS, DuckDB or plain Parquet readers open the folder of tables with no code of
ours. pyarrow is imported where it is used: opening an index does not need it.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ngcg_cli.search.files import damaged, open_inside
from ngcg_cli.search.footprints import pieces
from ngcg_cli.search.records import SegmentRecord

if TYPE_CHECKING:
    import pyarrow.parquet as pq

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_POINT = ("lon", "lat")
_BBOX = ("west", "south", "east", "north")
_WINDOW = ("column", "row", "width", "height")
# Small enough that the footprints of ten hits are read without those of a million tiles.
_ROW_GROUP = 4096
# Bytes of one column in one row group, and of the footer: what claims more is not read.
_MAX_CHUNK = 1 << 25
_MAX_FOOTER = 1 << 24


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
    rows = max(1, min(_ROW_GROUP, _MAX_CHUNK // (2 * longest)))
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
        with _opened(folder, segment) as table:
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
    with _opened(folder, segment) as table:
        sizes = [table.metadata.row_group(i).num_rows for i in range(table.num_row_groups)]
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
def _opened(folder: Path, segment: SegmentRecord) -> Iterator[pq.ParquetFile]:
    """A segment's table, of which the footer says that it is no larger than was committed.

    Whatever is thrown while it is read is the fault of the file, and told so.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    name = segment.table_path
    with open_inside(folder, name, segment.table.bytes) as file:
        try:
            file.seek(-8, os.SEEK_END)
            if int.from_bytes(file.read(4), "little") > _MAX_FOOTER:
                raise ValueError("a footer that is too large")
            # As a dictionary, one footprint that stands in all rows is held in memory once.
            table = pq.ParquetFile(
                file, read_dictionary=["geometry"], arrow_extensions_enabled=False
            )
            _check_footer(table, segment.tiles, pa)
            yield table
        except FileNotFoundError:
            raise
        # Arrow throws its own, and KeyError, IndexError, OverflowError, UnicodeDecodeError, ...
        except Exception as error:
            raise damaged(folder / name, error) from error


def _check_footer(table: pq.ParquetFile, rows: int, pa: Any) -> None:
    """See, before anything is decoded, that a table's columns are ours and their sizes honest.

    A small file may claim anything: 300 million equal rows, or footprints of 8 MB of zeros. Only
    the codec that we write is read, which makes of a byte no more than 22.
    """
    meta = table.metadata
    if meta.num_rows != rows:
        raise ValueError(f"{meta.num_rows} rows where {rows} are due")
    if meta.num_row_groups > rows:
        raise ValueError(f"{meta.num_row_groups} row groups for {rows} rows")
    kinds = {name: pa.float64() for name in (*_POINT, *_BBOX)}
    kinds |= {name: pa.int64() for name in _WINDOW}
    kinds["geometry"] = pa.dictionary(pa.int32(), pa.binary())
    schema = table.schema_arrow
    for name, kind in kinds.items():
        if schema.get_all_field_indices(name) == [] or schema.field(name).type != kind:
            raise ValueError(f"no column {name} of the due type")
    left = rows
    for number in range(meta.num_row_groups):
        group = meta.row_group(number)
        left -= group.num_rows
        if group.num_rows < 0 or left < 0:
            raise ValueError("row groups that are not as many rows as the table")
        for at in range(group.num_columns):
            chunk = group.column(at)
            if chunk.compression not in ("SNAPPY", "UNCOMPRESSED"):
                raise ValueError(f"compressed by {chunk.compression}")
            if not (
                0 <= chunk.total_compressed_size <= _MAX_CHUNK
                and 0 <= chunk.total_uncompressed_size <= _MAX_CHUNK
                and chunk.num_values == group.num_rows
            ):
                raise ValueError(f"a column chunk of {chunk.total_uncompressed_size:,} bytes")
    if left:
        raise ValueError("row groups that are not as many rows as the table")


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
