"""Boxes on the globe, and tables that a filter does not read."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tile_samples import MODEL, row_of_tiles, source, unit

from ngcg_cli.search import Filters, TileIndex, snapshot
from ngcg_cli.search.extent import around, extent, meets
from ngcg_cli.search.filters import within_bbox, within_distance
from ngcg_cli.search.records import SegmentRecord

LON = st.floats(-180, 180) | st.sampled_from([-180.0, 180.0, 0.0])
LAT = st.floats(-90, 90)
POINTS = st.lists(st.tuples(LON, LAT), min_size=1, max_size=6)


def boxes_of(points: list[tuple[float, float]]) -> np.ndarray:
    return np.array([(lon, lat, lon, lat) for lon, lat in points])


@settings(max_examples=200, deadline=None)
@given(POINTS, LON, LON, LAT, LAT)
def test_a_box_passed_over_holds_nothing(
    points: list[tuple[float, float]], west: float, east: float, one: float, other: float
) -> None:
    asked = (west, min(one, other), east, max(one, other))
    whole = extent(boxes_of(points))
    lon, lat = np.array(points).T
    assert within_bbox(lon, lat, whole).all()
    if within_bbox(lon, lat, asked).any():
        assert meets(np.array([whole]), asked).all()


@settings(max_examples=200, deadline=None)
@given(POINTS, LON, LAT, st.floats(0, 2.1e7))
def test_around_a_point(
    points: list[tuple[float, float]], lon: float, lat: float, metres: float
) -> None:
    lons, lats = np.array(points).T
    if within_distance(lons, lats, (lat, lon, metres)).any():
        assert meets(np.array([extent(boxes_of(points))]), around((lat, lon, metres))).all()


@pytest.mark.parametrize(
    ("boxes", "whole"),
    [
        ([(170, 0, 180, 1), (-180, 0, -170, 2)], (170, 0, -170, 2)),
        ([(175, 0, -175, 1), (170, -1, 171, 0)], (170, -1, -175, 1)),
        ([(-10, 0, 10, 1), (20, 0, 30, 1)], (-10, 0, 30, 1)),
        ([(-180, 60, 180, 90)], (-180, 60, 180, 90)),
        ([(100, 0, -100, 1), (-110, 0, 110, 1)], (-180, 0, 180, 1)),
    ],
)
def test_the_smallest_box(boxes: list[tuple], whole: tuple) -> None:
    assert extent(np.array(boxes, float)) == whole


def test_boxes_that_meet_and_that_do_not() -> None:
    boxes = np.array([(10, 50, 11, 51), (179, 0, -179, 1), (-180, -90, 180, -80)], float)
    assert meets(boxes, (10.5, 50.5, 12, 52)).tolist() == [True, False, False]
    assert meets(boxes, (-179.5, 0, -178, 1)).tolist() == [False, True, False]
    assert meets(boxes, (-180, -90, 180, 90)).tolist() == [True, True, True]
    assert meets(boxes, (50, -85, 51, 40)).tolist() == [False, False, True]


def test_a_filter_reads_only_the_tables_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = TileIndex.create(tmp_path / "index", MODEL)
    for number in range(5):
        index.put(source(f"{number}"), row_of_tiles(3, west=10.0 * number), unit(3))
    read: list[str] = []
    columns = snapshot.TileColumns.read

    def noted(folder: Path, segment: SegmentRecord) -> snapshot.TileColumns:
        read.append(segment.name)
        return columns(folder, segment)

    monkeypatch.setattr(snapshot.TileColumns, "read", noted)
    for area in ({"bbox": (19, 49, 21, 51)}, {"near": (50.0, 20.0, 1000.0)}):
        read.clear()
        again = TileIndex.open(index.path)
        assert {hit.source for hit in again.search(unit(1), filters=Filters(**area))[0]} == {"2"}
        assert read == ["000003"]
    read.clear()
    assert again.search(unit(1), filters=Filters(bbox=(-20, 0, -10, 10))) == [[]]
    assert read == []
