"""Boxes on the globe: what holds some tiles, and which boxes can hold what is asked for."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

EARTH_RADIUS = 6_371_008.8  # metres, the mean radius (IUGG)
# west, south, east, north in degrees; west > east across the antimeridian (RFC 7946)
Box = tuple[float, float, float, float]


def extent(bbox: Floats, lon: Floats | None = None, lat: Floats | None = None) -> Box:
    """The smallest box around boxes (N, 4) and points (M,), N > 0; all the way round if need be."""
    lon, lat = (np.empty(0) if points is None else points for points in (lon, lat))
    west, south, east, north = np.asarray(bbox, np.float64).T
    starts = np.concatenate([west, lon])
    ends = np.concatenate([np.where(east < west, east + 360, east), lon])
    order = np.argsort(starts, kind="stable")
    starts, reach = starts[order], np.maximum.accumulate(ends[order])
    reach = np.maximum(reach, reach[-1] - 360)  # what crosses the antimeridian covers its far side
    # The widest gap is what the box leaves out.
    gaps = np.append(starts[1:], starts[0] + 360) - reach
    widest = int(np.argmax(gaps))
    first, last = -180.0, 180.0
    if gaps[widest] > 0:
        first, last = float(starts[(widest + 1) % len(starts)]), float(reach[widest])
        last = last - 360 if last > 180 else last
    lowest, highest = np.concatenate([south, lat]).min(), np.concatenate([north, lat]).max()
    return (first, float(lowest), last, float(highest))


def meets(boxes: Floats, box: Box) -> Mask:
    """Which of (N, 4) boxes have a point in common with a box."""
    west, south, east, north = boxes.T
    wide, asked = (east - west) % 360, (box[2] - box[0]) % 360
    wide = np.where((wide == 0) & (east != west), 360, wide)  # -180 to 180 is all around
    asked = 360 if asked == 0 and box[2] != box[0] else asked
    hair = 1e-9  # of rounding, far below a metre
    beside = ((box[0] - west) % 360 <= wide + hair) | ((west - box[0]) % 360 <= asked + hair)
    # Just west of a box is almost all the way round it.
    beside |= (box[0] - west) % 360 >= 360 - hair
    return beside & (south <= box[3] + hair) & (north >= box[1] - hair)


def around(near: tuple[float, float, float]) -> Box:
    """The box around all points within `near` = (latitude, longitude, metres)."""
    lat, lon, metres = near
    # A degree on the ellipsoid may be up to 0.56 % shorter than on the sphere.
    angle = math.degrees(1.01 * metres / EARTH_RADIUS) + 1e-9
    if abs(lat) + angle >= 90:
        return (-180.0, max(-90.0, lat - angle), 180.0, min(90.0, lat + angle))
    turn = math.sin(math.radians(angle)) / math.cos(math.radians(lat))
    half = math.degrees(math.asin(min(1.0, turn))) + 1e-9
    west, east = ((lon + side + 180) % 360 - 180 for side in (-half, half))
    return (west, lat - angle, east, lat + angle)
