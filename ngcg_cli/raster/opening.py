"""From a name to an open GDAL dataset with a place on the Earth, or one reason why not."""

from __future__ import annotations

import math
import os
from contextlib import ExitStack
from typing import Any

import numpy as np
import rasterio
import shapely
from affine import Affine
from rasterio._path import _parse_path
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.enums import Interleaving, MaskFlags
from rasterio.env import ensure_env_with_credentials
from rasterio.errors import CRSError
from rasterio.io import DatasetReader
from rasterio.vrt import WarpedVRT

from ngcg_cli.errors import RasterError
from ngcg_cli.raster import drivers, signed, vrt
from ngcg_cli.raster.files import refuse_traps
from ngcg_cli.raster.find import refuse_special
from ngcg_cli.raster.footprint import Georeference
from ngcg_cli.raster.outline import Floats

# A block is decoded whole, and a header may claim that the raster is one block.
MAX_BLOCK_BYTES = 512 * 2**20
MAX_PRJ_BYTES = 2**16


def open_dataset(path: str, resources: ExitStack) -> tuple[Any, Georeference]:
    """The dataset, and where its pixels lie.

    Args:
        path: anything that an allowed driver opens (`raster.drivers`).
        resources: takes what has to be closed.

    Raises:
        RasterError: it has no bands, or no place on the Earth. GDAL's own errors come as they are.
    """
    refuse_special(path)
    _refuse_undecodable(path)
    limited = drivers.limit()
    trusted = drivers.trusts_vrt()
    looked_at = vrt.is_vrt(path)
    if not trusted:
        refuse_traps(path, vrt.plain_parts(path) if looked_at else ())
    address = signed.address_of(path)
    if trusted or looked_at or os.path.isfile(path):
        dataset = resources.enter_context(rasterio.open(address))
    else:
        dataset = resources.enter_context(ensure_env_with_credentials(_open_but_vrt)(address))
    _refuse_trapped_overviews(path, dataset)
    if dataset.driver not in drivers.allowed():  # only where they could not be limited
        raise RasterError(
            f"its driver, {dataset.driver}, is not allowed",
            where=path,
            hint=f"If you trust it, give --driver {dataset.driver}.",
        )
    if dataset.driver == "VRT" and not trusted and not limited:
        raise RasterError(
            "is a VRT, and GDAL's drivers cannot be limited here",
            where=path,
            hint="If you trust it, give --driver VRT.",
        )
    if dataset.count == 0 or not dataset.width or not dataset.height:
        raise _without_bands(path, dataset)
    _refuse_huge_blocks(path, dataset)
    if _needs_warp(dataset):
        dataset = resources.enter_context(_warped(path, dataset))
    return dataset, _georeference(path, dataset)


def _open_but_vrt(path: str) -> Any:
    """What lies on a server or in an archive, where a VRT cannot be looked at before it is opened.

    `rasterio.open`, whose documentation allows a list of drivers, refuses one.
    """
    only = sorted(drivers.allowed() - {drivers.TRUSTED_VRT})
    return DatasetReader(_parse_path(path), driver=only)


def _refuse_trapped_overviews(path: str, dataset: Any) -> None:
    """Metadata may name the file of the overviews, which GDAL opens when they are asked for."""
    named = dataset.tags(ns="OVERVIEWS").get("OVERVIEW_FILE", "").removeprefix(":::BASE:::")
    if not vrt.is_plain(os.path.join(os.path.dirname(path), named), folders=True):
        raise RasterError(
            f"is not read: it names {named[:200]!r} for its overviews, which is no plain file",
            where=path,
            hint="Make them anew: gdaladdo -clean FILE, then gdaladdo FILE.",
        )


def coarsest_overview(dataset: Any) -> int:
    """How many pixels a side become one in the coarsest overview; 1 without any.

    Raises:
        RasterError: an overview that is named is not there, or is empty.
    """
    try:
        return max(dataset.overviews(1), default=1)
    except ZeroDivisionError:
        raise RasterError(
            "an overview that it names cannot be opened",
            where=signed.unsigned(dataset.name),
            hint="Make them anew: gdaladdo -clean FILE, then gdaladdo FILE.",
        ) from None


