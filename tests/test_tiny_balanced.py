"""The last stage of `tiny`'s recipe: what its vectors are balanced by."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from examples.tiny.measures.hubs import hubness
from examples.tiny.stages import balanced
from examples.tiny.stages.corpus import Part
from examples.tiny.stages.panel import Panel, bare, unit
from ngcg_cli.encoder.checkpoint import load_encoder


def _vectors(count: int, seed: int) -> np.ndarray:
    """Unit vectors that hold nothing in the last two of 16 directions."""
    drawn = np.random.default_rng(seed).standard_normal((count, 16))
    drawn[:, -2:] = 0
    return unit(drawn)


def test_the_banks_are_what_the_vectors_lie_around(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(balanced, "POINTS", 3)
    centres, sentences = _vectors(3, 0), _vectors(90, 1)
    near = 0.01 * np.random.default_rng(2).standard_normal((100, 16))
    near[:, -2:] = 0
    photographs = unit(centres[[0] * 50 + [1] * 30 + [2] * 20] + near)
    made = balanced.fitted(photographs, sentences, 0.6)
    np.testing.assert_allclose(made.measures, [0.6, balanced.HEAT, balanced.SIZE])
    order = (torch.from_numpy(centres) @ made.images.T).argmax(1)
    torch.testing.assert_close(made.images[order], torch.from_numpy(centres), atol=0.01, rtol=0)
    np.testing.assert_allclose(made.image_shares[order].exp(), [0.5, 0.3, 0.2], atol=1e-6)
    # The directions that hold least are given up, and on average nothing is taken off.
    np.testing.assert_allclose((made.axes**2).sum(0)[-2:], 1, atol=1e-5)
    for of_images, vectors in ((True, photographs), (False, sentences)):
        nearness = made.nearness(torch.from_numpy(vectors), of_images=of_images)
        assert abs(nearness.mean() - made.usual[0 if of_images else 1]) < 1e-6


def test_fewer_vectors_than_clusters_are_each_one() -> None:
    photographs, sentences = _vectors(6, 0), _vectors(9, 1)
    made = balanced.fitted(np.repeat(photographs, 3, 0), sentences)
    assert len(made.images) == len(made.sentences) == 6
    near = torch.from_numpy(photographs) @ made.images.T
    torch.testing.assert_close(near.max(1).values, torch.ones(6))
    assert torch.isfinite(made.sentence_shares).all()


@pytest.mark.slow  # encodes the vocabulary
def test_a_student_is_balanced_and_learned_from_bare(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(balanced, "POINTS", 4)
    pixels = np.random.default_rng(0).integers(0, 256, (6, 150, 150, 3), dtype=np.uint8)
    captions = [("a lake .", f"place  {n}") for n in range(6)]
    train = Part(pixels, captions, ["lake"] * 6, [f"{n}.jpg" for n in range(6)])
    assert balanced.said(train)[:3] == ["a lake .", "place 0", "place 1"]
    student = bare(load_encoder("tiny", "cpu", precision="float32"))
    before = student.encode_texts(["a forest"])
    balanced.balance(student, train)
    assert student.module.balance is not None
    assert np.abs(student.encode_texts(["a forest"]) - before).max() > 0.05
    assert Panel([student]).models[0].module.balance is None
    np.testing.assert_array_equal(student.encode_texts(["a forest"]), before)


def test_places_are_counted_by_whom_they_go_to() -> None:
    corners = np.eye(20, dtype=np.float32)
    # Every query has the same first ten of twenty.
    same = unit(np.repeat(corners[:10].sum(0)[None], 4, 0))
    assert hubness(corners, same) == {"spread": 1.0, "never": 50.0}
    halves = np.concatenate([same, unit(np.repeat(corners[10:].sum(0)[None], 4, 0))])
    assert hubness(corners, halves) == {"spread": 0.0, "never": 0.0}
