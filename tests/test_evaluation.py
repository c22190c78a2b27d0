"""Each protocol on data whose figures are worked out on paper, and the figures themselves."""

from __future__ import annotations

import csv
import json
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ngcg_cli.datasets import Pair, Place
from ngcg_cli.errors import DataError, NgcgError, UsageError
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
from ngcg_cli.evaluation.places import places
from ngcg_cli.evaluation.report import ROW_FIELDS, check_rows_path, write_rows
from ngcg_cli.evaluation.retrieval import recall
from ngcg_cli.search import ModelStamp, SourceRecord, TileIndex, TileTable

# One degree of a great circle with R = 6371 km: 6371000 * pi / 180.
METRES_A_DEGREE = 111194.92664455873


def pair(name: str, captions: int = 1, **known: object) -> Pair:
    texts = tuple(f"{name} {number}" for number in range(captions))
    return Pair(Path(name), texts, name, **known)


def scored(table) -> tuple[np.ndarray, np.ndarray]:
    """Image and caption vectors whose dot products are the table (captions down, images right)."""
    captions = np.array(table, np.float32)
    return np.eye(captions.shape[1], dtype=np.float32), captions


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


# --- cvg-text --------------------------------------------------------------------------------


def at(lat: float, view: str = "panorama", lon: float = 0.0) -> Pair:
    return pair(f"{lat},{lon}", lat=lat, lon=lon, view=view)


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


# --- places ----------------------------------------------------------------------------------

MODEL = ModelStamp("tiny", "a" * 64, 8)
SIDE = 0.001  # degrees: tiles of 111 m in a row from (10, 0) to the east, on the equator


def tiles_at(tmp_path: Path, wests: list[float]) -> TileIndex:
    import shapely

    index = TileIndex.create(tmp_path / "index", MODEL)
    boxes = [shapely.box(west, 0.0, west + SIDE, SIDE) for west in wests]
    lon = np.array([(west + SIDE / 2 + 180) % 360 - 180 for west in wests])
    bbox = np.array([[w, 0.0, (w + SIDE + 180) % 360 - 180, SIDE] for w in wests])
    table = TileTable(
        lon=lon,
        lat=np.full(len(wests), SIDE / 2),
        bbox=bbox,
        window=np.array([[i * 100, 0, 100, 100] for i in range(len(wests))]),
        geometry=[shapely.to_wkb(box) for box in boxes],
    )
    source = SourceRecord("a.tif", 1, 1, tile="100px", overlap=0.0, min_valid=0.5)
    index.put(source, table, np.eye(8, dtype=np.float32)[: len(wests)])
    return index


def place(lon: float, lat: float, *others: tuple[float, float], captions: int = 1) -> Place:
    return Place(tuple("abcdefg"[:captions]), ((lon, lat), *others))


def test_places_footprints_errors_and_the_median(tmp_path):
    index = tiles_at(tmp_path, [10 + SIDE * number for number in range(8)])
    middle = SIDE / 2

    def likes(*tiles: int) -> list[float]:  # tiles in falling order of score
        scores = [0.0] * 8
        for step, tile in enumerate(tiles):
            scores[tile] = 1.0 - 0.1 * step
        return scores

    rows = [
        place(10 + middle, middle, captions=2),
        place(10 + 1.25 * SIDE, middle),  # a quarter of a tile west of the second's centre
        place(10 + 5 * SIDE, middle),  # on the edge of the fifth and the sixth
        place(50.0, 0.0),
    ]
    queries = [
        likes(0),  # right, 0 m
        likes(2, 1, 0),  # third, 222.39 m
        likes(1),  # right, 27.80 m
        likes(6, 5),  # second, first hit 1.5 tiles away: 166.79 m
        likes(7),  # nowhere: 39.99 degrees or so
    ]
    report = places(rows, np.array(queries, np.float32), index)
    assert report.figures == {
        "queries": 5,
        "R@1": 40.0,
        "R@5": 80.0,
        "R@10": 80.0,
        "L@50": 40.0,
        "L@100": 40.0,
        "L@150": 40.0,
        "median_error_m": 166.79,
    }
    told = list(report.rows())
    assert [row["rank"] for row in told] == [1, 3, 1, 2, None]
    assert [row["error_m"] for row in told[:4]] == [0.0, 222.39, 27.8, 166.79]
    assert told[2]["truth"] == "0.0005000,10.0012500"
    assert told[2]["top_hit"] == "0.0005000,10.0015000 a.tif 100,0,100,100"


def test_places_any_true_place_counts(tmp_path):
    index = tiles_at(tmp_path, [10 + SIDE * number for number in range(8)])
    third = (10 + 2.5 * SIDE, SIDE / 2)
    query = np.eye(8, dtype=np.float32)[2:3]
    alone = places([place(10.0, 0.0)], query, index).figures
    assert (alone["R@1"], alone["L@150"]) == (0.0, 0.0)
    both = places([place(10.0, 0.0, third)], query, index).figures
    assert (both["R@1"], both["L@50"], both["median_error_m"]) == (100.0, 100.0, 0.0)


def test_places_across_the_antimeridian(tmp_path):
    index = tiles_at(tmp_path, [180 - SIDE / 2])
    query = np.eye(8, dtype=np.float32)[:1]
    for lon in (179.9999, -179.9999, 180.0, -180.0):
        assert places([place(lon, 0.0001)], query, index).figures["R@1"] == 100.0
    assert places([place(-179.999, 0.0001)], query, index).figures["R@1"] == 0.0


def test_places_ties_go_to_the_wrong_and_to_the_farthest(tmp_path):
    index = tiles_at(tmp_path, [10 + SIDE * number for number in range(8)])
    row = place(10 + SIDE / 2, SIDE / 2)
    query = np.array([[1, 1, 1, 0, 0, 0, 0, 0]], np.float32)  # the first is right
    report = places([row], query, index)
    assert (report.figures["R@1"], report.figures["R@5"]) == (0.0, 100.0)
    assert report.figures["median_error_m"] == 222.39
    assert next(report.rows())["rank"] == 3


def test_places_an_empty_index_is_an_error(tmp_path):
    index = TileIndex.create(tmp_path / "index", MODEL)
    with pytest.raises(DataError, match="no tiles"):
        places([place(0, 0)], np.eye(8, dtype=np.float32)[:1], index)


# --- figures ---------------------------------------------------------------------------------


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


# --- intervals -------------------------------------------------------------------------------


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
