"""Windows of a raster to places on the Earth: centres, boxes and polygons in WGS 84."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS, Geod, Transformer
from pyproj.enums import TransformDirection
from pyproj.exceptions import ProjError

from ngcg_cli.errors import RasterError
from ngcg_cli.raster.outline import POLE, Floats, outlines_of, wrapped
from ngcg_cli.raster.tiles import Window

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
# Units of a map, metres or feet, by whose degrees it is seen whether it goes round the Earth again.
PERIOD_STEP = 1e6
# Rays to the edge of a window that reaches off the Earth, and halvings of each: to a thousandth of
# a pixel of any window.
RAYS = 96
HALVINGS = 30
# Projections whose inverse answers with no place, or with the right one, wherever it is asked.
SELF_CHECKING = ("mercator", "cylindrical", "equirectangular", "plate", "conic", "stereographic")


@dataclass(frozen=True)
class Footprints:
    """Where N windows lie, in degrees of WGS 84.

    Of a window that reaches off the Earth (the rim of a full disk, of a world map in Mollweide's
    projection) the outline is that of the part on it. Where its centre lies off the Earth it has no
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
            operation = parsed.coordinate_operation
            method = operation.method_name.lower() if operation else ""
            self._checked = bool(method) and not any(word in method for word in SELF_CHECKING)
            if in_radians(parsed):
                self._transform = Affine.scale(math.degrees(1)) @ transform
                self._turn = 360.0
            elif self._geographic:
                self._turn = 2 * math.pi / parsed.axis_info[0].unit_conversion_factor
            else:
                self._turn = 0.0 if self._checked else self._period()
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
        if self._checked:
            # Past the rim of its world, a sinusoidal map goes on with places of the other side.
            again = np.stack(self._to_wgs84.transform(lon, lat, direction="INVERSE"))
            with np.errstate(invalid="ignore"):
                lost = ~(np.abs(again - [x, y]).max(axis=0) < LOST_M)
            lon, lat = np.where(lost, np.inf, lon), np.where(lost, np.inf, lat)
        outside = np.abs(lon) > 180
        lon = np.where(outside & np.isfinite(lon), wrapped(lon), lon)
        # Grids with pixel centres on the poles reach half a pixel beyond them.
        return lon, np.where(np.isfinite(lat), np.clip(lat, -90, 90), lat)

    def _period(self) -> float:
        """How far along x a map shows the same places again, as Mercator's does; else 0."""
        x, y = self._transform @ (0, 0)
        lon, _ = self._to_wgs84.transform([x, x + PERIOD_STEP], [y, y])
        with np.errstate(invalid="ignore", divide="ignore"):
            turn = 360 * PERIOD_STEP / np.abs(wrapped(np.subtract(*lon)))
        there, again = np.transpose(self._to_wgs84.transform([x, x + turn], [y, y]))
        with np.errstate(invalid="ignore"):
            apart = np.hypot(wrapped(again[0] - there[0]), again[1] - there[1])
        return float(turn) if apart * METRES_PER_DEGREE < 0.01 else 0.0

    def at(self, column: float, row: float) -> tuple[float, float]:
        """Longitude and latitude of one point of the raster; inf off the Earth."""
        lon, lat = self.lonlat(np.array([column]), np.array([row]))
        return float(lon[0]), float(lat[0])

    def pixels(self, lon: Floats, lat: Floats, width: int, height: int) -> tuple[Floats, Floats]:
        """Longitude and latitude to pixel coordinates; NaN where no pixel lies there.

        Args:
            lon, lat: degrees.
            width, height: of the raster: of the turns round the Earth, the one that meets it.
        """
        x, y = self._to_wgs84.transform(lon, lat, direction=TransformDirection.INVERSE)
        x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
        if self._turn:
            first = (self._transform @ (width / 2, height / 2))[0] - self._turn / 2
            with np.errstate(invalid="ignore"):
                x = first + (x - first) % self._turn
        a, b, c, d, e, f = tuple(~self._transform)[:6]
        with np.errstate(invalid="ignore"):
            columns, rows = a * x + b * y + c, d * x + e * y + f
            # Far outside of what it is made for, a projection may lead to some other place.
            back_lon, back_lat = self.lonlat(columns, rows)
            astray = np.hypot(wrapped(back_lon - lon), back_lat - lat) * METRES_PER_DEGREE
            lost = ~(astray < LOST_M)
        return np.where(lost, np.nan, columns), np.where(lost, np.nan, rows)

    def gsd(self, width: int, height: int) -> tuple[float, float]:
        """Ground sample distance in metres along a row and a column, at the raster's centre.

        Measured on the ellipsoid, so Web Mercator's stretch and degrees do not matter. Where the
        centre is off the Earth, the point of a 17 x 17 lattice serves that is nearest to it.

        Raises:
            RasterError: no point of the lattice is on the Earth.
        """
        self._refuse_past_poles(width, height)
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

    def _refuse_past_poles(self, width: int, height: int) -> None:
        """Latitudes of 100 degrees are no places: the rows are not where they are said to be."""
        _, _, _, d, e, f = tuple(self._transform)[:6]
        if not self._geographic:
            return
        reach = [d * column + e * row + f for column in (0, width) for row in (0, height)]
        _, lat = self._to_wgs84.transform(np.zeros(4), np.array(reach))
        if max(abs(lat[np.isfinite(lat)]), default=0) > 90 + abs(d) + abs(e):
            raise RasterError(
                f"its rows reach to {max(lat, key=abs):.6g} degrees of latitude, past the pole",
                where=self._where,
                hint="Set the transform, e.g. gdal_edit.py -a_ullr WEST NORTH EAST SOUTH FILE.",
            )

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
            bbox[members], outlines[members] = outlines_of(ring_lon, ring_lat, poles)
        rim = np.flatnonzero(np.isnan(bbox[:, 0]) & np.isfinite(lon + lat))
        rim = rim[self._reaches_off(pixels[rim])]
        if rim.size:
            ring_lon, ring_lat = self._rim(pixels[rim])
            bbox[rim], outlines[rim] = outlines_of(ring_lon, ring_lat, not self._geographic)
        with np.errstate(invalid="ignore"):
            lost = ~np.isfinite(bbox.sum(axis=1) + lon + lat)
        lost |= ~(shapely.area(outlines) > 0)
        lon, lat = np.where(lost, np.nan, lon), np.where(lost, np.nan, lat)
        bbox[lost] = np.nan
        outlines[lost] = shapely.Polygon()
        return Footprints(lon, lat, bbox, shapely.to_wkb(outlines).tolist())

    def _reaches_off(self, pixels: Floats) -> NDArray[np.bool_]:
        """Which windows have a part of their edge off the Earth."""
        lon, lat = self._edge_points(pixels, RAYS // 4)
        return np.asarray(~np.isfinite(lon + lat).all(axis=1))

    def _rim(self, pixels: Floats) -> tuple[Floats, Floats]:
        """Rings (n, RAYS) of the parts on the Earth of windows whose centres are on it.

        Along each ray from the centre to the edge, the last place on the Earth: seen from one of
        its points the Earth has no other gap.
        """
        along = np.arange(RAYS // 4) * 4 / RAYS
        zero, one = np.zeros_like(along), np.ones_like(along)
        u = np.concatenate([along, one, 1 - along, zero]) - 0.5
        v = np.concatenate([zero, along, one, 1 - along]) - 0.5
        left, top, width, height = (column[:, None] for column in pixels.T)

        def at(reach: Floats) -> tuple[Floats, Floats]:
            columns, rows = (0.5 + reach * u) * width, (0.5 + reach * v) * height
            return self.lonlat(left + columns, top + rows)

        on, off = np.zeros((len(pixels), RAYS)), np.ones((len(pixels), RAYS))
        for step in range(HALVINGS):
            tried = off if step == 0 else (on + off) / 2
            lon, lat = at(tried)
            held = np.isfinite(lon) & np.isfinite(lat)
            on, off = np.where(held, tried, on), np.where(held, off, tried)
        return at(on)

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


def in_radians(crs: CRS) -> bool:
    """Whether longitude and latitude are in radians: pyproj takes and gives degrees for them."""
    return bool(crs.is_geographic) and crs.axis_info[0].unit_conversion_factor == 1


def metres_between(lon: float, lat: float, other_lon: float, other_lat: float) -> float:
    """The geodesic on WGS 84 between two places (Karney 2013); NaN where one is not finite."""
    _, _, metres = Geod(ellps="WGS84").inv(lon, lat, other_lon, other_lat)
    return float(metres)


def _earthly(crs: CRS, where: str) -> Transformer:
    """The transformation to WGS 84, longitude first."""
    if crs.geodetic_crs is None or crs.ellipsoid is None:
        raise RasterError(
            f"its coordinate reference system '{crs.name}' is a local one, not tied to the Earth",
            where=where,
            hint="Set the right one, e.g. gdal_edit.py -a_srs EPSG:32618 FILE.",
        )
    if crs.is_geocentric:
        raise RasterError(
            f"its coordinate reference system '{crs.name}' is geocentric: a map has no third axis",
            where=where,
            hint="Set the right one, e.g. gdal_edit.py -a_srs EPSG:32618 FILE.",
        )
    meridian = crs.prime_meridian
    longitude = float(meridian.longitude) if meridian else 0.0
    if meridian and abs(longitude) * float(meridian.unit_conversion_factor) > math.pi:
        raise RasterError(
            f"the prime meridian of its coordinate reference system '{crs.name}' lies at "
            f"{longitude:.6g} {meridian.unit_name}, more than half a turn away",
            where=where,
            hint="Set the right one, e.g. gdal_edit.py -a_srs EPSG:4326 FILE.",
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
    x, y = wrapped(probe_lon - start_lon) * shrink, probe_lat - start_lat
    dx, dy = wrapped(end_lon - start_lon) * shrink, end_lat - start_lat
    nearest = np.clip((x * dx + y * dy) / np.maximum(dx**2 + dy**2, 1e-300), 0, 1)
    away = np.hypot(x - nearest * dx, y - nearest * dy)
    return away.max(axis=1, initial=0.0) * METRES_PER_DEGREE
