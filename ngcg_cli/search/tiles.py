"""The tile table: GeoParquet written and read with pyarrow alone.

One row a tile, footprint as WKB in longitude and latitude (OGC:CRS84, GeoParquet's default), so
that geopandas, QGIS, DuckDB or plain Parquet readers open the folder of tables with no code of
ours. pyarrow is imported where it is used: opening an index does not need it.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from ngcg_cli.search.files import damaged

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_BBOX = ("west", "south", "east", "north")
_WINDOW = ("column", "row", "width", "height")
_POLYGON, _MULTIPOLYGON = 3, 6
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

    def check(self) -> None:
        """Raise ValueError where the columns do not fit together or are no places on the Earth."""
        count = len(self.lon)
        shapes = [np.shape(x) for x in (self.lon, self.lat, self.bbox, self.window)]
        if shapes != [(count,), (count,), (count, 4), (count, 4)] or len(self.geometry) != count:
            raise ValueError(f"a tile table of shapes {shapes}, {len(self.geometry)} geometries")
        # Written so that NaN fails too.
        lons = np.column_stack([self.lon, self.bbox[:, 0], self.bbox[:, 2]])
        lats = np.column_stack([self.lat, self.bbox[:, 1], self.bbox[:, 3]])
        if not ((np.abs(lons) <= 180).all() and (np.abs(lats) <= 90).all()):
            raise ValueError("a tile that lies outside -180..180, -90..90 degrees")
        if count and not (np.asarray(self.window)[:, 2:] > 0).all():
            raise ValueError("a tile without pixels")
        for wkb in self.geometry:
            _kind(wkb)


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
    kinds = {_kind(wkb) for wkb in tiles.geometry}
    names = {_POLYGON: "Polygon", _MULTIPOLYGON: "MultiPolygon"}
    geo = {
        "version": "1.1.0",
        "primary_column": "geometry",
        "columns": {
            "geometry": {
                "encoding": "WKB",
                "geometry_types": sorted(names[kind] for kind in kinds),
            }
        },
    }
    table = pa.table(columns).replace_schema_metadata({"geo": json.dumps(geo)})
    pq.write_table(table, file, row_group_size=_ROW_GROUP)


@dataclass(frozen=True)
class TileColumns:
    """The numbers of N tiles: (N,) lon, lat; (N, 4) bbox, window; as in `TileTable`."""

    lon: Floats
    lat: Floats
    bbox: Floats
    window: Ints

    @classmethod
    def read(cls, path: Path, rows: int) -> TileColumns:
        """Read a table's numbers.

        Raises:
            FileNotFoundError: the table is gone.
            TileIndexError: it is damaged, or has not `rows` rows.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            with pq.ParquetFile(path) as file:
                table = file.read(columns=["lon", "lat", *_BBOX, *_WINDOW], use_threads=False)
            # Not `to_numpy`, which imports pandas where it is there.
            numbers: dict[str, Any] = {
                name: np.from_dlpack(table.column(name).combine_chunks())
                for name in table.column_names
            }
            columns = cls(
                lon=numbers["lon"],
                lat=numbers["lat"],
                bbox=np.column_stack([numbers[name] for name in _BBOX]),
                window=np.column_stack([numbers[name] for name in _WINDOW]),
            )
        except FileNotFoundError:
            raise
        except (pa.ArrowException, OSError, KeyError) as error:
            raise damaged(path, error) from error
        if len(columns.lon) != rows:
            raise damaged(path, f"{len(columns.lon)} rows where {rows} are due")
        return columns


def read_geometry(path: Path, rows: Ints) -> list[bytes]:
    """Read the footprints (WKB) of some rows of a table, in the order asked.

    Raises:
        FileNotFoundError: the table is gone.
        TileIndexError: it is damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
            ends = np.cumsum(sizes)
            group = np.searchsorted(ends, rows, side="right")
            used = np.unique(group)
            column = file.read_row_groups(used, columns=["geometry"], use_threads=False)["geometry"]
        # Where each used row group begins in the file, and in what was read of it.
        begins = ends - sizes
        read_begins = np.zeros(len(sizes), np.int64)
        read_begins[used] = np.cumsum([0, *(sizes[i] for i in used)])[:-1]
        # One by one: `take` wants an Arrow array, and making one imports pandas where it is there.
        at = rows - begins[group] + read_begins[group]
        return [column[i].as_py() for i in at.tolist()]
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError, KeyError, IndexError) as error:
        raise damaged(path, error) from error


def exterior(wkb: bytes, lon: float) -> list[tuple[float, float]]:
    """The exterior ring of a footprint; `lon` is its centre.

    A footprint cut in two by the antimeridian comes back whole, its longitudes running past 180.
    """
    if _kind(wkb) == _POLYGON:
        order = "<" if wkb[0] else ">"
        (points,) = struct.unpack_from(f"{order}I", wkb, 9)
        xy = struct.unpack_from(f"{order}{2 * points}d", wkb, 13)
        return list(zip(xy[::2], xy[1::2], strict=True))
    import shapely

    pieces = shapely.get_parts(polygons([wkb], np.array([lon])))
    outline = max(pieces, key=shapely.area).exterior  # more than one only where a cut left a gap
    return [(x, y) for x, y in outline.coords]


def polygons(geometry: Sequence[bytes], lon: Floats) -> npt.NDArray[np.object_]:
    """Footprints as valid shapely areas, joined again where the antimeridian cut them.

    Pieces are turned by 360 degrees to the side of their centre `lon`, so longitudes may run past
    180.
    """
    import shapely

    shapes = shapely.from_wkb(list(geometry))
    for at in np.flatnonzero(shapely.get_type_id(shapes) == _MULTIPOLYGON):
        pieces = [
            shapely.transform(piece, lambda xy, move=move: xy - move)
            for piece in shapes[at].geoms
            for move in [np.array([360 * np.round((piece.centroid.x - lon[at]) / 360), 0])]
        ]
        shapes[at] = shapely.union_all(pieces)
    return shapely.make_valid(shapes)


def _kind(wkb: bytes) -> int:
    """Geometry type of a WKB footprint; ValueError unless it is a 2D area that is not empty."""
    kind = struct.unpack_from("<I" if wkb[0] else ">I", wkb, 1)[0] if len(wkb) > 13 else 0
    if kind not in (_POLYGON, _MULTIPOLYGON):
        raise ValueError("a footprint that is no 2D polygon")
    return int(kind)
