"""Confidence: its fit, its measures, its file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ngcg_cli.answers.calibrating import Gallery, calibrate
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
    return Gallery(around(), around(), place, place)


def background(seed: int = 1) -> Background:
    rng = np.random.default_rng(seed)
    return Background(unit(rng.normal(size=(64, DIM))), unit(rng.normal(size=(64, DIM))))


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
    made = calibrate(gallery(), background(), "print", {"data": "drawn"})
    assert made.facts["auroc"] > 0.9
    assert made.facts["ece"] < 0.08
    assert made.facts["data"] == "drawn"
    data = gallery(seed=0)
    same = made.confidence(data.texts[0], data.images[data.image_place == 0])
    other = made.confidence(data.texts[0], data.images[data.image_place == 1])
    assert same.min() > other.max()
    assert ((other >= 0) & (same <= 1)).all()


def test_a_file_is_read_back_only_for_its_model(tmp_path: Path) -> None:
    made = calibrate(gallery(), background(), "print", {})
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
    with pytest.raises(ModelError, match="damaged"):
        Calibration.load(tmp_path / "confidence.safetensors", "print", DIM + 1)
    (tmp_path / "confidence.safetensors").write_bytes(b"no such format")
    with pytest.raises(ModelError, match="damaged"):
        Calibration.load(tmp_path / "confidence.safetensors", "print", DIM)


def test_too_few_places_are_refused() -> None:
    with pytest.raises(DataError, match="3 different places"):
        calibrate(gallery(places=3), background(), "print", {})
