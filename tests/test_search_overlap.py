"""Overlapping tiles of one place count once."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from shapely import affinity
from tile_samples import ASKED, MODEL, ranked, row_of_tiles, source, tile_at

from ngcg_cli.search import TileIndex, TileTable, overlap
from ngcg_cli.search.footprints import pieces
from ngcg_cli.search.tiles import TileColumns


@pytest.fixture
def index(tmp_path: Path) -> TileIndex:
    return TileIndex.create(tmp_path / "index", MODEL)


def test_overlapping_tiles_of_a_source_count_once(index: TileIndex) -> None:
    # 25 px steps: a neighbour shares 75 %, the next one exactly 50 %, which is not more than half.
    index.put(source(), row_of_tiles(9, step=25), ranked(9))
    assert [hit.window[0] for hit in index.search(ASKED)[0]] == [0, 50, 100, 150, 200]
    assert [hit.rank for hit in index.search(ASKED)[0]] == [1, 2, 3, 4, 5]
    every = index.search(ASKED, keep_overlaps=True)[0]
    assert [hit.window[0] for hit in every] == [25 * i for i in range(9)]
    assert len(index.search(ASKED, top=2)[0]) == 2


def test_a_hit_beyond_one_left_out_is_kept(index: TileIndex) -> None:
    # 40 px steps: tile 1 falls to tile 0; tile 2 overlaps only tile 1 by more than half.
    index.put(source(), row_of_tiles(3, step=40), ranked(3))
    assert [hit.window[0] for hit in index.search(ASKED)[0]] == [0, 80]


def test_search_goes_deeper_until_enough_places(index: TileIndex) -> None:
    # 400 near-copies of one place are better than the 3 other places.
    crowd = row_of_tiles(400, step=0)
    far = row_of_tiles(3, west=11)
    both = TileTable(
        np.concatenate([crowd.lon, far.lon]),
        np.concatenate([crowd.lat, far.lat]),
        np.concatenate([crowd.bbox, far.bbox]),
        np.concatenate([crowd.window, far.window + np.array([100_000, 0, 0, 0])]),
        [*crowd.geometry, *far.geometry],
    )
    index.put(source(), both, ranked(403))
    assert [hit.window[0] for hit in index.search(ASKED, top=3)[0]] == [0, 100_000, 100_100]
    assert len(index.search(ASKED, top=50)[0]) == 4


def test_sources_overlap_by_footprint_not_by_bbox(index: TileIndex) -> None:
    square = shapely.box(10, 50, 10.002, 50.002)
    corner = shapely.Polygon([(10.002, 50.002), (10.002, 50.0003), (10.0003, 50.002)])
    # Its box lies wholly in the square's, but it shares only the small triangle at the corner.
    diamond = shapely.Polygon(
        [(10.002, 50.0033), (10.0033, 50.002), (10.002, 50.0007), (10.0007, 50.002)]
    )
    index.put(source("a"), tile_at(square, 10.001, 50.001, square.bounds), ranked(3)[:1])
    index.put(source("diamond"), tile_at(diamond, 10.002, 50.002, diamond.bounds), ranked(3)[1:2])
    index.put(source("corner"), tile_at(corner, 10.0014, 50.0014, corner.bounds), ranked(3)[2:])
    shared = diamond.intersection(square).area / min(diamond.area, square.area)
    assert 0 < shared < 0.5
    assert [hit.source for hit in index.search(ASKED)[0]] == ["a", "diamond"]
    assert len(index.search(ASKED, keep_overlaps=True)[0]) == 3


def test_sources_overlap_across_the_antimeridian(index: TileIndex) -> None:
    cut = shapely.MultiPolygon(
        [shapely.box(179.999, 0, 180, 0.002), shapely.box(-180, 0, -179.999, 0.002)]
    )
    east = shapely.box(-180, 0, -179.999, 0.002)
    index.put(source("cut"), tile_at(cut, 180, 0.001, (179.999, 0, -179.999, 0.002)), ranked(3)[:1])
    index.put(source("east"), tile_at(east, -179.9995, 0.001, east.bounds), ranked(3)[1:2])
    beyond = shapely.box(-179.999, 0, -179.998, 0.002)
    index.put(source("beyond"), tile_at(beyond, -179.9985, 0.001, beyond.bounds), ranked(3)[2:])
    hits = index.search(ASKED)[0]
    assert [hit.source for hit in hits] == ["cut", "beyond"]
    assert hits[0].bbox == (179.999, 0, -179.999, 0.002)
    stored = shapely.MultiPolygon([(exterior, holes) for exterior, *holes in hits[0].footprint])
    assert stored.equals(cut)  # as it is stored


def iou(a: shapely.Geometry, b: shapely.Geometry) -> float:
    return float(a.intersection(b).area / a.union(b).area)


def test_a_coarse_tile_hides_no_finer_one_under_it(index: TileIndex) -> None:
    coarse = shapely.box(10, 50, 10.01, 50.01)
    index.put(source("coarse"), tile_at(coarse, 10.005, 50.005, coarse.bounds), ranked(1))
    index.put(source("fine"), row_of_tiles(4, step=200), ranked(9)[1:5])
    little = shapely.box(10, 50, 10.0099, 50.0099)
    index.put(source("alike"), tile_at(little, 10.005, 50.005, little.bounds), ranked(9)[5:6])
    hits = index.search(ASKED)[0]
    assert [hit.source for hit in hits] == ["coarse", *["fine"] * 4]
    # The same within one source, by windows.
    tiles = row_of_tiles(3, step=100)
    tiles.window[:] = [[0, 0, 400, 400], [0, 0, 200, 200], [0, 0, 390, 390]]
    tiles.bbox[:] = [10, 50, 10.004, 50.004]
    for path in ("coarse", "fine", "alike"):
        index.drop([path])
    index.put(source("all"), tiles, ranked(3))
    assert [hit.window[2] for hit in index.search(ASKED)[0]] == [400, 200]


@pytest.mark.parametrize("step", [1, 7, 1_000])
def test_kept_hits_are_those_of_the_plain_loop(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Random tiles of two sources around the antimeridian, against a loop over shapely areas."""
    monkeypatch.setattr(overlap, "_STEP", step)
    rng = np.random.default_rng(4)
    count = 80
    # Odd areas, so that none is shared by exactly half, where rounding would decide.
    size = 2 * rng.integers(30, 60, (count, 2)) + 1
    window = np.column_stack([rng.integers(0, 300, (count, 2)), size])
    left, below = 179.998 + window[:, 0] * 1e-5, window[:, 1] * 1e-5
    plane = shapely.box(left, below, left + window[:, 2] * 1e-5, below + window[:, 3] * 1e-5)
    bounds = shapely.bounds(plane)
    bbox = bounds.copy()
    bbox[:, [0, 2]] = (bbox[:, [0, 2]] + 180) % 360 - 180
    lon = ((bounds[:, 0] + bounds[:, 2]) / 2 + 180) % 360 - 180
    columns = TileColumns(lon, (bounds[:, 1] + bounds[:, 3]) / 2, bbox, window)
    shapes = np.array(
        [
            affinity.translate(shape, -360 if middle < 0 else 0)
            for shape, middle in zip(plane, lon, strict=True)
        ]
    )
    rankings = np.array([rng.permutation(count) for _ in range(20)])
    rankings[:, -3:] = -1
    kept = overlap.distinct(
        rankings, columns, rng.integers(0, 2, count), lambda some: shapes[some], 30
    )
    for ranking, mask in zip(rankings, kept, strict=True):
        expected: list[int] = []
        for tile in ranking[:-3]:
            if all(iou(plane[tile], plane[other]) <= 1 / 3 for other in expected):
                expected.append(tile)
        assert ranking[mask].tolist() == expected[:30]
        assert 5 < len(expected) < 60


@pytest.mark.parametrize("scenes", [1, 2])
def test_thousands_of_tiles_on_one_spot_cost_little(
    index: TileIndex, monkeypatch: pytest.MonkeyPatch, scenes: int
) -> None:
    """A time series: each tile is compared with what is kept, not with every other."""
    count, compared = 5_000, 0
    per = count // scenes
    for scene in range(scenes):
        index.put(source(str(scene)), row_of_tiles(per, step=0), ranked(per))
    plain = overlap._overlap

    def counting(one: int, others: np.ndarray, *rest: Any) -> np.ndarray:
        nonlocal compared
        compared += len(others)
        return plain(one, others, *rest)

    monkeypatch.setattr(overlap, "_overlap", counting)
    assert len(index.search(ASKED, top=10)[0]) == 1
    # Ranks are asked for in steps, each four times as deep, the last one of all: 1 + 4/3 times.
    assert compared < 7 / 3 * count


def test_big_endian_footprint() -> None:
    ring = shapely.to_wkb(shapely.box(1, 2, 3, 4), byte_order=0)
    ((exterior,),) = pieces(ring)
    assert shapely.Polygon(exterior).equals(shapely.box(1, 2, 3, 4))
