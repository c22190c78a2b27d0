"""The protocol of places on an index whose answers are worked out on paper."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ngcg_cli.datasets import Place
from ngcg_cli.errors import DataError
from ngcg_cli.evaluation.places import places
from ngcg_cli.search import ModelStamp, SourceRecord, TileIndex, TileTable

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
