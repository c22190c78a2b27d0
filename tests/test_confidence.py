"""Confidence: its fit, its measures, its file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ngcg_cli.answers.calibrating import Gallery, calibrate
from ngcg_cli.answers.calibrating import nowhere as sentences_about_nothing
from ngcg_cli.answers.confidence import (
    Background,
    Calibration,
    area_under_roc,
    calibration_error,
    fit,
)
from ngcg_cli.errors import DataError, ModelError

DIM = 24


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def gallery(places: int = 12, each: int = 20, noise: float = 0.5, seed: int = 0) -> Gallery:
    """Images and captions scattered around one direction for each place."""
    rng = np.random.default_rng(seed)
    centre = unit(rng.normal(size=(places, DIM)))
    place = np.repeat(np.arange(places), each)
    around = lambda: unit(centre[place] + noise * unit(rng.normal(size=(len(place), DIM))))  # noqa: E731
    return Gallery("drawn", around(), around(), np.arange(places)[:, None] == place, place)


def background(seed: int = 1) -> Background:
    rng = np.random.default_rng(seed)
    return Background(unit(rng.normal(size=(64, DIM))), unit(rng.normal(size=(64, DIM))))


def nowhere(count: int = 40) -> np.ndarray:
    """Sentences with no direction in common with any image: they score the same on all."""
    return unit(np.ones(DIM) + 0.1 * np.random.default_rng(2).normal(size=(count, DIM)))


def made_of(*galleries: Gallery) -> Calibration:
    return calibrate(galleries, nowhere(), background(), "print", {"background": "drawn too"})


def test_the_fit_finds_the_coefficients_that_made_the_data() -> None:
    rng = np.random.default_rng(0)
    features = np.column_stack([rng.normal(size=(20_000, 2)), np.ones(20_000)])
    true = np.array([1.5, -2.0, -0.5])
    right = rng.random(20_000) < 1 / (1 + np.exp(-features @ true))
    np.testing.assert_allclose(fit(features, right), true, atol=0.1)


def test_area_under_roc_counts_pairs_and_halves_ties() -> None:
    assert area_under_roc(np.array([2.0, 3.0]), np.array([0.0, 1.0])) == 1
    assert area_under_roc(np.array([1.0]), np.array([1.0])) == 0.5
    assert area_under_roc(np.array([1.0, 0.0]), np.array([0.5])) == 0.5


def test_calibration_error_is_the_gap_between_said_and_found() -> None:
    right = np.array([True] * 7 + [False] * 3)
    assert calibration_error(np.full(10, 0.7), right) == pytest.approx(0)
    assert calibration_error(np.full(10, 0.95), right) == pytest.approx(0.25)


def test_hits_of_hidden_places_get_less_confidence() -> None:
    made = made_of(gallery())
    assert made.facts["auroc"] > 0.9
    assert made.facts["ece"] < 0.08
    assert made.facts["background"] == "drawn too"
    data = gallery(seed=0)
    same = made.confidence(data.texts[0], data.images[data.shows[0]])
    other = made.confidence(data.texts[0], data.images[data.shows[1]])
    assert same.min() > other.max()
    assert ((other >= 0) & (same <= 1)).all()


def test_a_question_about_nothing_gets_little_confidence() -> None:
    made, data = made_of(gallery()), gallery()
    best = lambda texts: np.array([made.confidence(text, data.images).max() for text in texts])  # noqa: E731
    assert made.facts["nowhere"] < 0.1
    assert np.median(best(nowhere(60)[40:])) < 0.2 < 0.8 < np.median(best(data.texts))


def test_each_data_set_is_measured_and_none_is_outvoted() -> None:
    # Images of the second are hard to tell apart, and it has ten times as many questions.
    small, hard = gallery(each=6), gallery(each=60, noise=2.5, seed=5)
    both = made_of(small, hard)
    assert [one["captions"] for one in both.facts["of"]] == [72, 720]
    assert max(one["ece"] for one in both.facts["of"]) < 0.12
    alone = made_of(small)
    said = lambda made: np.mean([made.confidence(t, hard.images).max() for t in hard.texts[::9]])  # noqa: E731
    assert said(both) < said(alone)


def test_the_sentences_about_nothing_are_whole() -> None:
    lines = sentences_about_nothing()
    assert len(lines) == len(set(lines)) >= 200
    assert all(line == line.strip() and line for line in lines)


def test_a_file_is_read_back_only_for_its_model(tmp_path: Path) -> None:
    made = made_of(gallery())
    made.save(tmp_path / "confidence.safetensors")
    read = Calibration.load(tmp_path / "confidence.safetensors", "print", DIM)
    assert read is not None
    data = gallery()
    np.testing.assert_allclose(
        read.confidence(data.texts[3], data.images),
        made.confidence(data.texts[3], data.images),
        atol=2e-3,  # the background is kept in 16 bits
    )
    assert read.facts == made.facts
    assert Calibration.load(tmp_path / "confidence.safetensors", "another", DIM) is None
    assert Calibration.load(tmp_path / "nothing.safetensors", "print", DIM) is None
    assert Calibration.load(tmp_path / "confidence.safetensors", "print", DIM // 2) is None
    (tmp_path / "confidence.safetensors").write_bytes(b"no such format")
    with pytest.raises(ModelError, match="damaged"):
        Calibration.load(tmp_path / "confidence.safetensors", "print", DIM)


def test_too_few_places_are_refused() -> None:
    with pytest.raises(DataError, match="3 different places"):
        made_of(gallery(places=3))
