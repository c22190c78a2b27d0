"""Polygons of a vector file, in longitude and latitude: where a search looks."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ngcg_cli.errors import DataError, NgcgError

if TYPE_CHECKING:
    import shapely
    from pyproj import Transformer

logger = logging.getLogger(__name__)

GEOJSON = (".geojson", ".json")
# What GDAL reads by itself, from one file, without fetching or writing anything, and how such files
# begin. GML is not among them: it names schemas to fetch, and GDAL makes a file beside it.
VECTOR = {
    ".gpkg": rb"SQLite format 3\0",
    ".fgb": rb"fgb",
    ".shp": rb"\0\0\x27\x0a",
    ".kml": rb"(?s)(?>\xef\xbb\xbf|\s|<\?xml[^>]*>|<!--.*?-->)*+<(\w+:)?kml\b",
    ".parquet": rb"PAR1",
}
# GDAL goes by what is in a file, not by its name: this tells it to open something else.
_POINTS_ELSEWHERE = re.compile(rb"<OGR\w*DataSource", re.IGNORECASE)
_HEAD = 1 << 20
# Of the library that reads areas, which is not that of rasters.
_NO_WEB = {
    "CPL_VSIL_CURL_ALLOWED_FILENAME": "none",
    "GDAL_HTTP_PROXY": "http://0.0.0.0:1",
    "GDAL_HTTPS_PROXY": "http://0.0.0.0:1",
}
_MAX_BYTES = 256 << 20
# An edge of another CRS is followed in so many steps, or more.
_STEPS = 64
_WGS84 = ("EPSG:4326", "OGC:CRS84")


def read_areas(path: Path) -> tuple[shapely.Geometry, ...]:
    """The polygons of a file of any CRS; points and lines in it are passed over.

    Args:
        path: GeoJSON, GeoParquet, GeoPackage, FlatGeobuf, Shapefile or KML, of which all layers
            count. All but the first two need the extra `gis`.

    Raises:
        DataError: it is missing, of another format, damaged, or holds no polygon.
        NgcgError: the extra is not installed.
    """
    path = path.expanduser()
    suffix = path.suffix.lower()
    if not path.is_file():
        raise DataError("there is no such file", where=path, hint="Give --area a vector file.")
    if suffix not in (*GEOJSON, *VECTOR):
        raise DataError(
            f"{suffix or 'a name without a suffix'} is no format of areas that is read",
            where=path,
            hint=f"Give one of {', '.join((*GEOJSON, *VECTOR))}.",
        )
    if path.stat().st_size > _MAX_BYTES:
        raise DataError("holds more than 256 MiB", where=path, hint="Cut out what is needed.")
    if suffix in GEOJSON:
        shapes = _of_geojson(path)
    else:
        _refuse_other_content(path)
        shapes = _of_parquet(path) if suffix == ".parquet" else _of_layers(path)
    areas = [area for shape in shapes for area in _polygons(shape, path)]
    if not areas:
        raise DataError("holds no polygon", where=path, hint="Draw the area as polygons.")
    for area in areas:
        west, south, east, north = area.bounds
        # Written so that NaN fails too.
        if not (-540 <= west <= east <= 540 and -90 <= south <= north <= 90):
            swapped = -90 <= west <= east <= 90 and -180 <= south <= north <= 180
            raise DataError(
                f"a polygon from {west:g},{south:g} to {east:g},{north:g} is not in degrees",
                where=path,
                hint="Were latitude and longitude swapped? GeoJSON has longitude first (RFC 7946)."
                if swapped
                else "Say the file's CRS in it: GeoJSON is longitude and latitude (RFC 7946).",
            )
        edges = np.abs(np.diff(np.asarray(area.exterior.coords)[:, 0]))
        if ((edges > 180) & (edges < 360)).any():
            logger.warning(
                "%s: a polygon goes more than half way round the Earth; if it is to cross the "
                "antimeridian, cut it there, or let it run past 180 (RFC 7946, 3.1.9)",
                path,
            )
    return tuple(areas)


def _polygons(shape: shapely.Geometry | None, path: Path) -> list[shapely.Polygon]:
    """The valid polygons of a shape."""
    import shapely

    if not np.isfinite(shapely.get_coordinates(shape)).all():
        raise DataError("has a point that is not finite", where=path, hint="Draw the area anew.")
    return [
        area
        for part in shapely.get_parts(shapely.make_valid(shapely.force_2d(shape)))
        for area in shapely.get_parts(part)
        if area.geom_type == "Polygon" and not area.is_empty
    ]


def _of_geojson(path: Path) -> list[Any]:
    import shapely.geometry

    try:
        document = json.loads(path.read_bytes())
        shapes = [shapely.geometry.shape(one) for one in _geometries(document)]
        # Before RFC 7946 a file could name another CRS.
        crs = (document.get("crs") or {}).get("properties", {}).get("name")
    except (OSError, ValueError) as error:
        raise DataError(f"is no GeoJSON ({error})", where=path) from error
    except shapely.errors.ShapelyError as error:
        raise DataError(f"is damaged ({error})", where=path) from error
    except (TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        raise DataError("is no GeoJSON: it is not built like one", where=path) from error
    return _in_degrees(shapes, crs, path)


def _geometries(document: Any) -> list[Any]:
    features = {"FeatureCollection": document.get("features"), "Feature": [document]}
    found = features.get(document["type"], [{"geometry": document}])
    return [one["geometry"] for one in found if one["geometry"]]


def _of_layers(path: Path) -> list[Any]:
    try:
        import pyogrio.raw
    except ImportError as error:
        raise NgcgError(
            f"reading {path.suffix} needs pyogrio",
            where=path,
            hint="Install it: pip install 'ngcg[gis]', or give GeoJSON.",
        ) from error
    import shapely

    pyogrio.set_gdal_config_options(_NO_WEB)
    shapes: list[Any] = []
    try:
        # In KML a folder is a layer. One without shapes has no type of them.
        for layer in (name for name, kind in pyogrio.list_layers(path) if kind is not None):
            facts, _, geometry, _ = pyogrio.raw.read(path, layer=layer, columns=[])
            found = shapely.from_wkb([] if geometry is None else geometry)
            shapes += _in_degrees(list(found), facts.get("crs"), path)
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError) as error:
        raise DataError(f"cannot be read ({error})", where=path) from error
    except (ValueError, shapely.errors.ShapelyError) as error:
        raise DataError(f"is damaged ({error})", where=path) from error
    return shapes


def _of_parquet(path: Path) -> list[Any]:
    """The shapes of GeoParquet, which GDAL reads only where it was built with Arrow."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    import shapely

    try:
        file = pq.ParquetFile(path)
        told = json.loads((file.schema_arrow.metadata or {})[b"geo"])
        name = told["primary_column"]
        facts = told["columns"][name]
        groups = map(file.metadata.row_group, range(file.metadata.num_row_groups))
        columns = (group.column(at) for group in groups for at in range(group.num_columns))
        size = sum(
            column.total_uncompressed_size for column in columns if column.path_in_schema == name
        )
        if size > _MAX_BYTES:
            raise DataError("unpacks to over 256 MiB", where=path, hint="Cut out what is needed.")
        shapes = shapely.from_wkb(file.read(columns=[name])[name].to_pylist())
        # Without a CRS it is longitude and latitude by its standard, with null unknown.
        crs = facts.get("crs")
        return _in_degrees(list(shapes), crs and json.dumps(crs), path)
    except (
        *(pa.ArrowException, shapely.errors.ShapelyError, OSError, ValueError, TypeError),
        *(KeyError, AttributeError, RecursionError, MemoryError),
    ) as error:
        said = " ".join(str(error).split())[:200]
        raise DataError(f"is no sound GeoParquet ({said})", where=path) from error


