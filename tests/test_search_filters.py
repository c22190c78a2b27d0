"""Which tiles a filter keeps, before the ranking."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from pyproj import Geod
from tile_samples import MODEL, row_of_tiles, source, unit

from ngcg_cli.errors import UsageError
from ngcg_cli.search import Filters, TileIndex
from ngcg_cli.search.filters import within_areas, within_bbox, within_distance


@pytest.fixture
def index(tmp_path: Path) -> TileIndex:
    return TileIndex.create(tmp_path / "index", MODEL)


def test_bbox_keeps_centres_inside_edges_included() -> None:
    lon = np.array([-180.0, -179.5, -10, 0, 10, 179.5, 180])
    lat = np.array([0.0, 0, 0, 45, 0, 0, 0])
    for box, inside in [
        ((-10, -1, 10, 1), [2, 4]),
        ((-10, 0, 0, 45), [2, 3]),
        ((179, -1, -179, 1), [0, 1, 5, 6]),
        ((-180, -90, 180, 90), [0, 1, 2, 3, 4, 5, 6]),
        ((179, -1, 180, 1), [0, 5, 6]),
        ((-180, -1, -179.6, 1), [0, 6]),
        ((20, 10, 30, 20), []),
    ]:
        assert np.flatnonzero(within_bbox(lon, lat, box)).tolist() == inside, box


def test_near_is_measured_on_the_ellipsoid() -> None:
    # A degree along a meridian of WGS 84, and of the equator: 0.6 % and 0.1 % off the mean sphere.
    for near, lon, lat, metres in [
        ((0, 20), 20, 1, 110_574.39),
        ((0, 179.5), -179.5, 0, 111_319.49),
        ((89.5, 0), 180, 89.5, 111_693.95),
        ((-30, 5), 5, -31, 110_860.93),
        ((0, 0), 180, 0, 20_003_931.46),
    ]:
        at = np.array([float(lon)]), np.array([float(lat)])
        assert within_distance(*at, (*near, metres + 0.01)).all(), near
        assert not within_distance(*at, (*near, metres - 0.01)).any(), near
    assert within_distance(np.array([3.0]), np.array([4.0]), (4, 3, 0)).all()


def test_near_is_what_the_geodesic_says_of_random_points() -> None:
    rng = np.random.default_rng(5)
    geod = Geod(ellps="WGS84")
    for _ in range(50):
        lat, lon = np.degrees(np.arcsin(rng.uniform(-1, 1))), rng.uniform(-180, 180)
        metres = 10 ** rng.uniform(2, 7.3)
        azimuth, share = rng.uniform(0, 360, 200), rng.uniform(0.98, 1.02, 200)
        lons, lats, _ = geod.fwd([lon] * 200, [lat] * 200, azimuth, share * metres)
        lons, lats = np.array(lons), np.array(lats)
        _, _, exact = geod.inv([lon] * 200, [lat] * 200, lons, lats)
        near = (lat, lon, metres)
        inside = within_distance(lons, lats, near)
        assert inside.tolist() == (exact <= metres).tolist()
        # And no table is passed over that holds one of them.
        (boxes,) = Filters(near=near).boxes()
        assert (within_bbox(lons, lats, boxes[0]) | ~inside).all()


def test_areas_hold_what_lies_in_one_of_them_wherever_they_are_drawn() -> None:
    lon, lat = np.array([-180, -179, 0, 5, 179, 180.0]), np.array([0, 0, 0, 5, 0, 0.0])
    for areas, inside in [
        ([shapely.box(-1, -1, 6, 6)], [2, 3]),
        ([shapely.box(178, -1, 182, 1)], [0, 1, 4, 5]),
        ([shapely.box(-182, -1, -178, 1)], [0, 1, 4, 5]),
        ([shapely.box(-1, -1, 1, 1), shapely.box(4, 4, 5, 5)], [2, 3]),
        ([shapely.box(-9, -9, 9, 9).difference(shapely.box(-1, -1, 1, 1))], [3]),
    ]:
        assert np.flatnonzero(within_areas(lon, lat, areas)).tolist() == inside
        assert np.flatnonzero(Filters(areas=tuple(areas)).hold(lon, lat)).tolist() == inside
    with pytest.raises(UsageError, match="no polygon"):
        Filters(areas=(shapely.Point(1, 2),))


def test_sources_and_dates_in_a_search(index: TileIndex) -> None:
    for number, (path, acquired) in enumerate(
        [
            ("/a/2023/x.tif", "2023-06-01"),
            ("/a/2024/x.tif", "2024-06-01T10:00:00Z"),
            ("/b.tif", None),
        ]
    ):
        tiles = row_of_tiles(2, west=number)
        index.put(source(path, acquired=acquired), tiles, unit(2, seed=number))

    def found(**filters: Any) -> set[str]:
        hits = TileIndex.open(index.path).search(unit(1), filters=Filters(**filters))[0]
        return {hit.source for hit in hits}

    assert found(source="*.tif") == {"/a/2023/x.tif", "/a/2024/x.tif", "/b.tif"}
    assert found(source="x.tif") == {"/a/2023/x.tif", "/a/2024/x.tif"}
    assert found(source="/a/2023/*") == found(source="2023/x.tif") == {"/a/2023/x.tif"}
    assert found(source="b") == found(source="2023") == set()
    assert found(after="2024") == found(after="2024-06-01T10:00Z") == {"/a/2024/x.tif"}
    assert found(before="2024") == found(before="2024-06-01") - {"/a/2024/x.tif"}
    assert found(after="2023", before="2025") == {"/a/2023/x.tif", "/a/2024/x.tif"}
    assert found(after="2024-06-01T12:00+03:00") == {"/a/2024/x.tif"}
    assert found(after="2023", source="/b*") == set()
    assert found(after="2023", bbox=(0.9, 0, 9, 90)) == {"/a/2024/x.tif"}
    for text in ("yesterday", "2024-13", "24", "2024-1-1", "0000"):
        with pytest.raises(UsageError, match="is no date"):
            Filters(after=text)
    with pytest.raises(ValueError, match="isoformat"):
        source("x", acquired="some day")


def test_filters_in_a_search(index: TileIndex) -> None:
    index.put(source("fiji-west"), row_of_tiles(2, west=179.99, south=-17), unit(2))
    index.put(source("fiji-east"), row_of_tiles(2, west=-179.99, south=-17), unit(2, seed=1))
    index.put(source("delft"), row_of_tiles(2, west=4.36, south=52), unit(2, seed=2))

    def found(**filters: object) -> set[str]:
        return {hit.source for hit in index.search(unit(1, seed=5), filters=Filters(**filters))[0]}

    assert found() == {"fiji-west", "fiji-east", "delft"}
    assert found(bbox=(179.9, -18, -179.9, -16)) == {"fiji-west", "fiji-east"}
    assert found(bbox=(-180, -18, -179.9, -16)) == {"fiji-east"}
    assert found(near=(52.0005, 4.361, 1000)) == {"delft"}
    assert found(near=(-17, 180, 3000)) == {"fiji-west", "fiji-east"}
    assert found(near=(-17, 180, 3000), bbox=(0, -90, 180, 90)) == {"fiji-west"}
    assert found(bbox=(0, 0, 1, 1)) == set()


@pytest.mark.parametrize(
    "filters",
    [
        {"bbox": (0, 5, 1, 4)},
        {"bbox": (-181, 0, 1, 4)},
        {"bbox": (0, 0, 1, 91)},
        {"bbox": (0, 0, float("nan"), 4)},
        {"near": (91, 0, 5)},
        {"near": (0, 181, 5)},
        {"near": (0, 0, -1)},
        {"near": (0, 0, float("nan"))},
    ],
)
def test_senseless_filters_are_refused(index: TileIndex, filters: dict) -> None:
    with pytest.raises(UsageError):
        Filters(**filters)
