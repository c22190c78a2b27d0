"""Windows of a raster to places on the Earth: centres, boxes and polygons in WGS 84."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS, Geod, Transformer
from pyproj.exceptions import ProjError

from ngcg_cli.errors import RasterError
from ngcg_cli.raster.tiles import Window

Floats = NDArray[np.float64]

# A footprint's straight edges stay this close to the true ones, or get twice as many vertices.
TOLERANCE_M = 0.4
MAX_SEGMENTS = 1024
# With that many vertices the edge of a hemisphere is followed to 50 m. Edges that are still missed
# by more than this lead nowhere: their coordinates lie far outside of what their CRS is made for.
LOST_M = 10_000.0
METRES_PER_DEGREE = 111_320.0
# Points transformed at once: bounds the memory for millions of windows.
BATCH_POINTS = 1_000_000
# Where along a segment its error is measured. Off the middle, where an S-shaped edge has none.
PROBE = 0.4
POLE = 90 - 1e-9


@dataclass(frozen=True)
class Footprints:
    """Where N windows lie, in degrees of WGS 84.

    A window of which a part lies off the Earth (the corners of a geostationary full disk) has no
    place: its centre and box are NaN, its geometry is an empty polygon, and `placed` is False.

    Attributes:
        lon: (N,) longitude of the centres, within [-180, 180].
        lat: (N,) latitude of the centres.
        bbox: (N, 4) west, south, east, north; west > east across the antimeridian (RFC 7946, 5.2).
        geometry: N outlines as WKB, counterclockwise, within [-180, 180]: Polygons, but a
            MultiPolygon cut at the antimeridian where a window crosses it (RFC 7946, 3.1.9).
    """

    lon: Floats
    lat: Floats
    bbox: Floats
    geometry: list[bytes]

    @property
    def placed(self) -> NDArray[np.bool_]:
        """(N,) whether a window has a place."""
        return np.isfinite(self.lon)


class Georeference:
    """A raster's pixel grid on the Earth.

    Args:
        crs: the raster's coordinate reference system as WKT; compound ones are used as they are.
        transform: pixel (column, row) to CRS coordinates; rotated and south-up ones are fine.
        where: the raster, for messages.

    Raises:
        RasterError: no coordinate on the Earth follows from `crs` and `transform`.
    """

    def __init__(self, crs: str, transform: Affine, where: str) -> None:
        self._transform = transform
        self._where = where
        if not np.isfinite(list(transform)).all() or transform.is_degenerate:
            raise RasterError(
                f"its pixels have no area on the map (transform {tuple(transform)[:6]})",
                where=where,
                hint="Set the transform, e.g. gdal_edit.py -a_ullr WEST NORTH EAST SOUTH FILE.",
            )
        try:
            parsed = CRS.from_wkt(crs)
            self._to_wgs84 = _earthly(parsed, where)
            self._geographic = bool(parsed.is_geographic)
        except ProjError as error:
            raise RasterError(
                f"its coordinate reference system leads to no place on the Earth ({error})",
                where=where,
                hint="Set the right one, e.g. gdal_edit.py -a_srs EPSG:32618 FILE.",
            ) from error

    def lonlat(self, columns: Floats, rows: Floats) -> tuple[Floats, Floats]:
        """Pixel coordinates to longitude within [-180, 180] and latitude; inf off the Earth.

        (0, 0) is the upper left corner of the first pixel.
        """
        a, b, c, d, e, f = tuple(self._transform)[:6]
        x, y = a * columns + b * rows + c, d * columns + e * rows + f
        lon, lat = self._to_wgs84.transform(x, y)
        lon, lat = np.asarray(lon, np.float64), np.asarray(lat, np.float64)
        outside = np.abs(lon) > 180
        lon = np.where(outside & np.isfinite(lon), _wrapped(lon), lon)
        # Grids with pixel centres on the poles reach half a pixel beyond them.
        return lon, np.where(np.isfinite(lat), np.clip(lat, -90, 90), lat)

    def gsd(self, width: int, height: int) -> tuple[float, float]:
        """Ground sample distance in metres along a row and a column, at the raster's centre.

        Measured on the ellipsoid, so Web Mercator's stretch and degrees do not matter. Where the
        centre is off the Earth, the point of a 17 x 17 lattice serves that is nearest to it.

        Raises:
            RasterError: no point of the lattice is on the Earth.
        """
        lattice = np.linspace(0, 1, 17) - 0.5
        columns, rows = (a.ravel() for a in np.meshgrid(lattice * width, lattice * height))
        order = np.argsort(np.hypot(columns, rows), kind="stable")
        columns, rows = columns[order] + width / 2, rows[order] + height / 2
        # The half pixels around each point: left, right, above, below.
        across = np.array([-0.5, 0.5, 0, 0])[:, None]
        lon, lat = self.lonlat(columns + across, rows + across[[2, 3, 0, 1]])
        with np.errstate(invalid="ignore"):
            found = np.isfinite(lon + lat).all(axis=0)
        if not found.any():
            raise RasterError(
                "no part of it lies on the Earth",
                where=self._where,
                hint="Check its transform and coordinate reference system with gdalinfo.",
            )
        at = int(np.argmax(found))
        lon, lat = lon[:, at], lat[:, at]
        _, _, metres = Geod(ellps="WGS84").inv(lon[::2], lat[::2], lon[1::2], lat[1::2])
        if not min(metres) > 0:
            raise RasterError(
                "its pixels have no size on the ground",
                where=self._where,
                hint="Check its transform and coordinate reference system with gdalinfo.",
            )
        return float(metres[0]), float(metres[1])

    def footprints(self, windows: Sequence[Window] | NDArray) -> Footprints:
        """Centres, boxes and outlines of `windows` ((N, 4) column, row, width, height).

        An outline has as many vertices as it needs to follow the true edge to a metre: the four
        corners of a small window, more where the map projection bends a large one.
        """
        pixels = np.asarray(windows, np.float64).reshape(-1, 4)
        count = len(pixels)
        lon, lat = self.lonlat(pixels[:, 0] + pixels[:, 2] / 2, pixels[:, 1] + pixels[:, 3] / 2)
        bbox = np.full((count, 4), np.nan)
        outlines = np.full(count, shapely.Polygon(), object)
        for members, ring_lon, ring_lat in self._rings(pixels):
            # In degrees even the pole is an edge with a course of its own.
            poles = not self._geographic
            bbox[members], outlines[members] = _outlines(ring_lon, ring_lat, poles)
        with np.errstate(invalid="ignore"):
            lost = ~np.isfinite(bbox.sum(axis=1) + lon + lat)
        lon, lat = np.where(lost, np.nan, lon), np.where(lost, np.nan, lat)
        bbox[lost] = np.nan
        outlines[lost] = shapely.Polygon()
        return Footprints(lon, lat, bbox, shapely.to_wkb(outlines).tolist())

    def _rings(self, pixels: Floats) -> Iterator[tuple[NDArray[np.intp], Floats, Floats]]:
        """Groups of windows with their outlines (n, vertices), each fine enough.

        Windows start with a segment an edge; those whose segments stray from the true edge start
        again with twice as many. Windows off the Earth, or with edges that lead nowhere, are left
        out.
        """
        todo, segments = np.arange(len(pixels)), self._first_segments(pixels)
        while todo.size:
            rough = []
            size = max(1, BATCH_POINTS // (8 * segments))
            for start in range(0, len(todo), size):
                members = todo[start : start + size]
                lon, lat = self._edge_points(pixels[members], segments)
                on_earth = np.isfinite(lon).all(axis=1) & np.isfinite(lat).all(axis=1)
                members, lon, lat = members[on_earth], lon[on_earth], lat[on_earth]
                error = _error_m(lon, lat)
                last = segments >= MAX_SEGMENTS
                fine = error <= (LOST_M if last else TOLERANCE_M)
                rough.append(members[:0] if last else members[~fine])
                yield members[fine], lon[fine, ::2], lat[fine, ::2]
            todo, segments = np.concatenate(rough), segments * 2

    def _first_segments(self, pixels: Floats) -> int:
        """One segment an edge; eight where an edge in degrees is so long that its way is unclear.

        From -180 to 180 is all the way round the Earth, or none.
        """
        a, b, _, d, e, _ = tuple(self._transform)[:6]
        reach = max(abs(a), abs(b), abs(d), abs(e)) * pixels[:, 2:].max(initial=0)
        return 8 if self._geographic and reach > 90 else 1

    def _edge_points(self, pixels: Floats, segments: int) -> tuple[Floats, Floats]:
        """Around each window from its first corner: vertices, each followed by a probe point."""
        starts = np.arange(segments) / segments
        along = np.stack([starts, starts + PROBE / segments], axis=1).ravel()
        zero, one = np.zeros_like(along), np.ones_like(along)
        u = np.concatenate([along, one, 1 - along, zero])
        v = np.concatenate([zero, along, one, 1 - along])
        left, top, width, height = (column[:, None] for column in pixels.T)
        return self.lonlat(left + u * width, top + v * height)


def _earthly(crs: CRS, where: str) -> Transformer:
    """The transformation to WGS 84, longitude first."""
    if crs.geodetic_crs is None or crs.ellipsoid is None:
        raise RasterError(
            f"its coordinate reference system '{crs.name}' is a local one, not tied to the Earth",
            where=where,
            hint="Set the right one, e.g. gdal_edit.py -a_srs EPSG:32618 FILE.",
        )
    # Every Earth ellipsoid in use is within 0.2 %; the next best known body, Venus, is 5 % off.
    if not 0.99 < crs.ellipsoid.semi_major_metre / 6_378_137 < 1.01:
        raise RasterError(
            f"its coordinate reference system '{crs.name}' is not of the Earth "
            f"(radius {crs.ellipsoid.semi_major_metre / 1000:,.0f} km)",
            where=where,
            hint="Only rasters of the Earth have a longitude and latitude in WGS 84.",
        )
    return Transformer.from_crs(crs, "EPSG:4326", always_xy=True)


def _wrapped(degrees: Floats) -> Floats:
    """Longitudes or their differences, brought into [-180, 180)."""
    with np.errstate(invalid="ignore"):
        return (degrees + 180) % 360 - 180


def _error_m(lon: Floats, lat: Floats) -> Floats:
    """How far straight segments stray from the true edge: the worst per ring, in metres.

    Args:
        lon: (n, 2 m) vertices and probe points in turn, around each ring.
        lat: the same.
    """
    start_lon, start_lat = lon[:, ::2], lat[:, ::2]
    end_lon, end_lat = np.roll(start_lon, -1, axis=1), np.roll(start_lat, -1, axis=1)
    # A pole has every longitude: there a segment ends on the meridian it came along.
    start_lon, end_lon = (
        np.where(np.abs(start_lat) > POLE, end_lon, start_lon),
        np.where(np.abs(end_lat) > POLE, start_lon, end_lon),
    )
    probe_lon, probe_lat = lon[:, 1::2], lat[:, 1::2]
    shrink = np.cos(np.radians(probe_lat))
    x, y = _wrapped(probe_lon - start_lon) * shrink, probe_lat - start_lat
    dx, dy = _wrapped(end_lon - start_lon) * shrink, end_lat - start_lat
    nearest = np.clip((x * dx + y * dy) / np.maximum(dx**2 + dy**2, 1e-300), 0, 1)
    away = np.hypot(x - nearest * dx, y - nearest * dy)
    return away.max(axis=1, initial=0.0) * METRES_PER_DEGREE


def _outlines(lon: Floats, lat: Floats, poles: bool) -> tuple[Floats, NDArray]:
    """Boxes (n, 4) and outlines (n,) of rings (n, vertices) that are not closed yet.

    `poles` tells that the longitude of a vertex at a pole means nothing.
    """
    steps = _wrapped(np.roll(lon, -1, axis=1) - lon)
    continuous = lon[:, :1] + np.cumsum(steps, axis=1) - steps
    middle = (continuous.min(axis=1) + continuous.max(axis=1)) / 2
    continuous += (_wrapped(middle) - middle)[:, None]
    west, east = continuous.min(axis=1), continuous.max(axis=1)
    bbox = np.stack([west, lat.min(axis=1), east, lat.max(axis=1)], axis=1)

    eps = 1e-9
    at_pole = (np.abs(lat) > POLE).any(axis=1) & poles
    round_pole = np.abs(steps.sum(axis=1)) > 180
    crossing = (west < -180 - eps) | (east > 180 + eps)
    special = at_pole | round_pole | crossing

    clipped = np.clip(continuous, -180, 180)
    bbox[~special] = np.clip(bbox[~special], [-180, -90, -180, -90], [180, 90, 180, 90])
    outlines = np.empty(len(lon), object)
    if not special.all():
        ring = np.stack([clipped, lat], axis=-1)[~special]
        # Counterclockwise from above, whichever way the transform turns.
        x, y = ring[..., 0], ring[..., 1]
        area = (x * np.roll(y, -1, axis=1) - np.roll(x, -1, axis=1) * y).sum(axis=1)
        ring[area < 0] = ring[area < 0, ::-1]
        outlines[~special] = shapely.polygons(np.concatenate([ring, ring[:, :1]], axis=1))
    for at in np.flatnonzero(special):
        bbox[at], outlines[at] = _special_outline(lon[at], lat[at], poles)
    broken = ~shapely.is_valid(outlines)
    outlines[broken] = [_repaired(outline) for outline in outlines[broken]]
    return bbox, outlines


def _special_outline(lon: Floats, lat: Floats, poles: bool) -> tuple[Floats, shapely.Geometry]:
    """Box and outline of one ring that meets a pole or crosses the antimeridian."""
    pole = (np.abs(lat) > POLE) & poles
    if pole.any():
        # A vertex at a pole becomes two, on the meridians of its neighbours.
        before, after = np.roll(lon, 1), np.roll(lon, -1)
        repeat = np.where(pole, 2, 1)
        last = np.cumsum(repeat) - 1
        lon, lat = np.repeat(lon, repeat), np.repeat(lat, repeat)
        lon[last[pole] - 1], lon[last[pole]] = before[pole], after[pole]
    steps = _wrapped(np.roll(lon, -1) - lon)
    if pole.any():
        # The way along the pole closes the ring: half a turn there could go either way.
        along = last[np.flatnonzero(pole)[0]] - 1
        steps[along] -= steps.sum()
    x = lon[0] + np.concatenate([[0.0], np.cumsum(steps)])
    y = np.append(lat, lat[0])
    if abs(x[-1] - x[0]) > 180:
        # The ring goes round a pole: up to it and back along the meridian it began on.
        top = np.copysign(90.0, y[np.argmax(np.abs(y))])
        x = np.concatenate([x, [x[-1], x[0], x[0]]])
        y = np.concatenate([y, [top, top, y[0]]])
    middle = (x.min() + x.max()) / 2
    x = x + (_wrapped(middle) - middle)
    west, east, south, north = x.min(), x.max(), y.min(), y.max()
    whole = _repaired(shapely.Polygon(np.stack([x, y], axis=1)))
    pieces = [
        shapely.transform(
            shapely.intersection(whole, shapely.box(-180 + turn, -90, 180 + turn, 90)),
            lambda points, turn=turn: points - [turn, 0],
        )
        for turn in (-360, 0, 360)
    ]
    # Rounded to a tenth of a millimetre, so that pieces join that were turned by 360 degrees.
    outline = _repaired(shapely.union_all(pieces, grid_size=1e-9))
    if east - west >= 360 - 1e-9:
        west, east = -180.0, 180.0
    # At 180 exactly, -180 and 180 are one meridian: take the one on the window's own side.
    west = west + 360 if west < -180 else west
    east = east - 360 if east > 180 else east
    return np.array([west, south, east, north]), outline


def _repaired(outline: shapely.Geometry) -> shapely.Geometry:
    """The areas of `outline`, valid and counterclockwise."""
    parts = shapely.get_parts(shapely.make_valid(outline))
    areas = [
        shapely.geometry.polygon.orient(area)
        for part in parts
        for area in shapely.get_parts(part)
        if area.geom_type == "Polygon" and area.area > 0
    ]
    return areas[0] if len(areas) == 1 else shapely.MultiPolygon(areas)
