"""Image to text where captions repeat: three ways to count, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from examples.tiny.measures.repeats import measure


def test_copies_fill_places_ties_are_shared_and_sentences_count_once() -> None:
    # Sentence 0 stands 6 times elsewhere and scores best; 1 is the image's own, and once another's.
    scores = np.array([[0.9, 0.5, 0.1]])
    own = np.array([[0, 1, 0]])
    copies = np.array([6, 2, 3])
    found = measure(scores, own, copies)
    assert found["ties_last"] == [0, 0, 100]  # at rank 8
    assert found["distinct"] == [0, 100, 100]
    found = measure(scores, own, np.array([4, 2, 3]))
    assert found["ties_last"] == [0, 0, 100]  # at rank 6, or at 5 by luck
    assert found["ties_random"] == pytest.approx([0, 50, 100])


def test_only_its_own_captions() -> None:
    found = measure(np.array([[0.2, 0.1]]), np.array([[2, 3]]), np.array([2, 3]))
    assert set(map(tuple, found.values())) == {(100, 100, 100)}