def _refuse_undecodable(path: str) -> None:
    """GDAL is given names in UTF-8; one that holds other bytes cannot be told to it."""
    try:
        path.encode()
    except UnicodeEncodeError:
        raise RasterError(
            "its name is not UTF-8, which GDAL cannot open",
            where=path.encode(errors="surrogateescape").decode(errors="backslashreplace"),
            hint="Rename it, e.g. convmv -f latin1 -t utf8 --notest FILE.",
        ) from None


def _refuse_huge_blocks(path: str, dataset: Any) -> None:
    """Refuses what would take more memory to decode a single pixel than is bearable."""
    bands_together = dataset.count if dataset.interleaving == Interleaving.pixel else 1
    for (height, width), dtype in zip(dataset.block_shapes, dataset.dtypes, strict=True):
        size = height * width * bands_together * _bytes_of(dtype)
        if size > MAX_BLOCK_BYTES:
            raise RasterError(
                f"its blocks of {width} x {height} pixels take {size / 2**20:,.0f} MiB each, more "
                f"than {MAX_BLOCK_BYTES // 2**20}",
                where=path,
                hint="Cut it into tiles: gdal_translate -co TILED=YES FILE OUT.tif.",
            )


def _bytes_of(dtype: str) -> int:
    return 4 if dtype == "complex_int16" else np.dtype(dtype).itemsize


def _needs_warp(dataset: Any) -> bool:
    return dataset.transform.is_identity and bool(dataset.gcps[0] or dataset.rpcs)


def _warped(path: str, dataset: Any) -> WarpedVRT:
    """A raster with control points or RPCs, brought onto a regular grid.

    That of the points' CRS, if it is in metres. In degrees, far from the equator, several rows of
    the raster would become one: a map of equal area around its middle takes their place, but not
    across the antimeridian, where GDAL would find half of the points only, nor of more than half
    the Earth, which has an end. For RPCs the ground is taken to lie at the height that they are
    centred on: there is no terrain model here.
    """
    points, crs = dataset.gcps
    method: dict[str, Any] = {"SRC_METHOD": "GCP_POLYNOMIAL"}
    if not points:
        crs = CRS.from_epsg(4326)
        method = {"SRC_METHOD": "RPC", "RPC_HEIGHT": dataset.rpcs.height_off}
    if crs is None:
        raise RasterError(
            "its ground control points have no coordinate reference system",
            where=path,
            hint="Set it, e.g. gdal_edit.py -a_srs EPSG:4326 FILE.",
        )
    if points:
        method["GCP_ANTIMERIDIAN_UNWRAP"] = "YES" if _wraps(path, points, crs) else "NO"
    flags: set[MaskFlags] = set().union(*dataset.mask_flag_enums)
    # Turned onto the grid it has empty corners, which need a mask; a mask of its own is turned
    # into that. Unless the method is named, GDAL prefers an identity transform that a VRT spells
    # out to the points.
    how = {
        "src_crs": crs,
        "add_alpha": not flags & {MaskFlags.alpha, MaskFlags.nodata},
        **method,
    }
    if not crs.is_geographic:
        return WarpedVRT(dataset, crs=crs, **how)
    degrees = WarpedVRT(dataset, crs=crs, **how)
    lon, lat = _georeference(path, degrees).at(degrees.width / 2, degrees.height / 2)
    left, _, right, _ = degrees.bounds
    half = math.pi / crs.units_factor[1]
    if not -half <= left <= right <= half or right - left > half:
        return degrees
    degrees.close()
    around = CRS.from_proj4(f"+proj=laea +lon_0={lon:.4f} +lat_0={lat:.4f} +datum=WGS84")
    return WarpedVRT(dataset, crs=around, **how)


