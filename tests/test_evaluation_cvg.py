"""The protocol of CVG-Text on data whose figures are worked out on paper."""

from __future__ import annotations

import json

import numpy as np
import pytest
from pair_samples import METRES_A_DEGREE, at, pair, scored

from ngcg_cli.datasets import Pair
from ngcg_cli.errors import DataError
from ngcg_cli.evaluation.cvg import cvg_text


def test_cvg_recall_localisation_and_deviation_by_view():
    pairs = [at(0.0), at(0.0004, "single_view"), at(0.001), at(0.002, "single_view")]
    table = [
        [0.5, 0.9, 0.1, 0.1],  # finds 0.0004 degrees away: 44.48 m; its own second
        [0.1, 0.9, 0.1, 0.1],  # right
        [0.5, 0.1, 0.6, 0.9],  # finds 0.001 degrees away: 111.19 m
        [0.9, 0.1, 0.1, 0.5],  # finds 0.002 degrees away: 222.39 m
    ]
    report = cvg_text(pairs, *scored(table))
    assert report.figures == {
        "overall": {
            "R@1": 25.0,
            "R@5": 100.0,
            "R@10": 100.0,
            "L@50": 50.0,
            "L@100": 50.0,
            "L@150": 75.0,
            "deviation_km": round((0.0004 + 0.001 + 0.002) / 4 * METRES_A_DEGREE / 1000, 6),
            "count": 4,
        },
        "panorama": {
            "R@1": 0.0,
            "R@5": 100.0,
            "R@10": 100.0,
            "L@50": 50.0,
            "L@100": 50.0,
            "L@150": 100.0,
            "deviation_km": round((0.0004 + 0.001) / 2 * METRES_A_DEGREE / 1000, 6),
            "count": 2,
        },
        "single_view": {
            "R@1": 50.0,
            "R@5": 100.0,
            "R@10": 100.0,
            "L@50": 50.0,
            "L@100": 50.0,
            "L@150": 50.0,
            "deviation_km": round(0.002 / 2 * METRES_A_DEGREE / 1000, 6),
            "count": 2,
        },
    }
    assert report.figures["overall"]["deviation_km"] == 0.094516
    assert [row["error_m"] for row in report.rows()] == [44.48, 0.0, 111.19, 222.39]
    assert [row["rank"] for row in report.rows()] == [2, 1, 2, 2]


def test_cvg_only_the_hundred_nearest_are_ranked():
    # 150 images along a meridian, 0.001 degrees apart.
    pairs = [at(number * 0.001) for number in range(150)]
    table = np.zeros((150, 150))
    np.fill_diagonal(table, 0.5)
    table[0, 99] = 0.4  # the hundredth nearest of the first: ranked, behind
    table[0, 100] = 0.9  # the next: not ranked
    table[149, 50] = 0.9  # the hundredth nearest of the last: ranked, ahead
    table[148, 49] = 0.9  # the hundredth of the last but one is 50: not ranked
    figures = cvg_text(pairs, *scored(table)).figures["overall"]
    assert figures["R@1"] == 99.33  # all but the last
    assert figures["R@5"] == 100.0
    assert figures["deviation_km"] == round(99 * 0.001 / 150 * METRES_A_DEGREE / 1000, 6)


def test_cvg_positions_agree_to_seven_decimals():
    def right(difference: float) -> float:
        pairs = [at(10.0), at(10.0 + difference), at(20.0)]
        table = [[0.1, 0.9, 0.0], [0.0, 0.9, 0.1], [0.0, 0.1, 0.9]]
        return cvg_text(pairs, *scored(table)).figures["overall"]["R@1"]

    assert right(0.00000001) == 100.0
    assert right(0.0000001) == 66.66


def test_cvg_great_circle_shrinks_with_latitude_and_crosses_the_antimeridian():
    # At 60 degrees north a degree of longitude is half as long: 0.0008 of it are 44.48 m.
    pairs = [at(60.0, lon=179.9996), at(60.0, lon=-179.9996)]
    rows = list(cvg_text(pairs, *scored([[0.1, 0.9], [0.1, 0.9]])).rows())
    assert rows[0]["error_m"] == pytest.approx(44.48, abs=0.011)


def test_cvg_of_tied_first_hits_the_farthest_counts():
    pairs = [at(0.0), at(0.0003), at(0.001)]
    figures = cvg_text(pairs, *scored([[1, 1, 1], [0, 1, 0], [0, 0, 1]])).figures["overall"]
    assert (figures["R@1"], figures["L@100"], figures["L@150"]) == (66.66, 66.66, 100.0)


def test_cvg_a_view_without_queries_has_no_figures_but_a_count():
    figures = cvg_text([at(0.0), at(1.0)], *scored(np.eye(2)), intervals=True).figures
    assert figures["single_view"]["count"] == 0
    assert figures["single_view"]["R@1"] is None
    assert figures["single_view"]["deviation_km"] is None
    assert figures["ci"]["single_view"] is None
    assert json.loads(json.dumps(figures, allow_nan=False)) == figures


def test_cvg_wants_positions():
    with pytest.raises(DataError, match="1 of 2 images have no position, such as a"):
        cvg_text([at(0.0), pair("a")], *scored(np.eye(2)))


def test_cvg_by_name_tells_files_of_one_position_apart():
    def at_corner(name: str) -> Pair:
        return pair(name, lat=35.1, lon=139.7)

    pairs = [at_corner("x-satellite/35.1,139.7_a_b.png"), at_corner("y/35.1,139.7_90.png")]
    table = [[0.1, 0.9], [0.1, 0.9]]
    for match, expected in (("position", 100.0), ("name", 50.0)):
        assert cvg_text(pairs, *scored(table), match=match).figures["overall"]["R@1"] == expected
    twin = at_corner("other-satellite/35.1,139.7_a_b.png")
    table = [[0.1, 0.0, 0.9], [0.0, 0.9, 0.1], [0.1, 0.0, 0.9]]
    report = cvg_text([*pairs, twin], *scored(table), match="name")
    assert report.figures["overall"]["R@1"] == 100.0, "the same base name in another folder"
