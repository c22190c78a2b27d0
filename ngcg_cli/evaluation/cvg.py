"""CVG-Text's protocol: which of the 100 nearest tiles does the description belong to?

Source: the data set's evaluation script (yejy53/CVG-Text, `evaluate.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from ngcg_cli.choices import Match
from ngcg_cli.datasets.cvg_text import place_of
from ngcg_cli.datasets.pairs import Pair
from ngcg_cli.errors import DataError
from ngcg_cli.evaluation.metrics import Bootstrap, Shares, distance_m, recall_hits, within_hits
from ngcg_cli.evaluation.metrics import Floats as Doubles
from ngcg_cli.evaluation.ranking import (
    Candidates,
    Floats,
    Ints,
    Ranking,
    group_numbers,
    rank_of_truth,
)
from ngcg_cli.evaluation.report import Report, Row, interval_facts

NEAREST = 100


def cvg_text(
    pairs: Sequence[Pair],
    images: Floats,
    captions: Floats,
    *,
    match: Match = "position",
    intervals: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Report:
    """Recall and localisation among the 100 gallery images nearest to each query's position.

    Great circle on R = 6371 km; of equally near images the earlier of the data set is taken.
    L@50/100/150: the first hit lies within so many metres; `deviation_km`: its mean distance. A tie
    for the first hit goes to the farthest.

    Args:
        pairs: images with captions and positions; `view` "panorama" and "single_view" are also
            reported apart (their figures are null when there are none).
        images: (len(pairs), dim) vectors.
        captions: vectors of all captions, pair after pair.
        match: an image is correct when its position is the query's to 7 decimals (the method's
            code), or when its file has the same base name (the data set's own script).
        intervals: add 95 % bootstrap intervals; positions are resampled.
        progress: called with the number of queries done since the last call.
    """
    lon, lat = positions(pairs)
    spots = group_numbers(
        place_of(*place) for place in zip(lat.tolist(), lon.tolist(), strict=True)
    )
    by_name = match == "name"
    groups = group_numbers(PurePosixPath(p.name).name for p in pairs) if by_name else spots
    owner = np.repeat(np.arange(len(pairs)), [len(pair.captions) for pair in pairs])
    candidates = _nearest(lon, lat, spots, owner)
    ranking = rank_of_truth(
        captions, images, groups[owner], groups, candidates=candidates, progress=progress
    )
    error = distance_m(lon[owner], lat[owner], lon[ranking.top], lat[ranking.top])

    view = np.array([pair.view or "" for pair in pairs])[owner]
    subsets = {
        "overall": np.ones(len(owner), bool),
        "panorama": view == "panorama",
        "single_view": view == "single_view",
    }
    figures: dict[str, Any] = {}
    bounds: dict[str, Any] = {}
    for name, chosen in subsets.items():
        shares = Shares(
            {**recall_hits(ranking.rank[chosen]), **within_hits(error[chosen])},
            group_numbers(spots[owner][chosen].tolist()),
        )
        figures[name] = _figures(shares, error[chosen])
        bounds[name] = _bounds(shares, error[chosen]) if intervals and shares.count else None
    if intervals:
        figures["ci"] = {**interval_facts("positions"), **bounds}
    return Report("cvg-text", figures, lambda: _rows(pairs, owner, ranking, error))


def positions(pairs: Sequence[Pair]) -> tuple[Doubles, Doubles]:
    """(lon, lat) of every pair, in degrees; DataError when one has none."""
    unplaced = [pair.name for pair in pairs if pair.lon is None or pair.lat is None]
    if unplaced:
        raise DataError(
            f"{len(unplaced)} of {len(pairs)} images have no position, such as {unplaced[0]}",
            hint="The cvg-text protocol needs one for each; choose another with --protocol",
        )
    return (
        np.array([pair.lon for pair in pairs], np.float64),
        np.array([pair.lat for pair in pairs], np.float64),
    )


def _nearest(lon: Doubles, lat: Doubles, spots: Ints, owner: Ints) -> Candidates:
    """The nearest images of each query's position, nearest first, with their distances."""
    count = min(NEAREST, len(lon))
    index = np.empty((len(lon), count), np.int64)
    cost = np.empty((len(lon), count), np.float64)
    _, first = np.unique(spots, return_index=True)
    for image in range(len(lon)):
        twin = first[spots[image]]
        if twin < image:  # the same position, done already
            index[image], cost[image] = index[twin], cost[twin]
            continue
        away = distance_m(lon[image], lat[image], lon, lat)
        limit = np.partition(away, count - 1)[count - 1]
        near = np.flatnonzero(away <= limit)
        near = near[np.argsort(away[near], kind="stable")][:count]
        index[image], cost[image] = near, away[near]
    return Candidates(index[owner], cost[owner])


def _figures(shares: Shares, error: Doubles) -> dict[str, Any]:
    count = shares.count
    percents: dict[str, float | None] = (
        dict(shares.percents()) if count else dict.fromkeys(shares.hits)
    )
    deviation = round(float(error.mean()) / 1000, 6) if count else None
    return {**percents, "deviation_km": deviation, "count": count}


def _bounds(shares: Shares, error: Doubles) -> dict[str, Any]:
    bootstrap = Bootstrap(int(shares.clusters.max()) + 1)
    (percents,), _ = bootstrap.shares(shares)
    deviation = [round(bound / 1000, 6) for bound in bootstrap.mean(error, shares.clusters)]
    return {**percents, "deviation_km": deviation}


def _rows(pairs: Sequence[Pair], owner: Ints, ranking: Ranking, error: Doubles) -> Iterator[Row]:
    texts = (caption for pair in pairs for caption in pair.captions)
    for query, text in enumerate(texts):
        truth = pairs[owner[query]]
        yield {
            "direction": "text_to_image",
            "query": text,
            "truth": truth.name,
            "view": truth.view,
            "rank": int(ranking.rank[query]),
            "top_hit": pairs[ranking.top[query]].name,
            "score": round(float(ranking.score[query]), 6),
            "error_m": round(float(error[query]), 2),
        }
