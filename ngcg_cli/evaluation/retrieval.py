"""The protocols `recall` and `geotext`: captions against images, both ways."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ngcg_cli.choices import Gallery
from ngcg_cli.datasets.pairs import Pair
from ngcg_cli.errors import DataError
from ngcg_cli.evaluation.metrics import Bootstrap, Shares, distance_m, mean_percent, recall_hits
from ngcg_cli.evaluation.ranking import Floats, Ints, Ranking, group_numbers, rank_of_truth
from ngcg_cli.evaluation.report import Report, Row, interval_facts


def recall(
    pairs: Sequence[Pair],
    images: Floats,
    captions: Floats,
    *,
    same_building: bool = False,
    gallery: Gallery = "unique",
    intervals: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Report:
    """Recall@1, 5 and 10 from text to image and from image to text.

    An answer is correct when it is of the same place, where the data set names places, and
    otherwise when it belongs to the same image. A query counts as right at K when one of its
    first K answers is correct.

    Args:
        pairs: the images with their captions.
        images: (len(pairs), dim) vectors.
        captions: vectors of all captions, pair after pair.
        same_building: GeoText-1652's protocol: every pair must name its building. (The official
            script counts the first image of each building to the one before it; this does not.)
        gallery: "unique" ranks and asks each image once; "rows" once for each of its captions, as
            the method's own evaluation does of annotations with a row per caption. That leaves
            R@1 and lowers R@5 and R@10 of text queries: copies of a wrong image fill the ranks.
        intervals: add 95 % bootstrap intervals; images with their captions are resampled
            together, and with `same_building` whole buildings.
        progress: called with the number of queries done since the last call.
    """
    if same_building and (unplaced := sum(pair.place is None for pair in pairs)):
        raise DataError(
            f"{unplaced} of {len(pairs)} images name no building",
            hint='The geotext protocol needs one for each ("place" in JSON Lines)',
        )
    owner = np.repeat(np.arange(len(pairs)), [len(pair.captions) for pair in pairs])
    groups = group_numbers(pair.place or pair.image for pair in pairs)
    shown = owner if gallery == "rows" else np.arange(len(pairs))
    images = images[shown] if gallery == "rows" else images
    to_image = rank_of_truth(captions, images, groups[owner], groups[shown], progress=progress)
    to_text = rank_of_truth(images, captions, groups[shown], groups[owner], progress=progress)

    clusters = groups if same_building else np.arange(len(pairs))
    image_shares = Shares(recall_hits(to_image.rank), clusters[owner])
    text_shares = Shares(recall_hits(to_text.rank), clusters[shown])
    protocol = "geotext" if same_building else "recall"
    figures: dict[str, Any] = {
        "protocol": protocol,
        "images": len(pairs),
        "captions": len(owner),
        "text_to_image": image_shares.percents(),
        "image_to_text": text_shares.percents(),
        "mean": mean_percent(image_shares, text_shares),
    }
    if intervals:
        bootstrap = Bootstrap(int(clusters.max()) + 1)
        (image_bounds, text_bounds), mean = bootstrap.shares(image_shares, text_shares)
        figures["ci"] = {
            **interval_facts("buildings" if same_building else "images"),
            "text_to_image": image_bounds,
            "image_to_text": text_bounds,
            "mean": mean,
        }
    return Report(protocol, figures, lambda: _rows(pairs, owner, shown, to_image, to_text))


def _rows(
    pairs: Sequence[Pair], owner: Ints, shown: Ints, to_image: Ranking, to_text: Ranking
) -> Iterator[Row]:
    texts = [caption for pair in pairs for caption in pair.captions]
    for query, image in enumerate(owner):
        top = pairs[shown[to_image.top[query]]]
        yield _row("text_to_image", texts[query], pairs[image], to_image, query, top.name, top)
    for query, pair in enumerate(pairs[image] for image in shown):
        text = to_text.top[query]
        top = pairs[owner[text]]
        yield _row("image_to_text", pair.name, pair, to_text, query, texts[text], top)


def _row(
    direction: str, query: str, truth: Pair, ranking: Ranking, place: int, answer: str, top: Pair
) -> Row:
    return {
        "direction": direction,
        "query": query,
        "truth": truth.name,
        "view": truth.view,
        "rank": int(ranking.rank[place]),
        "top_hit": answer,
        "score": round(float(ranking.score[place]), 6),
        "error_m": _error_m(truth, top),
    }


def _error_m(truth: Pair, found: Pair) -> float | None:
    """Metres between two images' positions; None where the data set does not know both."""
    if truth.lon is None or truth.lat is None or found.lon is None or found.lat is None:
        return None
    return round(float(distance_m(truth.lon, truth.lat, found.lon, found.lat)), 2)
