"""Ranking: areas that tiles must lie in, exact top-k over blocks, and one hit for one place."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt

from ngcg_cli.errors import UsageError
from ngcg_cli.search.tiles import Floats, Ints, TileColumns

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
            scores = queries[part] @ vectors.T
            # Later rows lose ties, so only a greater score gets past the worst one kept.
            floor = best_scores[part, -1]
            for i in np.flatnonzero(scores.max(axis=1) > floor):
                found = np.flatnonzero(scores[i] > floor[i])
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


def distinct(
    tile: Ints,
    columns: TileColumns,
    source: Ints,
    footprints: Callable[[], npt.NDArray[np.object_]],
    top: int,
) -> Mask:
    """Which hits to keep so that overlapping tiles of one place count once.

    Down each ranking, a hit is left out when it and a better hit that is kept share more than half
    of the smaller one's area: within a source by pixel windows, between sources by footprints.

    Args:
        tile: (Q, K) rankings, best first; entries index the N tiles below, -1 is none.
        columns: the N tiles' numbers.
        source: (N,) number of each tile's source.
        footprints: gives the N tiles' polygons (`tiles.polygons`); called only when tiles of
            different sources meet, because it costs the import of shapely.
        top: hits to keep at most, for each query.

    Returns:
        (Q, K) mask of the kept.
    """
    alive = tile >= 0
    kept = np.zeros_like(alive)
    for _ in range(min(top, tile.shape[1])):
        (query,) = np.nonzero(alive.any(axis=1))
        if not len(query):
            break
        best = alive[query].argmax(axis=1)
        kept[query, best] = True
        alive[query, best] = False
        pair, rival = np.nonzero(alive[query])
        a, b = tile[query, best][pair], tile[query[pair], rival]
        same = source[a] == source[b]
        over = np.zeros(len(a), bool)
        over[same] = _windows_overlap(columns.window[a[same]], columns.window[b[same]])
        meet = np.flatnonzero(~same)
        meet = meet[_boxes_meet(columns.bbox[a[meet]], columns.bbox[b[meet]])]
        if len(meet):
            over[meet] = _footprints_overlap(footprints(), columns.lon, a[meet], b[meet])
        alive[query[pair[over]], rival[over]] = False
    return kept


def _windows_overlap(a: Ints, b: Ints) -> Mask:
    start = np.maximum(a[:, :2], b[:, :2])
    stop = np.minimum(a[:, :2] + a[:, 2:], b[:, :2] + b[:, 2:])
    shared = np.clip(stop - start, 0, None).prod(axis=1)
    smaller = np.minimum(a[:, 2:].prod(axis=1), b[:, 2:].prod(axis=1))
    return 2 * shared > smaller


def _boxes_meet(a: Floats, b: Floats) -> Mask:
    """Whether boxes touch, also around the antimeridian: a cheap sieve before true footprints."""
    width_a, width_b = (a[:, 2] - a[:, 0]) % 360, (b[:, 2] - b[:, 0]) % 360
    # From the west edge of one, eastward, the other begins before the first ends.
    east_on = ((b[:, 0] - a[:, 0]) % 360 <= width_a) | ((a[:, 0] - b[:, 0]) % 360 <= width_b)
    whole = (width_a == 0) & (a[:, 2] != a[:, 0]) | (width_b == 0) & (b[:, 2] != b[:, 0])
    return (east_on | whole) & (a[:, 1] <= b[:, 3]) & (b[:, 1] <= a[:, 3])


def _footprints_overlap(shapes: npt.NDArray[np.object_], lon: Floats, a: Ints, b: Ints) -> Mask:
    # Areas are compared in square degrees: only their ratio counts, and over two tiles that meet
    # a degree of longitude is as good as equally long everywhere.
    import shapely

    first, second = shapes[a], shapes[b]
    turns = np.round((lon[a] - lon[b]) / 360)
    for turn in np.unique(turns[turns != 0]):
        apart = turns == turn
        move = np.array([360 * turn, 0])
        second[apart] = shapely.transform(second[apart], lambda xy, move=move: xy + move)
    shared = shapely.area(shapely.intersection(first, second))
    return 2 * shared > np.minimum(shapely.area(first), shapely.area(second))
