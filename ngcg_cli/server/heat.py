"""The score of every tile as colour on the map."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ngcg_cli.output.pictures import encoded
from ngcg_cli.raster.mercator import EDGE, MAX_LATITUDE

Floats = npt.NDArray[np.float64]
# From what is as good as nothing to what looks most like it; opacity last. Seen well by the
# colour-blind: lightness rises with the score.
_COLOURS = np.array(
    [
        (68, 1, 84, 0),
        (59, 82, 139, 60),
        (33, 145, 140, 110),
        (94, 201, 98, 160),
        (253, 231, 37, 205),
    ],
    np.float64,
)
# Shares of all scores where the colours begin and end: the median tile is not shown.
_FROM, _TO = 0.5, 0.999
# Boxes larger than so many pixels of the image are drawn one by one; others as their centre.
_SMALL = 2.0


def heat(
    boxes: Floats, scores: npt.NDArray[np.float32], bounds: Sequence[float], side: int
) -> bytes:
    """A PNG of the best score at each place; colours mean the same wherever one looks.

    Args:
        boxes: (N, 4) west, south, east, north in degrees.
        scores: (N,).
        bounds: left, bottom, right, top of the image on the map, metres.
        side: of the image, pixels.
    """
    best = np.full((side, side), -np.inf, np.float32)
    finite = np.isfinite(scores)
    if finite.any():
        low, high = np.quantile(scores[finite], [_FROM, _TO])
        _draw(best, boxes[finite], scores[finite], bounds)
        share = np.clip((best - low) / max(float(high - low), 1e-6), 0, 1)
        steps = np.linspace(0, 1, len(_COLOURS))
        channels = [np.interp(share, steps, channel) for channel in _COLOURS.T]
        image = np.stack(channels, axis=-1).round().astype(np.uint8)
    else:
        image = np.zeros((side, side, 4), np.uint8)
    image[~np.isfinite(best)] = 0
    return encoded(image, "PNG")


def _draw(
    best: npt.NDArray[np.float32],
    boxes: Floats,
    scores: npt.NDArray[np.float32],
    bounds: Sequence[float],
) -> None:
    side = len(best)
    left, bottom, right, top = bounds
    west, south, east, north = boxes.T
    east = np.where(east < west, east + 360, east)
    x0, x1 = (((edge / 180 * EDGE) - left) / (right - left) * side for edge in (west, east))
    y0, y1 = ((top - _y(edge)) / (top - bottom) * side for edge in (north, south))
    order = np.argsort(scores, kind="stable")
    order = order[((x1 > 0) & (x0 < side) & (y1 > 0) & (y0 < side))[order]]
    small = (np.maximum(x1 - x0, y1 - y0) < _SMALL)[order]
    at = order[small]
    columns = np.clip((x0[at] + x1[at]) / 2, 0, side - 1).astype(np.int64)
    rows = np.clip((y0[at] + y1[at]) / 2, 0, side - 1).astype(np.int64)
    np.maximum.at(best, (rows, columns), scores[at])
    for tile in order[~small].tolist():  # ascending: a better one covers a worse one
        part = best[
            max(0, int(y0[tile])) : max(0, int(np.ceil(y1[tile]))),
            max(0, int(x0[tile])) : max(0, int(np.ceil(x1[tile]))),
        ]
        np.maximum(part, scores[tile], out=part)


def _y(lat: Floats) -> Floats:
    lat = np.clip(lat, -MAX_LATITUDE, MAX_LATITUDE)
    y: Floats = np.arcsinh(np.tan(np.radians(lat))) / np.pi * EDGE
    return y
