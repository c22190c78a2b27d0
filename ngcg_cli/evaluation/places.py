"""The protocol `places`: is what `ngcg query` answers where it should be?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ngcg_cli.datasets.pairs import Place
from ngcg_cli.errors import DataError
from ngcg_cli.evaluation.metrics import (
    Bootstrap,
    Shares,
    distance_m,
    recall_hits,
    within_hits,
)
from ngcg_cli.evaluation.ranking import Floats
from ngcg_cli.evaluation.report import Report, Row, interval_facts
from ngcg_cli.search import Hit, Store

# Hits asked for. More than the 10 that count, so that a tie at the tenth is seen whole and
# --per-query can tell a near miss from a far one.
DEPTH = 50
_QUERIES_AT_ONCE = 256
Points = Sequence[tuple[float, float]]
_NOT_FOUND = np.iinfo(np.int64).max


def places(
    rows: Sequence[Place],
    captions: Floats,
    index: Store,
    *,
    intervals: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Report:
    """Every caption is a query against the tile index; a hit is right where its footprint is.

    R@1/5/10: one of the first K hits has a footprint that holds a true point (its edge counts).
    L@50/100/150: the centre of the first hit lies within so many metres of the nearest true point
    (great circle on R = 6371 km); `median_error_m`: the median of that distance. Hits of equal
    score are taken with the wrong ones first, and for the distance with the farthest first. All
    tiles are compared (no graph), and overlapping hits count once, as in `ngcg query --exact`.

    Args:
        rows: the places with their captions.
        captions: (Q, dim) unit vectors of all captions, place after place.
        index: the tiles to search.
        intervals: add 95 % bootstrap intervals; places with their captions are resampled.
        progress: called with the number of queries done since the last call.
    """
    if index.tile_count == 0:
        raise DataError("the index has no tiles", hint="Fill it with `ngcg index SOURCE`")
    owner = np.repeat(np.arange(len(rows)), [len(row.captions) for row in rows])
    rank = np.empty(len(owner), np.int64)
    error = np.empty(len(owner), np.float64)
    firsts: list[Hit] = []
    for start in range(0, len(owner), _QUERIES_AT_ONCE):
        block = captions[start : start + _QUERIES_AT_ONCE]
        for query, hits in enumerate(index.search(block, top=DEPTH, exact=True), start):
            points = rows[owner[query]].points
            rank[query] = _rank(hits, points)
            first, error[query] = _farthest_first(hits, points)
            firsts.append(first)
        if progress is not None:
            progress(len(block))

    shares = Shares({**recall_hits(rank), **within_hits(error)}, owner)
    figures: dict[str, Any] = {
        "queries": len(owner),
        **shares.percents(),
        "median_error_m": round(float(np.median(error)), 2),
    }
    if intervals:
        bootstrap = Bootstrap(len(rows))
        (percents,), _ = bootstrap.shares(shares)
        median = [round(bound, 2) for bound in bootstrap.median(error, owner)]
        figures["ci"] = {**interval_facts("places"), **percents, "median_error_m": median}
    return Report("places", figures, lambda: _rows(rows, owner, rank, error, firsts))


def _rank(hits: Sequence[Hit], points: Points) -> int:
    """Rank of the best hit whose footprint holds a point, after all wrong ones of its score."""
    wrong_ahead, found = 0, None
    for hit in hits:
        if found is not None and hit.score < found:
            break
        if _holds(hit, points):
            if found is None:
                found = hit.score
        else:
            wrong_ahead += 1
    return wrong_ahead + 1 if found is not None else _NOT_FOUND


def _holds(hit: Hit, points: Points) -> bool:
    from shapely import Point, Polygon

    for exterior, *holes in hit.footprint:
        lons, lats = zip(*exterior, strict=True)
        # 180 and -180 are one meridian, and a raster may count on past either.
        near = [
            Point(lon + turn, lat)
            for lon, lat in points
            for turn in (-360.0, 0.0, 360.0)
            if min(lons) <= lon + turn <= max(lons) and min(lats) <= lat <= max(lats)
        ]
        if near and any(map(Polygon(exterior, holes).covers, near)):
            return True
    return False


def _farthest_first(hits: Sequence[Hit], points: Points) -> tuple[Hit, float]:
    """Of the hits with the highest score, the farthest from every point, and how far it is."""
    tied = [hit for hit in hits if hit.score >= hits[0].score]
    away = [_error(hit, points) for hit in tied]
    worst = int(np.argmax(away))
    return tied[worst], away[worst]


def _error(hit: Hit, points: Points) -> float:
    lon, lat = np.array(points, np.float64).T
    return float(distance_m(hit.lon, hit.lat, lon, lat).min())


def _rows(
    rows: Sequence[Place],
    owner: np.ndarray,
    rank: np.ndarray,
    error: np.ndarray,
    firsts: Sequence[Hit],
) -> Iterator[Row]:
    texts = (caption for row in rows for caption in row.captions)
    for query, text in enumerate(texts):
        hit = firsts[query]
        lon, lat = rows[owner[query]].points[0]
        column, row, width, height = hit.window
        yield {
            "direction": "text_to_place",
            "query": text,
            "truth": f"{lat:.7f},{lon:.7f}",
            "view": None,
            "rank": int(rank[query]) if rank[query] != _NOT_FOUND else None,
            "top_hit": f"{hit.lat:.7f},{hit.lon:.7f} {hit.source} {column},{row},{width},{height}",
            "score": round(hit.score, 6),
            "error_m": round(float(error[query]), 2),
        }
