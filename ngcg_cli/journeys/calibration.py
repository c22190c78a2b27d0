"""Confidence of a model: made from captions with places, found again when a query is asked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ngcg_cli.answers.confidence import Background, Calibration, search_paths
from ngcg_cli.errors import ModelError

if TYPE_CHECKING:
    from ngcg_cli.datasets.pairs import Pair
    from ngcg_cli.encoder.encoder import Encoder

# Background images and sentences that are kept: enough for steady means, half a megabyte each.
BACKGROUND = 1024


def calibrate_model(
    encoder: Encoder,
    data: Path,
    background: Path,
    out: Path | None = None,
    seed: int = 0,
) -> tuple[Path, Calibration]:
    """Fit a confidence and write it where `load_calibration` finds it.

    Args:
        encoder: the model.
        data: pairs that it was not trained on; rows of one "place" are right answers to each other.
        background: pairs of other imagery, to compare with.
        out: the file; by default one among the user's own data, found by the model's fingerprint.
            `confidence.safetensors` in the model's folder is found too, and goes with it.
        seed: of what is drawn.

    Returns:
        The file, and what is in it.

    Raises:
        DataError: a data set is not in order, or too small.
        ModelError: the file cannot be written.
    """
    from ngcg_cli.answers.calibrating import Gallery, calibrate
    from ngcg_cli.datasets import load_pairs

    rng = np.random.default_rng(seed)
    pairs, others = load_pairs(data), load_pairs(background)
    others = [others[row] for row in np.sort(rng.permutation(len(others))[:BACKGROUND])]
    images, texts = _embedded(encoder, others)
    owner = np.concatenate([[0], np.cumsum([len(pair.captions) for pair in others])[:-1]])
    drawn = owner + [rng.integers(len(pair.captions)) for pair in others]
    beside = Background(images, texts[drawn])

    names = [pair.place or pair.name for pair in pairs]
    number = {name: row for row, name in enumerate(dict.fromkeys(names))}
    place = np.array([number[name] for name in names], np.int64)
    images, texts = _embedded(encoder, pairs)
    captions = np.array([len(pair.captions) for pair in pairs])
    gallery = Gallery(images, texts, place, np.repeat(place, captions))
    facts: dict[str, Any] = {
        "data": data.name,
        "background": background.name,
        "captions": len(texts),
        "places": len(number),
    }
    calibration = calibrate(gallery, beside, encoder.fingerprint, facts, seed)
    path = out or search_paths(encoder.tokenizer.folder, encoder.fingerprint)[-1]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        calibration.save(path)
    except OSError as error:
        raise ModelError(
            f"cannot be written: {error.strerror}", where=path, hint="Name a file with --out."
        ) from error
    return path, calibration


def load_calibration(encoder: Encoder) -> Calibration | None:
    """The confidence of a model, None where nobody has calibrated it.

    Raises:
        ModelError: there is one, and it is damaged.
    """
    for path in search_paths(encoder.tokenizer.folder, encoder.fingerprint):
        found = Calibration.load(path, encoder.fingerprint, encoder.dim)
        if found is not None:
            return found
    return None


def _embedded(encoder: Encoder, pairs: Sequence[Pair]) -> tuple[np.ndarray, np.ndarray]:
    from ngcg_cli.datasets.images import ImageFailures
    from ngcg_cli.evaluation.embed import EmbeddingCache, embed_captions, embed_images

    cache, failures = (
        EmbeddingCache(EmbeddingCache.default_folder()),
        ImageFailures(len(pairs), 0.0),
    )
    images = embed_images(encoder, [pair.image for pair in pairs], failures, cache, lambda _: None)
    texts = embed_captions(
        encoder, [text for pair in pairs for text in pair.captions], cache, lambda _: None
    )
    return images, texts
