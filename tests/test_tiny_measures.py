"""The measures of `tiny` on disturbed photographs and on real rasters."""

from __future__ import annotations

import numpy as np
import pytest

from examples.tiny.measures import attributes, invariance, other_captions
from examples.tiny.measures.places import Box, fits, measure, questions
from examples.tiny.measures.robustness import WAYS
from ngcg_cli.encoder.checkpoint import load_encoder


def test_a_tile_is_right_where_it_shares_half_of_the_smaller_window() -> None:
    right = [Box("a.tif", 100, 100, 40, 40)]
    assert fits(Box("a.tif", 0, 0, 400, 400), right)  # the thing is small, and inside
    assert fits(Box("a.tif", 120, 100, 40, 40), right)
    assert not fits(Box("a.tif", 121, 100, 40, 40), right)
    assert not fits(Box("b.tif", 100, 100, 40, 40), right)


def test_questions_name_windows_that_can_be() -> None:
    asked = questions()
    assert len(asked) >= 60
    assert len({query for query, _ in asked}) == len(asked)
    for query, right in asked:
        assert right, query
        assert all(min(box[1:]) >= 0 and box.width > 0 and box.height > 0 for box in right), query


def test_the_rank_is_that_of_the_first_right_tile() -> None:
    asked = questions()
    nowhere = Box("elsewhere.tif", 0, 0, 10, 10)
    found = [[nowhere, own[0], *own] for _, own in asked]
    found[0] = [asked[0][1][0]]
    found[1] = [nowhere] * 5 + [asked[1][1][0]]
    found[2] = [nowhere]
    figures = measure(found)
    ranks = list(figures["ranks"].values())
    assert ranks[:4] == [1, 6, None, 2]
    assert figures["first"] == 1
    assert figures["among_five"] == len(asked) - 2


def test_disturbed_photographs_are_what_they_are_called() -> None:
    image = np.random.default_rng(0).integers(0, 256, (150, 150, 3), dtype=np.uint8)
    seen = {name: disturbed(image) for name, disturbed in WAYS.items()}
    assert all(picture.dtype == np.uint8 for picture in seen.values())
    np.testing.assert_array_equal(seen["clean"], image)
    assert seen["haze"].std() < 0.6 * image.std()
    assert seen["haze"].mean() > image.mean()
    red, _, blue = seen["colour cast"].mean((0, 1)) / image.mean((0, 1))
    assert red > 1.05
    assert blue < 0.85
    assert seen["2x coarser"].shape == (75, 75, 3)
    # A block's mean stays, its pixels do not.
    blocks = image.reshape(75, 2, 75, 2, 3).mean((1, 3))
    assert np.abs(seen["2x coarser"] - blocks).max() <= 1
    assert (seen["JPEG 40"] != image).mean() > 0.5


def test_it_does_not_matter_how_a_thing_is_said() -> None:
    encoder = load_encoder("tiny", "cpu")
    figures = invariance.measure(
        [
            encoder.encode_texts([text for pair in pairs for text in pair])
            for pairs in invariance.PAIRS.values()
        ]
    )
    assert figures["pairs"] > 60
    assert figures["won"] >= 90
    assert all(figures[kind] >= 75 for kind in invariance.PAIRS)


def test_a_pair_is_won_when_both_ways_are_nearest_to_each_other() -> None:
    near = [np.eye(8, dtype=np.float32)[[0, 0, 1, 1]] for _ in invariance.PAIRS]
    kinds = {kind: pairs[:2] for kind, pairs in invariance.PAIRS.items()}
    near[0][1] = (near[0][2] + np.eye(8, dtype=np.float32)[5]) / 2**0.5  # nearer to the others
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(invariance, "PAIRS", kinds)
        figures = invariance.measure(near)
    assert figures["pairs"] == 10
    assert figures["number"] == 50
    assert figures["won"] == 90


def test_a_tie_does_not_help_other_captions() -> None:
    images = np.eye(12, dtype=np.float32)
    texts = images[[0, 1, 2]].copy()
    texts[1] = images[[1, 3]].sum(0)  # the right one and another are level
    texts[2] = images[3:].sum(0)  # nine are nearer than the right one
    figures = other_captions.measure(images, texts, np.array([0, 1, 2]))
    assert figures == {"R@1": 33.33, "R@5": 66.67, "R@10": 66.67}


def test_other_tiles_can_be_asked_about() -> None:
    images, pairs = attributes.items(tiles=12, most=2)
    kinds = [pair.kind for pair in pairs]
    assert max(map(kinds.count, kinds)) == 2
    others, _ = attributes.items(tiles=2, first=attributes.FIRST_SEED + 10)
    np.testing.assert_array_equal(others, images[10:])