def _wraps(path: str, points: list[GroundControlPoint], crs: CRS) -> bool:
    """Whether the longitudes of control points have to run on past 180 degrees.

    Raises:
        RasterError: something else parts them, and no polynomial of their coordinates fits.
    """
    place = Georeference(crs.to_wkt(version="WKT2_2019"), Affine.identity(), path)
    known = {(point.col, point.row): (point.x, point.y) for point in points}
    known = {at: there for at, there in known.items() if np.isfinite([*at, *there]).all()}
    try:
        mesh = shapely.delaunay_triangles(shapely.MultiPoint(list(known)), only_edges=True)
    except shapely.errors.GEOSException as error:
        raise RasterError(
            f"its ground control points cannot be joined to a mesh ({error})",
            where=path,
            hint="Look at their columns and rows with gdalinfo.",
        ) from error
    ends = [known[x, y] for x, y in shapely.get_coordinates(shapely.get_parts(mesh)).tolist()]
    x, y = np.reshape(ends, (-1, 2, 2)).T
    if not _parted(place, x, y):
        return False
    degrees = math.isclose(crs.units_factor[1], math.radians(1), rel_tol=1e-9)
    if degrees and not _parted(place, x % 360, y):
        return True
    raise RasterError(
        "its ground control points lie round a pole, or across an edge of the map that they are on",
        where=path,
        hint="Give them in a CRS without an edge there, e.g. EPSG:3413 or EPSG:3031 near a pole, "
        "UTM elsewhere: gdal_edit.py -a_srs CRS -gcp COLUMN ROW EASTING NORTHING FILE.",
    )


def _parted(place: Georeference, x: Floats, y: Floats) -> bool:
    """Whether an edge of a map lies between two of its points that are neighbours on the ground.

    Half way between them on the map, one is farther away than the ball around both on the ground.

    Args:
        x, y: (2, n) coordinates of n pairs.
    """
    lon, lat = place.lonlat(np.vstack([x, x.mean(axis=0)]), np.vstack([y, y.mean(axis=0)]))
    with np.errstate(invalid="ignore"):
        lon, lat = np.radians(lon), np.radians(lat)
        first, second, middle = np.stack(
            [np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1
        )
        # By Thales, from outside of the ball both are seen at an acute angle. Metres are nothing.
        return bool((((middle - first) * (middle - second)).sum(axis=-1) > 1e-12).any())


def _georeference(path: str, dataset: Any) -> Georeference:
    if dataset.transform.is_identity:
        raise RasterError(
            "it has no georeference: nothing says where its pixels lie",
            where=path,
            hint="Give it one, e.g. gdal_edit.py -a_srs EPSG:32618 -a_ullr WEST NORTH EAST SOUTH "
            "FILE, or put its world file beside it.",
        )
    crs = crs_of(path, dataset)
    if crs is None:
        raise RasterError(
            "it has a transform but no coordinate reference system",
            where=path,
            hint="Set the one that its coordinates are in, e.g. gdal_edit.py -a_srs EPSG:32618 "
            "FILE, or put its .prj file beside it.",
        )
    return Georeference(crs.to_wkt(version="WKT2_2019"), dataset.transform, path)


def crs_of(path: str, dataset: Any) -> CRS | None:
    """A raster's own CRS, else that of a `.prj` file beside it; None where there is neither.

    Such a file goes with a world file; GDAL reads few of them.

    Raises:
        RasterError: there is such a file, and it holds no CRS.
    """
    if dataset.crs is not None:
        return dataset.crs
    stem, _ = os.path.splitext(path)
    for name in (f"{stem}.prj", f"{stem}.PRJ"):
        if os.path.isfile(name):
            with open(name, "rb") as file:
                text = file.read(MAX_PRJ_BYTES).decode("utf-8-sig", "replace")
            try:
                return CRS.from_wkt(text, morph_from_esri_dialect=True)
            except CRSError as error:
                raise RasterError(
                    "holds no coordinate reference system as WKT",
                    where=name,
                    hint="Write the right one, e.g. gdalsrsinfo -o wkt_esri EPSG:32618 > FILE.",
                ) from error
    return None


def _without_bands(path: str, dataset: Any) -> RasterError:
    parts = list(dataset.subdatasets)
    return RasterError(
        f"it holds {len(parts)} rasters" if parts else "it holds no raster band",
        where=path,
        hint=f"Name one of them, e.g. '{parts[0]}'." if parts else "Check it with gdalinfo.",
    )