def _refuse_other_content(path: Path) -> None:
    """Sees that a file is of the format that its name says, and those beside it are plain files."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if not re.match(VECTOR[path.suffix.lower()], head) or _POINTS_ELSEWHERE.search(head):
        raise DataError(f"cannot be read (it is no {path.suffix} inside)", where=path)
    for other in path.parent.iterdir():
        if other.stem == path.stem and other.exists() and not (other.is_file() or other.is_dir()):
            raise DataError("is a pipe or device beside an area", where=other, hint="Delete it.")


def _in_degrees(shapes: list[Any], crs: str | None, path: Path) -> list[Any]:
    """Shapes in longitude and latitude; of those in another CRS, the polygons."""
    if crs is None or crs in _WGS84:
        return shapes
    import shapely
    from pyproj import CRS, Transformer
    from pyproj.exceptions import ProjError

    from ngcg_cli.raster.footprint import in_radians

    try:
        known = CRS.from_user_input(crs)
        turn = Transformer.from_crs(known, "OGC:CRS84", always_xy=True)
    except ProjError as error:
        raise DataError(f"has a CRS that is not known ({error})", where=path) from error
    areas = [area for shape in shapes for area in _polygons(shape, path)]
    if in_radians(known):
        areas = [shapely.transform(area, np.degrees) for area in areas]
    return [_on_earth(area, turn, known.is_geographic, path) for area in areas]


def _on_earth(
    area: shapely.Polygon, turn: Transformer, degrees: bool, path: Path
) -> shapely.Geometry:
    """A polygon of another CRS in longitude and latitude, cut at the antimeridian.

    Its edges are straight in its own CRS: they are followed in steps.
    """
    import shapely

    from ngcg_cli.raster.outline import outlines_of

    west, south, east, north = area.bounds
    fine = shapely.segmentize(area, max(east - west, north - south) / _STEPS)
    rings = []
    for ring in (fine.exterior, *fine.interiors):
        lon, lat = turn.transform(*shapely.get_coordinates(ring)[:-1].T)
        if not np.isfinite(lon + lat).all():
            raise DataError(
                "has a point that lies nowhere on the Earth",
                where=path,
                hint="Check its CRS, and the order of its coordinates.",
            )
        rings.append(outlines_of(lon[None], lat[None], not degrees)[1][0])
    return shapely.difference(rings[0], shapely.union_all(rings[1:]))
