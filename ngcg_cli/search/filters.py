"""What a search may be narrowed to: places, sources, dates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ngcg_cli.errors import UsageError
from ngcg_cli.search.extent import EARTH_RADIUS, Box, around
from ngcg_cli.search.records import SourceRecord, instant, span

if TYPE_CHECKING:
    import shapely

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

# More than the way to the other end of the Earth, in metres.
HALFWAY_ROUND = 20_100_000.0
# The sphere's distances are off by at most 0.56 %; nearer to the limit the ellipsoid decides.
_SPHERE_ERROR = 0.01
_AREAS = ("Polygon", "MultiPolygon")


@dataclass(frozen=True)
class Filters:
    """Which tiles a search may find: those that all of these allow. None, or nothing, allows all.

    Each works before ranking, so that `top` hits come back where there are so many.

    Attributes:
        bbox: west, south, east, north in degrees; west > east crosses the antimeridian. A tile's
            centre lies inside, edges included.
        near: latitude, longitude in degrees, metres on the WGS 84 ellipsoid. A tile's centre lies
            no farther.
        areas: polygons in longitude and latitude. A tile's centre lies in one of them.
        source: what a source's path, or the end of it after a "/", matches: `*`, `?`, `[...]`.
        after: ISO 8601 date or time; sources acquired then or later. UTC unless it says otherwise.
        before: likewise; sources acquired earlier than that. Those of which nobody knows when are
            left out by both; of an interval, any part of it will do.

    Raises:
        UsageError: a value makes no sense.
    """

    bbox: Box | None = None
    near: tuple[float, float, float] | None = None
    areas: tuple[shapely.Geometry, ...] = ()
    source: str | None = None
    after: str | None = None
    before: str | None = None

    def __post_init__(self) -> None:
        if self.bbox is not None:
            check_bbox(self.bbox)
        if self.near is not None:
            check_near(self.near)
        for name, value in (("after", self.after), ("before", self.before)):
            try:
                instant(value or "2000")
            except (ValueError, OverflowError):
                raise UsageError(
                    f"--{name} {value!r} is no date",
                    hint="Give a year, 2024-05, 2024-05-17 or 2024-05-17T10:30Z.",
                ) from None
        if self.after and self.before and instant(self.after) >= instant(self.before):
            raise UsageError(
                f"--after {self.after!r} is not earlier than --before {self.before!r}",
                hint="--after is the first date that counts, --before the first that does not.",
            )
        if any(area.is_empty or area.geom_type not in _AREAS for area in self.areas):
            raise UsageError("an area that is no polygon", hint="Give polygons.")

    def __bool__(self) -> bool:
        """Whether anything is left out."""
        return self.spatial or any((self.source, self.after, self.before))

    @property
    def spatial(self) -> bool:
        """Whether it depends on where a tile is."""
        return self.bbox is not None or self.near is not None or bool(self.areas)

    def takes(self, source: SourceRecord) -> bool:
        """Whether tiles of a source may be found."""
        path, glob = source.path, self.source
        if glob and not (fnmatchcase(path, glob) or fnmatchcase(path, f"*/{glob}")):
            return False
        if not (self.after or self.before):
            return True
        if source.acquired is None:
            return False
        first, last = span(source.acquired)
        return not (
            (self.after and last < instant(self.after))
            or (self.before and first >= instant(self.before))
        )

    def boxes(self) -> list[list[Box]]:
        """Of each of these one box has to be met by whatever holds tiles that are allowed."""
        boxes: list[list[Box]] = []
        if self.bbox is not None:
            boxes.append([self.bbox])
        if self.near is not None:
            boxes.append([around(self.near)])
        if self.areas:
            boxes.append([_box_of(area.bounds) for area in self.areas])
        return boxes

    def hold(self, lon: Floats, lat: Floats) -> Mask:
        """Which centres (N,) are allowed by where they are."""
        inside = np.ones(len(lon), bool)
        if self.bbox is not None:
            inside &= within_bbox(lon, lat, self.bbox)
        if self.near is not None:
            inside &= within_distance(lon, lat, self.near)
        if self.areas:
            inside &= within_areas(lon, lat, self.areas)
        return inside


NO_FILTERS = Filters()


def check_bbox(bbox: Box) -> None:
    """Raise UsageError unless `bbox` is west, south, east, north in degrees."""
    west, south, east, north = bbox
    # Written so that NaN fails too.
    if not (abs(west) <= 180 and abs(east) <= 180 and -90 <= south <= north <= 90):
        raise UsageError(
            f"bounding box {','.join(f'{edge:g}' for edge in bbox)} is not on the globe",
            hint="Give west,south,east,north in degrees, south below north; "
            "west > east crosses the antimeridian.",
        )


def check_near(near: tuple[float, float, float]) -> None:
    """Raise UsageError unless `near` is latitude, longitude in degrees and a distance in metres."""
    lat, lon, metres = near
    if not (abs(lat) <= 90 and abs(lon) <= 180):
        raise UsageError(
            f"point {lat:g},{lon:g} is not on the globe",
            hint="Give latitude,longitude in degrees, latitude first.",
        )
    if not 0 <= metres < np.inf:
        raise UsageError(
            f"a distance of {metres:g} metres", hint="Give a number of metres from 0 up."
        )


def within_bbox(lon: Floats, lat: Floats, bbox: Box) -> Mask:
    """Which points lie in the box, edges included; west > east wraps over the antimeridian."""
    west, south, east, north = bbox

    def between(x: Floats) -> Mask:
        return (x >= west) & (x <= east) if west <= east else (x >= west) | (x <= east)

    # 180 and -180 are one meridian.
    around = between(lon) | (between(-lon) & (np.abs(lon) == 180))
    return around & (lat >= south) & (lat <= north)


def within_distance(lon: Floats, lat: Floats, near: tuple[float, float, float]) -> Mask:
    """Which points lie within `near` = (lat, lon, metres), by the geodesic on WGS 84 (Karney 2013).

    A sphere tells all but those near the limit, for which pyproj is imported.
    """
    at_lat, at_lon, metres = near
    lat1, lon1 = np.radians(at_lat), np.radians(at_lon)
    lat2, lon2 = np.radians(lat), np.radians(lon)
    h = np.sin((lat2 - lat1) / 2) ** 2 + (
        np.cos(lat1) * np.cos(lat2) * np.sin((lon2 - lon1) / 2) ** 2
    )
    sphere = 2 * EARTH_RADIUS * np.arcsin(np.sqrt(np.clip(h, 0, 1)))
    inside: Mask = sphere <= metres * (1 - _SPHERE_ERROR)
    unsure = np.flatnonzero(~inside & (sphere <= metres * (1 + _SPHERE_ERROR)))
    if len(unsure):
        inside[unsure] = geodesic(lon[unsure], lat[unsure], at_lat, at_lon) <= metres
    return inside


def geodesic(lon: Floats, lat: Floats, at_lat: float, at_lon: float) -> Floats:
    """(N,) metres on the WGS 84 ellipsoid from points to one point (Karney 2013, by pyproj)."""
    from pyproj import Geod

    here = np.full(len(lon), at_lon), np.full(len(lon), at_lat)
    _, _, metres = Geod(ellps="WGS84").inv(*here, lon, lat)
    return np.asarray(metres, np.float64)


def within_areas(lon: Floats, lat: Floats, areas: Sequence[shapely.Geometry]) -> Mask:
    """Which points lie in one of the areas, edges included; these may run past 180 degrees."""
    import shapely

    inside = np.zeros(len(lon), bool)
    for area in areas:
        shapely.prepare(area)
        west, _, east, _ = area.bounds
        for turn in (-360.0, 0.0, 360.0):
            if west <= 180 + turn and east >= -180 + turn:
                inside |= shapely.intersects_xy(area, lon + turn, lat)
    return inside


def _box_of(bounds: tuple[float, float, float, float]) -> Box:
    west, south, east, north = bounds
    if east - west >= 360:
        return (-180.0, south, 180.0, north)
    west, east = (x if abs(x) <= 180 else (x + 180) % 360 - 180 for x in (west, east))
    return (west, south, east, north)
