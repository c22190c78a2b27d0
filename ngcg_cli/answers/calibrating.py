"""Fitting a confidence: questions of which half have no right image, and what became of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ngcg_cli.answers.confidence import (
    Background,
    Calibration,
    Floats,
    Vectors,
    area_under_roc,
    calibration_error,
    fit,
    scale_of,
    terms,
)
from ngcg_cli.errors import DataError

Mask = npt.NDArray[np.bool_]

# Of each question so many hits are looked at, as `ngcg query` shows by default.
TOP = 10
# And so many others, evenly from the next best to the worst.
_OTHERS = 5
# How much one of them counts.
_OTHERS_WEIGHT = 0.2
# Questions of a gallery that are asked: enough to fit 21 numbers; more would repeat each other.
MOST_ASKED = 2000
LEAST_PLACES = 4
# How much of a gallery's weight is of sentences that are true of nothing seen from above.
NOWHERE = 0.3
# Each gallery weighs so many hits, whatever its size: what is unlike the others is not outvoted.
_WEIGHT = 10_000.0


class Gallery(NamedTuple):
    """Images, captions, and which are true of which.

    Attributes:
        name: of the data.
        images: (I, dim) unit vectors.
        texts: (Q, dim) unit vectors.
        shows: (P, I) whether an image shows a place.
        place: (Q,) the place, a row of `shows`, that each caption is true of.
    """

    name: str
    images: Vectors
    texts: Vectors
    shows: Mask
    place: npt.NDArray[np.int64]

    def of(self, places: npt.NDArray[np.int64]) -> Gallery:
        """The captions of some of the places, and the images that show any of these."""
        asked, image = np.isin(self.place, places), self.shows[places].any(axis=0)
        return Gallery(
            self.name,
            self.images[image],
            self.texts[asked],
            self.shows[:, image],
            self.place[asked],
        )


class Trial(NamedTuple):
    """What came of asking questions, half of them without the images that are right.

    Attributes:
        features: (N, 5) of `Background.features`, a row for each hit; and for some images that
            are no hits, so that the fit knows low scores too.
        right: (N,) whether the image shows what was asked.
        rank: (N,) of the hit from 1; 0 of what is none.
        present: (N,) whether a right image was there to be found.
    """

    features: Floats
    right: Mask
    rank: npt.NDArray[np.int64]
    present: Mask

    @property
    def first(self) -> Mask:
        """(N,) whether it is its question's first hit."""
        return self.rank == 1

    @property
    def hits(self) -> Trial:
        """The hits alone."""
        hit = self.rank > 0
        return Trial(self.features[hit], self.right[hit], self.rank[hit], self.present[hit])


def nowhere() -> list[str]:
    """Sentences that are true of no image seen from above."""
    return Path(__file__).with_name("nowhere.txt").read_text(encoding="utf-8").splitlines()


def calibrate(
    galleries: Sequence[Gallery],
    nowhere: Vectors,
    background: Background,
    fingerprint: str,
    facts: dict[str, Any],
    seed: int = 0,
) -> Calibration:
    """Fit a confidence, and measure it on places and sentences that it was not fitted on.

    The places of each gallery are split in two halves, the sentences too: what is fitted on one
    half is measured on the other, both ways, and the figures are the means. The coefficients that
    are kept are fitted on everything.

    Args:
        galleries: images and captions that the model was not trained on; each weighs the same.
        nowhere: (S, dim) sentences that are true of no image of any gallery.
        background: imagery and sentences to compare with.
        fingerprint: the model's.
        facts: what to remember beside the figures.
        seed: which half is which, and of which questions the right images are hidden.

    Raises:
        DataError: too few places to split.
    """
    rng = np.random.default_rng(seed)
    halves = [_halves(gallery, rng) for gallery in galleries]
    sentences = np.array_split(rng.permutation(nowhere), 2)
    empty = Calibration(background, np.empty((2, 0)), np.empty(0), fingerprint, {})
    measured: list[list[dict[str, float]]] = [[] for _ in galleries]
    for this, other in ((0, 1), (1, 0)):
        fitted = _fitted(empty, [half[this] for half in halves], sentences[this], rng)
        for gallery, found in zip((half[other] for half in halves), measured, strict=True):
            found.append(figures(fitted, gallery, sentences[other], rng))
    told = [
        {"data": gallery.name, "captions": len(gallery.texts), "places": len(set(gallery.place))}
        | _mean(found)
        for gallery, found in zip(galleries, measured, strict=True)
    ]
    made = _fitted(empty, galleries, nowhere, rng)
    return replace(made, facts={**facts, **_mean([_mean(found) for found in measured]), "of": told})


