"""Footprints: WKB that may come from a stranger, and the areas that it outlines."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
# A closed ring of (lon, lat).
Ring = list[tuple[float, float]]
# Its exterior ring, and then its holes.
Polygon = list[Ring]

POLYGON, MULTIPOLYGON = 3, 6
# A footprint has at most 1,024 segments an edge; cut and repaired it may have some more.
MAX_POINTS = 16_384
MAX_WKB = 64 + 32 * MAX_POINTS
# Areas with more points than these are compared by their convex hulls, and so are invalid ones: it
# takes the square of the points to intersect two combs, or to repair one ring.
_FINE = 256


def pieces(wkb: bytes) -> list[Polygon]:
    """A footprint's polygons, each its exterior ring and then its holes, as they are stored.

    GEOS follows nested collections until the stack ends, so nothing comes to it that has not been
    read here.

    Raises:
        ValueError: it is no 2D polygon or plain collection of some, has open rings, too many
            points, or points that are nowhere on the Earth.
    """
    try:
        kind, count = struct.unpack_from("<II" if wkb[0] else ">II", wkb, 1)
        if len(wkb) > MAX_WKB:
            raise ValueError("a footprint of too many points")
        if kind == POLYGON:
            polygon, end = _polygon(wkb, 0)
            polygons = [polygon]
        elif kind == MULTIPOLYGON and count:
            polygons, end = [], 9
            for _ in range(count):
                polygon, end = _polygon(wkb, end)
                polygons.append(polygon)
        else:
            raise ValueError("a footprint that is no 2D polygon")
    except (struct.error, IndexError):
        raise ValueError("a footprint that is cut short") from None
    if end != len(wkb):
        raise ValueError("a footprint with something behind it")
    return polygons


def _polygon(wkb: bytes, at: int) -> tuple[Polygon, int]:
    """The polygon that begins at a byte, and where it ends."""
    order = "<" if wkb[at] else ">"
    kind, count = struct.unpack_from(f"{order}II", wkb, at + 1)
    if kind != POLYGON or not count:
        raise ValueError("a footprint that is no 2D polygon")
    at += 9
    rings = []
    for _ in range(count):
        (points,) = struct.unpack_from(f"{order}I", wkb, at)
        if not 4 <= points <= MAX_POINTS:
            raise ValueError(f"a footprint with a ring of {points} points")
        xy = struct.unpack_from(f"{order}{2 * points}d", wkb, at + 4)
        at += 4 + 16 * points
        lons, lats = xy[::2], xy[1::2]
        # Not `max(map(abs, ...))`, which passes over NaN.
        if not (all(-360 <= x <= 360 for x in lons) and all(-90 <= y <= 90 for y in lats)):
            raise ValueError("a footprint that lies nowhere on the Earth")
        if xy[:2] != xy[-2:]:
            raise ValueError("a footprint with an open ring")
        rings.append(list(zip(lons, lats, strict=True)))
    return rings, at


def geojson_geometry(polygons: Sequence[Polygon]) -> dict[str, Any]:
    """A footprint as RFC 7946 wants it: as it is stored, it is cut at the antimeridian already.

    Returns:
        A Polygon, or a MultiPolygon of several: rounded to 7 decimals (a centimetre), exterior
        rings counterclockwise and holes clockwise (section 3.1.6).
    """
    coordinates = [
        [_turned(ring, counterclockwise=number == 0) for number, ring in enumerate(polygon)]
        for polygon in polygons
    ]
    if len(coordinates) == 1:
        return {"type": "Polygon", "coordinates": coordinates[0]}
    return {"type": "MultiPolygon", "coordinates": coordinates}


def _turned(ring: Ring, counterclockwise: bool) -> list[list[float]]:
    twice_area = sum(lon0 * lat1 - lon1 * lat0 for (lon0, lat0), (lon1, lat1) in pairwise(ring))
    points = [[round(lon, 7) + 0.0, round(lat, 7) + 0.0] for lon, lat in ring]
    return points if (twice_area > 0) == counterclockwise else points[::-1]


def areas(geometry: Sequence[bytes], lon: Floats) -> npt.NDArray[np.object_]:
    """Footprints as valid shapely areas, joined again where the antimeridian cut them.

    Pieces are turned by 360 degrees to the side of their centre `lon`, so longitudes may run past
    180. Areas that are invalid, or of very many points, come as their convex hulls.

    Args:
        geometry: N footprints of which `pieces` has seen that they are such.
        lon: (N,) longitudes of the centres.
    """
    import shapely

    shapes = shapely.from_wkb(list(geometry))
    for at in np.flatnonzero(shapely.get_type_id(shapes) == MULTIPOLYGON):
        parts = [
            shapely.transform(piece, lambda xy, move=move: xy - move)
            for piece in shapes[at].geoms
            for move in [np.array([360 * np.round((piece.centroid.x - lon[at]) / 360), 0])]
        ]
        shapes[at] = shapely.MultiPolygon(parts)
        if shapely.is_valid(parts).all() and shapely.get_num_coordinates(shapes[at]) <= _FINE:
            shapes[at] = shapely.union_all(parts)
    rough = (shapely.get_num_coordinates(shapes) > _FINE) | ~shapely.is_valid(shapes)
    shapes[rough] = shapely.convex_hull(shapes[rough])
    return shapes


def square_side(polygons: list[Polygon]) -> float:
    """Side in metres of a square of a footprint's area on the ground, on the ellipsoid WGS 84.

    Edges are taken as straight in an equal-area cylindrical projection, which is right to a
    thousandth for what is small against the Earth.
    """
    whole = sum(_area(outer) - sum(map(_area, holes)) for outer, *holes in polygons)
    return float(max(0.0, whole) ** 0.5)


def _area(ring: Ring) -> float:
    lon, lat = np.array(ring, np.float64).T
    sine = np.sin(np.radians(lat))
    height = sine / (1 - (_E * sine) ** 2) + np.arctanh(_E * sine) / _E
    x = np.radians(lon - lon[0])
    y = (_SEMI_MINOR**2 / 2) * (height - height[0])
    return abs(float(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1]))) / 2


_SEMI_MINOR = 6_356_752.314245
_E = 0.081819190842622
