"""Shares, distances and their intervals."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pair_samples import METRES_A_DEGREE, at, scored

from ngcg_cli.errors import NgcgError
from ngcg_cli.evaluation.cvg import cvg_text
from ngcg_cli.evaluation.metrics import (
    Bootstrap,
    Shares,
    distance_m,
    floor_percent,
    percent,
    recall_hits,
    within_hits,
)
from ngcg_cli.evaluation.retrieval import recall


def test_percent_is_never_rounded_up():
    assert percent(Fraction(2, 3)) == 66.66
    assert percent(Fraction(29, 100)) == 29.0  # 0.29 * 100 is 28.999999999999996
    assert percent(Fraction(99_999, 100_000)) == 99.99
    assert percent(Fraction(1, 1)) == 100.0
    assert percent(Fraction(0, 7)) == 0.0


@settings(derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(1, 10**6), st.data())
def test_percent_is_the_largest_with_two_decimals_below_the_share(total, data):
    hits = data.draw(st.integers(0, total))
    shown = percent(Fraction(hits, total))
    hundredths = round(shown * 100)
    assert shown == hundredths / 100
    assert hundredths * total <= hits * 10_000 < (hundredths + 1) * total
    assert abs(floor_percent(hits / total * 100) - shown) < 0.0101


def test_nan_never_becomes_a_figure():
    images, captions = scored(np.eye(3))
    captions[1, 1] = np.nan
    for protocol in (recall, cvg_text):
        with pytest.raises(NgcgError, match="query 1 holds NaN"):
            protocol([at(float(number)) for number in range(3)], images, captions)


def test_the_edges_of_recall_and_of_distance():
    assert {k: v.tolist() for k, v in recall_hits(np.array([1, 5, 10, 11])).items()} == {
        "R@1": [True, False, False, False],
        "R@5": [True, True, False, False],
        "R@10": [True, True, True, False],
    }
    assert within_hits(np.array([50.0, 50.001]))["L@50"].tolist() == [True, False]


@pytest.mark.parametrize(
    ("a", "b", "degrees"),
    [
        ((0, 0), (1, 0), 1),
        ((0, 0), (0, 1), 1),
        ((179, 0), (-179, 0), 2),
        ((0, 90), (123, 89), 1),
        ((0, 0), (180, 0), 180),
        ((0, 60), (180, 60), 60),
        ((5, 5), (5, 5), 0),
    ],
)
def test_great_circle_distance(a, b, degrees):
    assert float(distance_m(*a, *b)) == pytest.approx(degrees * METRES_A_DEGREE, abs=1e-6)


def shares_of(hits, clusters) -> Shares:
    return Shares({"R@1": np.array(hits, bool)}, np.array(clusters))


def test_intervals_are_the_binomial_ones_and_the_same_every_time():
    hits = [number % 2 for number in range(400)]
    (first,), mean = Bootstrap(400).shares(shares_of(hits, range(400)))
    low, high = first["R@1"]
    expected = 1.96 * 50 / math.sqrt(400)  # 4.9
    assert low == pytest.approx(50 - expected, abs=0.6)
    assert high == pytest.approx(50 + expected, abs=0.6)
    assert mean == first["R@1"]
    again = Bootstrap(400).shares(shares_of(hits, range(400)))
    assert again == ([first], mean)


def test_intervals_know_that_captions_of_an_image_are_not_independent():
    # 100 images of 4 captions that are all right or all wrong: as good as 100 queries.
    hits = np.repeat([number % 2 for number in range(100)], 4)
    (first,), _ = Bootstrap(100).shares(shares_of(hits, np.repeat(np.arange(100), 4)))
    low, high = first["R@1"]
    assert high - low == pytest.approx(2 * 1.96 * 5, abs=1.5)


def test_intervals_of_what_is_certain_have_no_width():
    (sure,), mean = Bootstrap(7).shares(shares_of([1] * 7, range(7)))
    assert sure == {"R@1": [100.0, 100.0]}
    assert mean == [100.0, 100.0]


def test_intervals_of_mean_and_median_by_hand():
    values, clusters = np.array([5.0, 5.0, 5.0]), np.arange(3)
    assert Bootstrap(3).mean(values, clusters) == [5.0, 5.0]
    assert Bootstrap(3).median(values, clusters) == [5.0, 5.0]
    # Two values: a draw has median 0, 5 or 10 with chances 1/4, 1/2, 1/4.
    assert Bootstrap(2).median(np.array([10.0, 0.0]), np.arange(2)) == [0.0, 10.0]
    draws = Bootstrap(50).median(np.arange(50.0), np.arange(50))
    assert draws[0] < 24.5 < draws[1]
    assert draws[0] > 10
