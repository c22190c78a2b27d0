"""Hits as GeoPackage, FlatGeobuf and GeoParquet 1.1: one Arrow table, footprints in WGS 84."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ngcg_cli.errors import NgcgError
from ngcg_cli.output.hits import CSV_FIELDS, hit_record
from ngcg_cli.search.footprints import geojson_geometry

if TYPE_CHECKING:
    from ngcg_cli.journeys.querying import Answer

# Fields of several numbers become a column each, as in CSV.
_PARTS = {
    "bbox": ("west", "south", "east", "north"),
    "window": ("column", "row", "width", "height"),
    "point": ("point_lon", "point_lat"),
}
_TEXTS = ("query", "source", "explanation")
_WHOLE = ("rank", *_PARTS["window"])
_FORBIDDEN = re.compile("[\0\ud800-\udfff]")
_DRIVERS = {".gpkg": "GPKG", ".fgb": "FlatGeobuf"}


def write_parquet(answers: Iterable[Answer], path: Path) -> None:
    """GeoParquet 1.1 with WKB footprints, in OGC:CRS84 (the standard's default)."""
    import pyarrow.parquet as pq

    table, kinds = _table(answers)
    geometry = {"encoding": "WKB", "geometry_types": kinds}
    geo = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": geometry}}
    pq.write_table(table.replace_schema_metadata({"geo": json.dumps(geo)}), path)


def write_layer(answers: Iterable[Answer], path: Path) -> None:
    """A layer `hits` of what the suffix says, .gpkg or .fgb, by GDAL's own writer."""
    import pyogrio

    table, kinds = _table(answers)
    try:
        pyogrio.write_arrow(
            table,
            path,
            layer="hits",
            driver=_DRIVERS[path.suffix.lower()],
            geometry_name="geometry",
            geometry_type=kinds[0] if len(kinds) == 1 else "Unknown",
            crs="EPSG:4326",
        )
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError) as error:
        raise NgcgError(f"cannot be written: {error}", where=path) from error


def _table(answers: Iterable[Answer]) -> tuple[Any, list[str]]:
    """The hits as an Arrow table, and the kinds of geometry in it."""
    import pyarrow as pa
    import shapely

    rows: list[dict[str, Any]] = []
    shapes = []
    for query, hits in answers:
        for hit in hits:
            rows.append(_flat(hit_record(query, hit)))
            shapes.append(shapely.geometry.shape(geojson_geometry(hit.footprint)))
    # A hit whose raster could not be looked at again has no point where the others have one.
    names = list(dict.fromkeys(name for row in rows for name in row)) or list(CSV_FIELDS)
    columns = {name: _column(name, [row.get(name) for row in rows]) for name in names}
    columns["geometry"] = pa.array(shapely.to_wkb(shapes).tolist(), pa.binary())
    field = pa.field("geometry", pa.binary(), metadata={"ARROW:extension:name": "geoarrow.wkb"})
    fields = [pa.field(name, column.type) for name, column in columns.items()]
    schema = pa.schema([*fields[:-1], field])
    return pa.table(list(columns.values()), schema), sorted({s.geom_type for s in shapes})


def _column(name: str, values: Sequence[Any]) -> Any:
    import pyarrow as pa

    if name in _TEXTS or any(isinstance(value, str) for value in values):
        return pa.array([None if v is None else _text(v) for v in values], pa.string())
    if any(isinstance(value, bool) for value in values):
        return pa.array(values, pa.bool_())
    whole = name in _WHOLE or (values and all(isinstance(value, int) for value in values))
    return pa.array(values, pa.int64() if whole else pa.float64())


def _text(value: Any) -> str:
    """Without what Arrow and SQLite cannot hold: bytes of file names that are no UTF-8, and NUL."""
    return _FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", str(value))


def _flat(record: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in record.items():
        parts = _PARTS.get(name)
        if parts is None:
            flat[name] = value
        else:
            flat.update(zip(parts, value or [None] * len(parts), strict=True))
    return flat