def ask(gallery: Gallery, background: Background, rng: np.random.Generator) -> Trial:
    """Ask every question; from every second, in random order, the right images are hidden."""
    order = rng.permutation(len(gallery.texts))[:MOST_ASKED].tolist()
    trials = []
    for number, question in enumerate(order):
        shows = gallery.shows[gallery.place[question]]
        shown = ~shows if number % 2 else np.ones(len(shows), bool)
        trials.append(_asked(gallery.texts[question], gallery.images, shows, shown, background))
    return _joined(trials)


def ask_nowhere(sentences: Vectors, gallery: Gallery, background: Background) -> Trial:
    """Ask what no image shows."""
    none = np.zeros(len(gallery.images), bool)
    return _joined([_asked(one, gallery.images, none, ~none, background) for one in sentences])


def figures(
    calibration: Calibration, gallery: Gallery, sentences: Vectors, rng: np.random.Generator
) -> dict[str, float]:
    """How well confidences tell right from wrong.

    `auroc`: of the first hits, the confidence where a right image was there against where it was
    hidden; `auroc_cosine`: the same by the bare cosine; `ece`: the expected calibration error of
    all hits; `nowhere`: the confidence of the first hit of a sentence about nothing that is seen
    from above, in the median.
    """
    trial = ask(gallery, calibration.background, rng).hits
    chance, cosine = calibration.chances(trial.features), trial.features[:, 0]
    here, gone = trial.first & trial.present, trial.first & ~trial.present
    lost = ask_nowhere(sentences, gallery, calibration.background).hits
    return {
        "auroc": area_under_roc(chance[here], chance[gone]),
        "auroc_cosine": area_under_roc(cosine[here], cosine[gone]),
        "ece": calibration_error(chance, trial.right),
        "nowhere": float(np.median(calibration.chances(lost.features)[lost.first])),
    }


def _halves(gallery: Gallery, rng: np.random.Generator) -> tuple[Gallery, Gallery]:
    places = rng.permutation(np.unique(gallery.place))
    if len(places) < LEAST_PLACES:
        raise DataError(
            f"holds {len(places)} different places, at least {LEAST_PLACES} are needed",
            where=gallery.name,
            hint='Give each row a "place": rows of one place are right answers to each other.',
        )
    first, second = np.array_split(places, 2)
    return gallery.of(first), gallery.of(second)


def _fitted(
    empty: Calibration, galleries: Sequence[Gallery], sentences: Vectors, rng: np.random.Generator
) -> Calibration:
    features, right, weight = [], [], []
    for gallery in galleries:
        asked = ask(gallery, empty.background, rng)
        lost = ask_nowhere(sentences, gallery, empty.background)
        for trial, share in ((asked, 1 - NOWHERE), (lost, NOWHERE)):
            features.append(trial.features)
            right.append(trial.right)
            counts = np.where(trial.rank > 0, 1.0, _OTHERS_WEIGHT)
            weight.append(counts * share * _WEIGHT / counts.sum())
    rows = np.concatenate(features)
    scale = scale_of(rows)
    coefficients = fit(terms(rows, scale), np.concatenate(right), np.concatenate(weight))
    return replace(empty, scale=scale, coefficients=coefficients)


def _asked(
    question: Vectors, images: Vectors, shows: Mask, shown: Mask, background: Background
) -> Trial:
    order = np.argsort(-np.where(shown, images @ question, -np.inf), kind="stable")
    count = int(shown.sum())
    best = min(TOP, count)
    others = np.linspace(best, count - 1, _OTHERS).astype(int) if count > best else np.empty(0, int)
    found = order[np.concatenate([np.arange(best), others])]
    return Trial(
        background.features(question, images[found]),
        shows[found],
        np.concatenate([np.arange(best) + 1, 0 * others]),
        np.full(len(found), bool((shows & shown).any())),
    )


def _joined(trials: Sequence[Trial]) -> Trial:
    return Trial(*(np.concatenate(parts) for parts in zip(*trials, strict=True)))


def _mean(found: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: round(float(np.mean([one[name] for one in found])), 4) for name in found[0]}
