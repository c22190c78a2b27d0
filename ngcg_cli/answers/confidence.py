"""How likely a hit is right: a calibrated figure in place of a bare cosine.

A cosine says little by itself: one question scores high on everything, another low on its best
place. So a hit's score is compared with what the same question scores against a fixed background
of other imagery, and with what other sentences score on the same tile. How the question's scores
spread over that background also tells whether it asks for anything that is seen from above. A
logistic regression turns these figures and their products into a chance. It is fitted by
`ngcg calibrate` for one model, and kept in a file beside it: background vectors, coefficients, and
the model's fingerprint.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ngcg_cli.beside import beside
from ngcg_cli.errors import ModelError

if TYPE_CHECKING:
    from ngcg_cli.search.hits import Hit

Vectors = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]

FILE = "confidence.safetensors"
FORMAT = 2
# Where even the best hit is less likely right than this, nothing that was asked for is there.
NOTHING_HERE = 0.1
# A question is compared with the mean of its so many best scores on the background images.
BEST = 20
_MAX_BYTES = 64 << 20
_SMALL = 1e-6
# What lies farther from the mean, in standard deviations, is taken to lie there: the fit saw none.
_FARTHEST = 4.0
FEATURES = 5
# The constant, the features, and their products of two.
TERMS = 1 + FEATURES + FEATURES * (FEATURES + 1) // 2
PARTS = ("images", "texts", "scale", "coefficients")


@dataclass(frozen=True)
class Background:
    """Imagery and sentences that have nothing to do with the question.

    Attributes:
        images: (I, dim) unit vectors.
        texts: (T, dim) unit vectors.
    """

    images: Vectors
    texts: Vectors

    def features(self, question: Vectors, tiles: Vectors) -> Floats:
        """What a hit's chance is told from.

        Args:
            question: (dim,) unit vector.
            tiles: (N, dim) unit vectors.

        Returns:
            (N, 5): the cosine; how far it lies above the question's best scores on the background
            images; how many standard deviations it lies above what the background sentences score
            on the tile; and of the question alone, the standard deviation and the mean of its
            scores on the background images. A question about nothing that is seen from above
            scores much the same on all of them.
        """
        scores = (tiles @ question).astype(np.float64)
        beside = (self.images @ question).astype(np.float64)
        best = np.sort(beside)[-BEST:].mean()
        others = tiles @ self.texts.T
        above = (scores - others.mean(axis=1)) / (others.std(axis=1) + _SMALL)
        same = np.ones(len(scores))
        return np.column_stack(
            [scores, scores - best, above, beside.std() * same, beside.mean() * same]
        )


@dataclass(frozen=True)
class Calibration:
    """A fitted confidence of one model.

    Attributes:
        background: what is compared with.
        scale: (2, 5), mean and standard deviation of `Background.features`.
        coefficients: (21,) of `terms`.
        fingerprint: of the model.
        facts: what it was fitted on and how well it does on what it was not fitted on.
    """

    background: Background
    scale: Floats
    coefficients: Floats
    fingerprint: str
    facts: dict[str, Any]

    def confidence(self, question: Vectors, tiles: Vectors) -> Floats:
        """(N,) the chance, 0 to 1, that each tile (N, dim) shows what the question asks."""
        return self.chances(self.background.features(question, tiles))

    def chances(self, features: Floats) -> Floats:
        """(N,) the chances of rows of `Background.features` (N, 5)."""
        return logistic(terms(features, self.scale), self.coefficients)

    def save(self, path: Path) -> None:
        """Write the file whole or not at all; NgcgError where the file system refuses."""
        from safetensors.numpy import save

        data = save(
            {
                "images": self.background.images.astype(np.float16),
                "texts": self.background.texts.astype(np.float16),
                "scale": self.scale.astype(np.float64),
                "coefficients": self.coefficients.astype(np.float64),
            },
            metadata={
                "format": str(FORMAT),
                "fingerprint": self.fingerprint,
                "facts": json.dumps(self.facts, sort_keys=True),
            },
        )
        with beside(path) as partial:
            partial.write_bytes(data)

    @classmethod
    def load(cls, path: Path, fingerprint: str, dim: int) -> Calibration | None:
        """Read a file; None where there is none, or it is of another model or length of vectors.

        Raises:
            ModelError: it is damaged.
        """
        from safetensors import SafetensorError, safe_open

        try:
            if not path.is_file() or path.stat().st_size > _MAX_BYTES:
                return None
            with safe_open(path, "numpy") as file:
                facts = file.metadata() or {}
                if facts.get("format") != str(FORMAT) or facts.get("fingerprint") != fingerprint:
                    return None
                parts = {name: file.get_tensor(name) for name in PARTS}
            told = json.loads(facts.get("facts", "{}"))
        except (OSError, SafetensorError, ValueError) as error:
            raise ModelError(
                f"is damaged ({error})", where=path, hint="Make it anew: ngcg calibrate --help."
            ) from error
        images, texts = (parts[name].astype(np.float32) for name in ("images", "texts"))
        shapes = {part.shape[1:] for part in (images, texts)}
        if len(shapes) == 1 and shapes != {(dim,)} and images.ndim == 2:
            return None  # of the same model, whose vectors were cut to another length
        scale, coefficients = (parts[name].astype(np.float64) for name in ("scale", "coefficients"))
        sound = shapes == {(dim,)} and len(images) >= BEST and len(texts) > 0
        sound = sound and scale.shape == (2, FEATURES) and coefficients.shape == (TERMS,)
        if not sound or not all(np.isfinite(part).all() for part in parts.values()):
            raise ModelError("is damaged", where=path, hint="Make it anew: ngcg calibrate --help.")
        return cls(Background(images, texts), scale, coefficients, fingerprint, told)


def with_confidence(hits: Sequence[Hit], question: Vectors, calibration: Calibration) -> list[Hit]:
    """Hits of one question, whose unit vector (dim,) is given, with their confidence."""
    tiles = np.array([hit.vector for hit in hits], np.float32)
    chances = calibration.confidence(question, tiles).tolist()
    return [replace(hit, confidence=chance) for hit, chance in zip(hits, chances, strict=True)]


def terms(features: Floats, scale: Floats) -> Floats:
    """What the regression adds up: 1, the features in units of their spread, and their products.

    The products let a figure count more where another is high: how far a score stands out says much
    of a question that tells images apart, and little of one that does not.

    Args:
        features: (N, 5).
        scale: (2, 5), the mean and standard deviation of each.

    Returns:
        (N, 21).
    """
    level = np.clip((features - scale[0]) / scale[1], -_FARTHEST, _FARTHEST)
    first, second = np.triu_indices(features.shape[1])
    return np.column_stack([np.ones(len(level)), level, level[:, first] * level[:, second]])


def scale_of(features: Floats) -> Floats:
    """(2, F): mean and standard deviation of features (N, F)."""
    return np.stack([features.mean(axis=0), features.std(axis=0) + _SMALL])


def fit(
    terms: Floats,
    right: npt.NDArray[np.bool_],
    weight: Floats | None = None,
    penalty: float = 10.0,
) -> Floats:
    """The coefficients (F,) of a logistic regression, by Newton's method.

    Args:
        terms: (N, F); a constant column is not held small.
        right: (N,) what came out.
        weight: (N,) how much each row counts; 1 by default.
        penalty: of the squares of the coefficients of terms of unit spread, in rows.
    """
    weight = np.ones(len(terms)) if weight is None else weight
    weights = np.zeros(terms.shape[1])
    hold = penalty * terms.std(axis=0) ** 2
    for _ in range(50):
        chance = logistic(terms, weights)
        slope = terms.T @ (weight * (right - chance)) - hold * weights
        curve = (terms * (weight * chance * (1 - chance))[:, None]).T @ terms
        step = np.linalg.solve(curve + np.diag(hold + _SMALL), slope)
        weights += step
        if np.abs(step).max() < 1e-8:
            break
    return weights


def area_under_roc(positive: Floats, negative: Floats) -> float:
    """The chance that a positive scores above a negative, ties counted half."""
    both = np.concatenate([positive, negative])
    order = np.argsort(both, kind="stable")
    ranks = np.empty(len(both))
    ranks[order] = np.arange(1, len(both) + 1)
    # Equal values share the mean of their ranks.
    _, group, count = np.unique(both, return_inverse=True, return_counts=True)
    ranks = (np.bincount(group, ranks) / count)[group]
    total = ranks[: len(positive)].sum() - len(positive) * (len(positive) + 1) / 2
    return float(total / (len(positive) * len(negative)))


def calibration_error(chance: Floats, right: npt.NDArray[np.bool_], bins: int = 10) -> float:
    """The expected calibration error over bins of equal width (Guo et al. 2017, equation 3)."""
    place = np.minimum((chance * bins).astype(int), bins - 1)
    gaps = [
        abs(chance[place == one].mean() - right[place == one].mean()) * (place == one).sum()
        for one in range(bins)
        if (place == one).any()
    ]
    return float(sum(gaps) / len(chance))


def search_paths(model_folder: Path, fingerprint: str, dim: int) -> Sequence[Path]:
    """Where a model's calibration may lie: in its folder, else among the user's own data."""
    from platformdirs import user_data_path

    own = user_data_path("ngcg", appauthor=False) / "confidence"
    return [model_folder / FILE, own / f"{fingerprint}-{dim}.safetensors"]


def logistic(features: Floats, coefficients: Floats) -> Floats:
    """(N,) chances, 0 to 1, of rows of features (N, F)."""
    return 1 / (1 + np.exp(-np.clip(features @ coefficients, -40, 40)))
