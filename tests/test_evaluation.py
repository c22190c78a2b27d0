"""Each protocol on data whose figures are worked out on paper, and the figures themselves."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from pair_samples import pair, scored

from ngcg_cli.errors import DataError, NgcgError, UsageError
from ngcg_cli.evaluation.cvg import cvg_text
from ngcg_cli.evaluation.report import ROW_FIELDS, check_rows_path, write_rows
from ngcg_cli.evaluation.retrieval import recall

# --- recall ----------------------------------------------------------------------------------


def test_recall_of_ranks_one_to_twelve():
    # Caption i prefers the i images before its own, so its rank is i + 1; image j is preferred
    # to its own caption by the 11 - j captions after it, so its rank is 12 - j.
    table = [[1 if j < i else 0.5 if j == i else 0 for j in range(12)] for i in range(12)]
    report = recall([pair(str(i)) for i in range(12)], *scored(table))
    one_five_ten_of_twelve = {"R@1": 8.33, "R@5": 41.66, "R@10": 83.33}
    assert report.figures == {
        "protocol": "recall",
        "images": 12,
        "captions": 12,
        "text_to_image": one_five_ten_of_twelve,
        "image_to_text": one_five_ten_of_twelve,
        "mean": 44.44,  # (1 + 5 + 10) / 36
    }
    rows = list(report.rows())
    assert [row["rank"] for row in rows] == [*range(1, 13), *range(12, 0, -1)]
    assert rows[3] == {
        "direction": "text_to_image",
        "query": "3 0",
        "truth": "3",
        "view": None,
        "rank": 4,
        "top_hit": "0",
        "score": 1.0,
        "error_m": None,
    }
    assert (rows[12]["query"], rows[12]["top_hit"]) == ("0", "1 0")


def test_recall_any_caption_of_the_image_counts():
    #           a     b
    table = [
        [0.9, 0.1],  # a 0: right
        [0.2, 0.8],  # a 1: wrong
        [0.7, 0.6],  # b 0: wrong
    ]
    figures = recall([pair("a", 2), pair("b")], *scored(table)).figures
    assert figures["text_to_image"] == {"R@1": 33.33, "R@5": 100.0, "R@10": 100.0}
    # a's first caption is its own; b's first is "a 1", its own is second.
    assert figures["image_to_text"] == {"R@1": 50.0, "R@5": 100.0, "R@10": 100.0}
    assert figures["mean"] == 80.55  # (1/3 + 1 + 1 + 1/2 + 1 + 1) / 6 = 29/36
    assert (figures["images"], figures["captions"]) == (2, 3)


def test_recall_the_same_place_is_correct_where_places_are_known():
    table = [[0.1, 0.9, 0.5], [0.9, 0.1, 0.5], [0.9, 0.5, 0.1]]
    apart = [pair("a"), pair("b"), pair("c")]
    together = [pair("a", place="p"), pair("b", place="p"), pair("c")]
    assert recall(apart, *scored(table)).figures["text_to_image"]["R@1"] == 0.0
    assert recall(together, *scored(table)).figures["text_to_image"]["R@1"] == 66.66
    # A place that is called like an image's file is not that image.
    named = [pair("a", place="c"), pair("b"), pair("c")]
    assert recall(named, *scored(table)).figures["text_to_image"]["R@1"] == 0.0


def test_recall_a_model_that_says_the_same_to_everything_scores_nothing():
    figures = recall([pair(str(i)) for i in range(11)], *scored(np.ones((11, 11)))).figures
    assert figures["text_to_image"] == {"R@1": 0.0, "R@5": 0.0, "R@10": 0.0}
    assert figures["mean"] == 0.0


def test_recall_rows_tell_the_error_where_positions_are_known():
    pairs = [pair("a", lon=0.0, lat=0.0), pair("b", lon=0.0, lat=0.001), pair("c")]
    rows = list(recall(pairs, *scored([[0, 1, 0], [0, 1, 0], [0, 1, 0]])).rows())
    assert [row["error_m"] for row in rows[:3]] == [111.19, 0.0, None]


# --- geotext ---------------------------------------------------------------------------------


def test_geotext_the_same_building_is_correct():
    pairs = [
        pair("0001/1.jpg", 2, place="0001"),
        pair("0001/2.jpg", 1, place="0001"),
        pair("0002/1.jpg", 1, place="0002"),
    ]
    table = [
        [0.1, 0.9, 0.2],  # of 0001/1, finds 0001/2: right
        [0.3, 0.2, 0.9],  # of 0001/1, finds 0002/1: wrong, the building is second
        [0.8, 0.1, 0.2],  # of 0001/2, finds 0001/1: right
        [0.9, 0.8, 0.7],  # of 0002/1, finds it third: wrong
    ]
    figures = recall(pairs, *scored(table), same_building=True).figures
    assert figures["protocol"] == "geotext"
    assert figures["text_to_image"] == {"R@1": 50.0, "R@5": 100.0, "R@10": 100.0}
    # Columns: 0001/1 finds the caption of 0002 first; 0001/2 its own building's; 0002/1 0001's.
    assert figures["image_to_text"] == {"R@1": 33.33, "R@5": 100.0, "R@10": 100.0}
    assert figures["mean"] == 80.55  # (1/2 + 1/3 + 4) / 6 = 29/36


def test_geotext_the_first_image_of_a_building_is_not_counted_to_the_one_before():
    # The official script's quirk would call the second image one of building 0001.
    pairs = [pair("0001/1", place="0001"), pair("0002/1", place="0002")]
    figures = recall(pairs, *scored([[0.1, 0.9], [0.1, 0.9]]), same_building=True).figures
    assert figures["text_to_image"]["R@1"] == 50.0


def test_geotext_wants_a_building_for_each_image():
    with pytest.raises(DataError, match="1 of 2 images name no building"):
        recall([pair("a", place="p"), pair("b")], *scored(np.eye(2)), same_building=True)


def test_reports_carry_intervals_only_when_asked():
    pairs = [pair(str(i), 2, place=f"b{i // 2}", lon=0.0, lat=float(i)) for i in range(6)]
    table = np.random.default_rng(0).normal(size=(12, 6))
    assert "ci" not in recall(pairs, *scored(table)).figures
    plain = recall(pairs, *scored(table), intervals=True).figures
    assert plain["ci"]["resampled"] == "images"
    geotext = recall(pairs, *scored(table), same_building=True, intervals=True).figures
    assert geotext["ci"]["resampled"] == "buildings"
    for figures in (plain, geotext):
        for side in ("text_to_image", "image_to_text"):
            for name, (low, high) in figures["ci"][side].items():
                assert low <= figures[side][name] <= high
        low, high = figures["ci"]["mean"]
        assert low <= figures["mean"] <= high
    local = cvg_text(pairs, *scored(table), intervals=True).figures
    low, high = local["ci"]["overall"]["deviation_km"]
    assert low <= local["overall"]["deviation_km"] <= high


# --- rows ------------------------------------------------------------------------------------


def test_rows_as_csv_and_jsonl_say_the_same(tmp_path):
    pairs = [pair('a, "quoted"'), pair("ü\nb")]
    report = recall(pairs, *scored([[0.9, 0.1], [0.8, 0.2]]))
    for name in ("rows.csv", "rows.jsonl"):
        check_rows_path(tmp_path / name)
        write_rows(report, tmp_path / name)
    with (tmp_path / "rows.csv").open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    lines = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert tuple(table[0]) == tuple(lines[0]) == ROW_FIELDS
    assert len(table) == len(lines) == 4
    for row, line in zip(table, lines, strict=True):
        assert row == {key: "" if value is None else str(value) for key, value in line.items()}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["rows.csv", "rows.jsonl"]


def test_rows_cannot_go_anywhere(tmp_path):
    with pytest.raises(UsageError, match=r"must end in \.csv or \.jsonl"):
        check_rows_path(tmp_path / "rows.txt")
    with pytest.raises(UsageError, match="no such folder"):
        check_rows_path(tmp_path / "none" / "rows.csv")
    (tmp_path / "taken.csv").mkdir()
    with pytest.raises(NgcgError, match="cannot be written"):
        write_rows(recall([pair("a")], *scored([[1]])), tmp_path / "taken.csv")


# --- the other ways to count that are published ------------------------------------------------


def test_recall_with_a_row_per_caption_leaves_the_first_and_lowers_the_rest():
    """Copies of a wrong image that is ahead push the right one down: 2 becomes 1 + 3."""
    pairs = [pair("a", 3), pair("b", 1)]
    #         a    b
    table = [
        [0.9, 0.8],
        [0.9, 0.1],
        [0.9, 0.1],
        [0.8, 0.7],  # b's only caption finds a first, and a stands three times
    ]
    unique = recall(pairs, *scored(table))
    rows = recall(pairs, *scored(table), gallery="rows")
    assert [row["rank"] for row in unique.rows()][:4] == [1, 1, 1, 2]
    assert [row["rank"] for row in rows.rows()][:4] == [1, 1, 1, 4]
    assert rows.figures["text_to_image"]["R@1"] == unique.figures["text_to_image"]["R@1"] == 75.0
    # Images are asked once a row, too: a's three rows are right, b's is not.
    assert [row["query"] for row in rows.rows()][4:] == ["a", "a", "a", "b"]
    assert rows.figures["image_to_text"]["R@1"] == 75.0
    assert unique.figures["image_to_text"]["R@1"] == 50.0
    assert list(rows.rows())[3]["top_hit"] == "a"
