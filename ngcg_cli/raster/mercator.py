"""Rasters on the map that the web has agreed on: Web Mercator, EPSG:3857, north up."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ngcg_cli.errors import RasterError
from ngcg_cli.raster.tiles import Window

if TYPE_CHECKING:
    from ngcg_cli.raster.footprint import Georeference
    from ngcg_cli.raster.outline import Floats
    from ngcg_cli.raster.source import Raster

# x and y of the map's edge, metres.
EDGE = math.pi * 6_378_137.0
MAX_LATITUDE = 85.0511287798
# Pixels of the map between points that are projected exactly; between them it is interpolated.
STEP = 16
# Pixels that may have to be decoded for one image. More happens only where a large raster without
# overviews is looked at from afar.
MAX_PIXELS = 64_000_000


def project(lon: float, lat: float) -> tuple[float, float]:
    """Degrees to x and y in metres; latitudes end at the map's edge."""
    lat = max(-MAX_LATITUDE, min(MAX_LATITUDE, lat))
    return EDGE * lon / 180, EDGE * math.asinh(math.tan(math.radians(lat))) / math.pi


def unproject(x: float, y: float) -> tuple[float, float]:
    """x and y in metres to degrees."""
    return x / EDGE * 180, math.degrees(math.atan(math.sinh(y / EDGE * math.pi)))


def around(box: tuple[float, float, float, float], margin: float) -> tuple[float, ...]:
    """A box in degrees (west > east across the antimeridian), wider by `margin` of its longer side.

    Returns:
        Left, bottom, right and top on the map, metres; a square. Beyond the antimeridian, right
        is more than the map's edge.
    """
    west, south, east, north = box
    left, bottom = project(west, south)
    right, top = project(east + 360 if east < west else east, north)
    half = max(right - left, top - bottom, 1e-3) * (0.5 + margin)
    x, y = (left + right) / 2, (bottom + top) / 2
    return x - half, y - half, x + half, y + half


def on_map(
    raster: Raster, place: Georeference, bounds: tuple[float, ...], width: int, height: int
) -> NDArray[np.uint8]:
    """What of a raster lies in a box of the map.

    Args:
        bounds: left, bottom, right, top in metres.
        width, height: pixels of the image.

    Returns:
        (height, width, 4), transparent where there is no data.

    Raises:
        RasterError: it is unreadable, or would have to be decoded nearly whole for that.
    """
    empty = np.zeros((height, width, 4), np.uint8)
    columns, rows = _grid(raster, place, bounds, width, height)
    window = _window(columns, rows, raster.width, raster.height)
    if window is None:
        return empty
    # Pixels of the raster to a pixel of the map.
    steps = [np.diff(columns, axis=1), np.diff(rows, axis=1)]
    steps_down = [np.diff(columns, axis=0), np.diff(rows, axis=0)]
    scale = min(float(np.nanmedian(np.hypot(*pair), axis=None)) for pair in (steps, steps_down))
    scale = max(1.0, scale / STEP)
    if window.width * window.height / min(scale, raster.coarsest) ** 2 > MAX_PIXELS:
        raise RasterError(
            "is too large to be looked at as a whole without overviews",
            where=raster.path,
            hint="Add them, e.g. gdaladdo FILE 4 16 64.",
        )
    side = max(1, math.ceil(max(window.width, window.height) / scale))
    pixels = raster.read_rgba(window, side)
    fine_columns, fine_rows = (_interpolated(grid, width, height) for grid in (columns, rows))
    with np.errstate(invalid="ignore"):
        x = np.floor((fine_columns - window.column) * (pixels.shape[1] / window.width))
        y = np.floor((fine_rows - window.row) * (pixels.shape[0] / window.height))
        seen = (x >= 0) & (x < pixels.shape[1]) & (y >= 0) & (y < pixels.shape[0])
    empty[seen] = pixels[y[seen].astype(np.int64), x[seen].astype(np.int64)]
    return empty


def _grid(
    raster: Raster, place: Georeference, bounds: tuple[float, ...], width: int, height: int
) -> tuple[Floats, Floats]:
    """The raster's pixel coordinates at every STEP-th pixel of the image, from its corner on."""
    left, bottom, right, top = bounds
    across = np.arange(0, width + STEP, STEP) * ((right - left) / width) + left
    down = top - np.arange(0, height + STEP, STEP) * ((top - bottom) / height)
    lon = across / EDGE * 180
    lat = np.degrees(np.arctan(np.sinh(down / EDGE * math.pi)))
    lons, lats = np.meshgrid(lon, lat)
    columns, rows = place.pixels(lons.ravel(), lats.ravel(), raster.width, raster.height)
    return columns.reshape(lons.shape), rows.reshape(lons.shape)


def _window(columns: Floats, rows: Floats, width: int, height: int) -> Window | None:
    """The part of the raster that the grid meets, a pixel wider; None where there is none."""
    if not np.isfinite(columns).any():
        return None
    left, top = (max(0, math.floor(np.nanmin(grid)) - 1) for grid in (columns, rows))
    right = min(width, math.ceil(np.nanmax(columns)) + 1)
    bottom = min(height, math.ceil(np.nanmax(rows)) + 1)
    return Window(left, top, right - left, bottom - top) if left < right and top < bottom else None


def _interpolated(grid: Floats, width: int, height: int) -> Floats:
    """A grid of every STEP-th pixel's corner, bilinearly at the middle of each pixel."""
    for axis, size in ((0, height), (1, width)):
        at = (np.arange(size) + 0.5) / STEP
        first = at.astype(np.int64)
        share = (at - first).reshape((-1, 1) if axis == 0 else (1, -1))
        before, after = np.take(grid, first, axis), np.take(grid, first + 1, axis)
        grid = before + share * (after - before)
    return grid
