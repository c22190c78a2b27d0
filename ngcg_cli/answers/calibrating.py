"""Fitting a confidence: questions of which half have no right image, and what became of them."""

from __future__ import annotations

from collections.abc import Sequence
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
    logistic,
)
from ngcg_cli.errors import DataError

# Of each question so many hits are looked at, as `ngcg query` shows by default.
TOP = 10
# Halves of the places that are hidden in turn, so that each question is asked both ways.
ROUNDS = 8
LEAST_PLACES = 4


class Gallery(NamedTuple):
    """Images and captions that say which place they show.

    Attributes:
        images: (I, dim) unit vectors.
        texts: (Q, dim) unit vectors.
        image_place: (I,) the place of each image.
        text_place: (Q,) the place that each caption is true of.
    """

    images: Vectors
    texts: Vectors
    image_place: npt.NDArray[np.int64]
    text_place: npt.NDArray[np.int64]

    def of(self, places: npt.NDArray[np.int64]) -> Gallery:
        """Only what belongs to some of the places."""
        image, text = np.isin(self.image_place, places), np.isin(self.text_place, places)
        return Gallery(
            self.images[image], self.texts[text], self.image_place[image], self.text_place[text]
        )


class Trial(NamedTuple):
    """What came of asking every question while half of the places were hidden.

    Attributes:
        features: (N, 4) of `Background.features`, a row for each hit.
        right: (N,) whether the hit's image is of the question's place.
        first: (N,) whether the hit is its question's first.
        present: (N,) whether the question's place was there to be found.
    """

    features: Floats
    right: npt.NDArray[np.bool_]
    first: npt.NDArray[np.bool_]
    present: npt.NDArray[np.bool_]


def calibrate(
    gallery: Gallery,
    background: Background,
    fingerprint: str,
    facts: dict[str, Any],
    seed: int = 0,
) -> Calibration:
    """Fit a confidence, and measure it on places that it was not fitted on.

    The places are split in two halves: what is fitted on one is measured on the other, both ways.
    The figures are the means; the coefficients that are kept are fitted on all places.

    Args:
        gallery: images and captions that the model was not trained on.
        background: imagery and sentences to compare with.
        fingerprint: the model's.
        facts: what to remember beside the figures: the data's names.
        seed: which places are hidden when.

    Raises:
        DataError: too few places to split.
    """
    places = np.unique(gallery.text_place)
    if len(places) < LEAST_PLACES:
        raise DataError(
            f"holds {len(places)} different places, at least {LEAST_PLACES} are needed",
            hint='Give each row a "place": rows of one place are right answers to each other.',
        )
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(places)
    halves = np.array_split(shuffled, 2)
    measured = []
    for fitted_on, kept in (halves, halves[::-1]):
        coefficients = fit(*_fitting(ask(gallery.of(fitted_on), background, rng)))
        measured.append(figures(ask(gallery.of(kept), background, rng), coefficients))
    told = {name: round(float(np.mean([m[name] for m in measured])), 4) for name in measured[0]}
    coefficients = fit(*_fitting(ask(gallery, background, rng)))
    return Calibration(background, coefficients, fingerprint, {**facts, **told})


def ask(gallery: Gallery, background: Background, rng: np.random.Generator) -> Trial:
    """Ask every question in `ROUNDS` galleries, from each of which half of the places are gone."""
    places = np.unique(gallery.text_place)
    trials = []
    for round_number in range(ROUNDS):
        if round_number % 2 == 0:
            hidden = rng.permutation(places)[: len(places) // 2]
        else:
            hidden = np.setdiff1d(places, hidden)
        trials.append(_ask(gallery, background, hidden, rng))
    return Trial(*(np.concatenate(parts) for parts in zip(*trials, strict=True)))


def figures(trial: Trial, coefficients: Floats) -> dict[str, float]:
    """How well confidences tell right from wrong.

    `auroc`: of the first hits, the confidence where the place was there against where it was not;
    `auroc_cosine`: the same by the bare cosine; `ece`: the expected calibration error of all hits.
    """
    chance = logistic(trial.features, coefficients)
    here, gone = trial.first & trial.present, trial.first & ~trial.present
    cosine = trial.features[:, 0]
    return {
        "auroc": area_under_roc(chance[here], chance[gone]),
        "auroc_cosine": area_under_roc(cosine[here], cosine[gone]),
        "ece": calibration_error(chance, trial.right),
    }


def _fitting(trial: Trial) -> tuple[Floats, npt.NDArray[np.bool_]]:
    return trial.features, trial.right


def _ask(
    gallery: Gallery,
    background: Background,
    hidden: Sequence[int] | npt.NDArray[np.int64],
    rng: np.random.Generator,
) -> Trial:
    shown = ~np.isin(gallery.image_place, hidden)
    images, place = gallery.images[shown], gallery.image_place[shown]
    # Enough questions to fit four numbers; all of them would only repeat each other.
    asked = rng.permutation(len(gallery.texts))[:1000]
    features, right, first, present = [], [], [], []
    for number in asked.tolist():
        text = gallery.texts[number]
        best = np.argsort(-(images @ text), kind="stable")[:TOP]
        rows = background.features(text, images[best])
        features.append(rows)
        right.append(place[best] == gallery.text_place[number])
        first.append(np.arange(len(best)) == 0)
        present.append(np.full(len(best), gallery.text_place[number] in place))
    return Trial(*(np.concatenate(parts) for parts in (features, right, first, present)))
