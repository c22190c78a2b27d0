"""Ranking: areas that tiles must lie in, and exact top-k over blocks."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from ngcg_cli.errors import UsageError
from ngcg_cli.search.tiles import Floats, Ints

Vectors = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

EARTH_RADIUS = 6_371_008.8  # metres, the mean radius (IUGG)
# Rows and queries of one matrix product: 8 MB of scores, whatever the index and the batch.
BLOCK_ROWS = 8192
_BLOCK_QUERIES = 256


def check_bbox(bbox: tuple[float, float, float, float]) -> None:
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


def within_bbox(lon: Floats, lat: Floats, bbox: tuple[float, float, float, float]) -> Mask:
    """Which points lie in the box, edges included; west > east wraps over the antimeridian."""
    west, south, east, north = bbox

    def between(x: Floats) -> Mask:
        return (x >= west) & (x <= east) if west <= east else (x >= west) | (x <= east)

    # 180 and -180 are one meridian.
    around = between(lon) | (between(-lon) & (np.abs(lon) == 180))
    return around & (lat >= south) & (lat <= north)


def within_distance(lon: Floats, lat: Floats, near: tuple[float, float, float]) -> Mask:
    """Which points lie within `near` = (lat, lon, metres) along the great circle (haversine)."""
    at_lat, at_lon, metres = near
    lat1, lon1 = np.radians(at_lat), np.radians(at_lon)
    lat2, lon2 = np.radians(lat), np.radians(lon)
    h = np.sin((lat2 - lat1) / 2) ** 2 + (
        np.cos(lat1) * np.cos(lat2) * np.sin((lon2 - lon1) / 2) ** 2
    )
    return 2 * EARTH_RADIUS * np.arcsin(np.sqrt(np.clip(h, 0, 1))) <= metres


def top_k(queries: Vectors, blocks: Iterable[tuple[Ints, Vectors]], k: int) -> tuple[Ints, Vectors]:
    """The k best rows for each query, by dot product, exactly.

    The product is taken a block at a time, so Q x N scores never stand in memory together.

    Args:
        queries: (Q, dim).
        blocks: (row numbers (n,), vectors (n, dim)) pairs, rows ascending throughout.
        k: how many to keep.

    Returns:
        rows and scores, each (Q, k): best first, equal scores by row. Where there are fewer than
        k rows, the rest is row -1 of score -inf.
    """
    best_rows = np.full((len(queries), k), -1, np.int64)
    best_scores = np.full((len(queries), k), -np.inf, np.float32)
    for rows, vectors in blocks:
        for start in range(0, len(queries), _BLOCK_QUERIES):
            part = slice(start, start + _BLOCK_QUERIES)
            with np.errstate(invalid="ignore", over="ignore"):  # of damaged vectors
                scores = queries[part] @ vectors.T
            # Later rows lose ties, so only a greater score gets past the worst one kept. A damaged
            # vector's NaN or infinity neither wins nor, as a maximum, hides the others.
            floor = best_scores[part, -1]
            for i in np.flatnonzero(~(scores.max(axis=1) <= floor)):
                found = np.flatnonzero((scores[i] > floor[i]) & (scores[i] < np.inf))
                found_scores = scores[i, found]
                if len(found) > k:
                    kth = np.partition(found_scores, -k)[-k]
                    found = found[found_scores >= kth]
                    found_scores = scores[i, found]
                merged_scores = np.concatenate([best_scores[start + i], found_scores])
                merged_rows = np.concatenate([best_rows[start + i], rows[found]])
                order = np.argsort(-merged_scores, kind="stable")[:k]
                best_scores[start + i] = merged_scores[order]
                best_rows[start + i] = merged_rows[order]
    return best_rows, best_scores


def merge(*rankings: tuple[Ints, Vectors], k: int) -> tuple[Ints, Vectors]:
    """The k best of several rankings over different rows, in the order `top_k` gives."""
    rows = np.concatenate([ranking[0] for ranking in rankings], axis=1)
    scores = np.concatenate([ranking[1] for ranking in rankings], axis=1)
    order = np.lexsort((rows, -scores), axis=1)[:, :k]
    return np.take_along_axis(rows, order, axis=1), np.take_along_axis(scores, order, axis=1)
