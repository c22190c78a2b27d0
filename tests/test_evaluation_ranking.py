"""The ranking core against a brute-force reference, and what it must never let pass."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ngcg_cli.errors import NgcgError
from ngcg_cli.evaluation.ranking import Candidates, group_numbers, rank_of_truth

FIXED = settings(
    derandomize=True,
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow],  # a busy machine is no failure
)


def brute_force_rank(query, gallery, wanted, groups, allowed=None):
    """Sorts the gallery, wrong items before correct ones of the same score, and looks."""
    items = range(len(gallery)) if allowed is None else allowed
    # Whole numbers, so that scores are exact and ties are ties.
    scored = [(-int(np.dot(query, gallery[i])), int(groups[i] == wanted), i) for i in items]
    for position, (_, is_correct, _) in enumerate(sorted(scored), start=1):
        if is_correct:
            return position
    return None


@st.composite
def tasks(draw):
    dim = draw(st.integers(1, 4))
    queries, items = draw(st.integers(1, 8)), draw(st.integers(1, 30))
    # Few distinct values: ties and equal vectors are the rule.
    small = st.integers(-2, 2)
    gallery = draw(hnp.arrays(np.int64, (items, dim), elements=small))
    groups = draw(hnp.arrays(np.int64, items, elements=st.integers(0, 6)))
    query = draw(hnp.arrays(np.int64, (queries, dim), elements=small))
    wanted = draw(hnp.arrays(np.int64, queries, elements=st.sampled_from(groups.tolist())))
    return query, gallery, wanted, groups


@FIXED
@given(tasks(), st.sampled_from([1, 7, 64, 10_000]))
def test_rank_and_top_agree_with_brute_force(task, block_scores):
    query, gallery, wanted, groups = task
    found = rank_of_truth(
        query.astype("f4"), gallery.astype("f4"), wanted, groups, block_scores=block_scores
    )
    for row in range(len(query)):
        expected = brute_force_rank(query[row], gallery, wanted[row], groups)
        assert found.rank[row] == expected
        scores = gallery @ query[row]
        assert scores[found.top[row]] == scores.max() == found.score[row]
        # What is shown as the first hit is correct exactly when the rank is 1.
        assert (groups[found.top[row]] == wanted[row]) == (expected == 1)


@FIXED
@given(tasks(), st.data())
def test_candidates_agree_with_brute_force(task, data):
    query, gallery, wanted, groups = task
    size = data.draw(st.integers(1, len(gallery)))
    index = np.empty((len(query), size), np.int64)
    for row in range(len(query)):
        truth = int(np.flatnonzero(groups == wanted[row])[0])
        others = [i for i in range(len(gallery)) if i != truth]
        chosen = [truth, *data.draw(st.permutations(others))][:size]
        index[row] = data.draw(st.permutations(chosen))
    cost = (index * 7 % 11).astype(float)
    found = rank_of_truth(
        query.astype("f4"),
        gallery.astype("f4"),
        wanted,
        groups,
        candidates=Candidates(index, cost),
        block_scores=40,
    )
    for row in range(len(query)):
        assert found.rank[row] == brute_force_rank(
            query[row], gallery, wanted[row], groups, allowed=index[row].tolist()
        )
        scores = gallery[index[row]] @ query[row]
        tied = index[row][scores == scores.max()]
        wrong = [i for i in tied if groups[i] != wanted[row]]
        assert found.top[row] in (wrong or tied)
        if wrong:
            assert found.top[row] * 7 % 11 == max(i * 7 % 11 for i in wrong)


def test_equal_vectors_tie_exactly_wherever_they_stand():
    # A plain float32 matrix product gives some of these equal rows another last bit.
    generator = np.random.default_rng(3)
    vector = generator.normal(size=515).astype("f4")
    gallery = (generator.normal(size=(101, 515)) * 0.01).astype("f4")
    places = generator.choice(101, size=60, replace=False)
    gallery[places] = vector
    queries = (vector + 0.3 * generator.normal(size=(17, 515))).astype("f4")
    for truth in places:
        found = rank_of_truth(queries, gallery, np.full(17, truth), np.arange(101))
        assert found.rank.tolist() == [60] * 17
        assert set(found.top) <= set(places) - {truth}


def test_a_model_that_says_the_same_to_everything_gets_the_last_rank():
    vectors = np.ones((50, 8), "f4") / np.float32(8**0.5)
    found = rank_of_truth(vectors, vectors, np.arange(50), np.arange(50))
    assert found.rank.tolist() == [50] * 50


def test_several_correct_items_the_best_counts_and_none_stands_in_the_way():
    gallery = np.array([[4], [3], [3], [2], [1]], "f4")
    groups = np.array([9, 0, 0, 8, 0])
    found = rank_of_truth(np.ones((1, 1), "f4"), gallery, np.array([0]), groups)
    assert (found.rank[0], found.top[0], found.score[0]) == (2, 0, 4)


def test_negative_zero_ties_with_zero():
    gallery = np.array([[0.0, 1.0], [-0.0, 1.0]], "f4")
    found = rank_of_truth(np.array([[1, 1]], "f4"), gallery, np.array([0]), np.array([0, 1]))
    assert found.rank.tolist() == [2]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30])
@pytest.mark.parametrize("side", ["query", "gallery"])
def test_what_is_not_a_number_is_an_error_and_named(bad, side):
    vectors = {"query": np.ones((3, 4), "f4"), "gallery": np.ones((3, 4), "f4")}
    vectors[side][2, 1] = bad
    with pytest.raises(NgcgError, match=f"{side} 2 holds NaN or infinity"):
        rank_of_truth(vectors["query"], vectors["gallery"], np.arange(3), np.arange(3))


def test_a_query_without_a_correct_item_is_an_error():
    vectors = np.eye(3, dtype="f4")
    with pytest.raises(NgcgError, match="the first is query 1"):
        rank_of_truth(vectors, vectors, np.array([0, 5, 2]), np.arange(3))


def test_memory_is_bounded_by_the_block_not_by_the_matrix():
    generator = np.random.default_rng(0)
    queries = generator.normal(size=(4000, 8)).astype("f4")
    gallery = generator.normal(size=(6000, 8)).astype("f4")
    block = 300_000
    tracemalloc.start()
    whole = rank_of_truth(queries, gallery, np.arange(4000), np.arange(6000), block_scores=block)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 6 * block + 4_000_000  # the full matrix would be 96 MB
    other = rank_of_truth(queries, gallery, np.arange(4000), np.arange(6000), block_scores=12_345)
    assert np.array_equal(whole.top, other.top)


def test_groups_are_numbered_in_order_of_appearance():
    assert group_numbers(["b", "a", "b", None]).tolist() == [0, 1, 0, 2]
