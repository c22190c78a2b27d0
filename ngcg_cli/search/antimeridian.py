"""Footprints as GeoJSON geometry: rings counterclockwise, cut where they cross the antimeridian."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

Ring = Sequence[tuple[float, float]]


def geojson_geometry(ring: Ring) -> dict[str, Any]:
    """A footprint as RFC 7946 wants it.

    Args:
        ring: exterior ring as (lon, lat) in degrees, WGS 84, in one piece: across the antimeridian
            its longitudes run past 180 or below -180.

    Returns:
        A Polygon, closed, counterclockwise (section 3.1.6); or a MultiPolygon of two where it
        crosses the antimeridian (section 3.1.9).
    """
    closed = list(ring) if tuple(ring[0]) == tuple(ring[-1]) else [*ring, ring[0]]
    lons = [lon for lon, _ in closed]
    if min(lons) >= -180 and max(lons) <= 180:
        return {"type": "Polygon", "coordinates": [_finished(closed)]}
    edge = 180.0 if max(lons) > 180 else -180.0
    # What lies beyond the antimeridian comes back on the other side.
    parts = [
        (_clipped(closed, edge, keep_below=True), 0.0 if edge > 0 else 360.0),
        (_clipped(closed, edge, keep_below=False), -360.0 if edge > 0 else 0.0),
    ]
    rings = [
        [_finished([(lon + shift, lat) for lon, lat in part])] for part, shift in parts if part
    ]
    if len(rings) == 1:
        return {"type": "Polygon", "coordinates": rings[0]}
    return {"type": "MultiPolygon", "coordinates": rings}


def _clipped(ring: Ring, edge: float, keep_below: bool) -> list[tuple[float, float]]:
    """The part of a closed ring on one side of the meridian `edge` (Sutherland-Hodgman).

    Exact for what a raster's footprint is: one piece on either side.
    """
    side = 1.0 if keep_below else -1.0
    kept: list[tuple[float, float]] = []
    for (lon0, lat0), (lon1, lat1) in pairwise(ring):
        inside0, inside1 = side * (edge - lon0) >= 0, side * (edge - lon1) >= 0
        if inside0:
            kept.append((lon0, lat0))
        if inside0 != inside1:
            share = (edge - lon0) / (lon1 - lon0)
            kept.append((edge, lat0 + share * (lat1 - lat0)))
    distinct = [point for i, point in enumerate(kept) if point != kept[i - 1]]
    if len({lon for lon, _ in distinct}) < 2:  # it only touches the meridian
        return []
    return [*distinct, distinct[0]]


def _finished(ring: Ring) -> list[list[float]]:
    """Rounded to 7 decimals and counterclockwise."""
    twice_area = sum(lon0 * lat1 - lon1 * lat0 for (lon0, lat0), (lon1, lat1) in pairwise(ring))
    points = [[round(lon, 7) + 0.0, round(lat, 7) + 0.0] for lon, lat in ring]
    return points if twice_area > 0 else points[::-1]
