import json
import multiprocessing
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import geopandas
import numpy as np
import pyarrow.dataset
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely import affinity

from ngcg_cli.errors import TileIndexError, UsageError
from ngcg_cli.search import (
    Hit,
    ModelStamp,
    SourceRecord,
    TileIndex,
    TileTable,
    files,
    graph,
    overlap,
)
from ngcg_cli.search import snapshot as snapshot_module
from ngcg_cli.search.format import MANIFEST, VERSION, Manifest
from ngcg_cli.search.ranking import EARTH_RADIUS, top_k, within_bbox, within_distance
from ngcg_cli.search.tiles import TileColumns, exterior

DIM = 16
MODEL = ModelStamp("tiny", "a" * 64, DIM)


def unit(count: int, seed: int = 0, dim: int = DIM) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def source(path: str = "a.tif", **other: object) -> SourceRecord:
    defaults = {"size": 10, "mtime_ns": 20, "tile": "100px", "overlap": 0.0, "min_valid": 0.5}
    return SourceRecord(path=path, **{**defaults, **other})


def row_of_tiles(count: int, west: float = 10.0, south: float = 50.0, step: int = 100) -> TileTable:
    """Tiles of 100 px = 0.001 degrees, from west to east, `step` px apart."""
    left = west + np.arange(count) * step * 1e-5
    bbox = np.column_stack(
        [left, np.full(count, south), left + 0.001, np.full(count, south + 0.001)]
    )
    window = np.array([[i * step, 0, 100, 100] for i in range(count)], np.int64).reshape(-1, 4)
    return TileTable(
        lon=left + 0.0005,
        lat=np.full(count, south + 0.0005),
        bbox=bbox,
        window=window,
        geometry=[shapely.to_wkb(shapely.box(*edges)) for edges in bbox],
    )


def tile_at(polygon: shapely.Geometry, lon: float, lat: float, bbox: tuple) -> TileTable:
    return TileTable(
        lon=np.array([lon]),
        lat=np.array([lat]),
        bbox=np.array([bbox]),
        window=np.array([[0, 0, 100, 100]]),
        geometry=[shapely.to_wkb(polygon)],
    )


@pytest.fixture
def index(tmp_path: Path) -> TileIndex:
    return TileIndex.create(tmp_path / "index", MODEL)


def places(hits: list[Hit]) -> list[tuple[str, int]]:
    return [(hit.source, hit.window[0]) for hit in hits]


# --- round trip -------------------------------------------------------------------------------


def test_what_is_put_in_is_found_again(index: TileIndex) -> None:
    tiles, vectors = row_of_tiles(5), unit(5)
    index.put(source("a.tif"), tiles, vectors)
    index.put(source("b.tif"), row_of_tiles(3, west=20), unit(3, seed=1))
    again = TileIndex.open(index.path)
    assert again.model == MODEL
    assert again.tile_count == 8
    assert [(s.path, s.tiles, s.complete) for s in again.sources()] == [
        ("a.tif", 5, True),
        ("b.tif", 3, True),
    ]
    assert again.verify() == []
    for i in range(5):
        hit = again.search(vectors[i : i + 1], top=1)[0][0]
        assert hit.rank == 1
        assert hit.score == pytest.approx(1, abs=1e-6)
        assert (hit.lon, hit.lat) == (tiles.lon[i], tiles.lat[i])
        assert hit.bbox == tuple(tiles.bbox[i])
        assert (hit.source, hit.window) == ("a.tif", (100 * i, 0, 100, 100))
        ring = shapely.get_coordinates(shapely.from_wkb(tiles.geometry[i]))
        assert hit.footprint == [tuple(point) for point in ring.tolist()]
    hits = again.search(unit(1, seed=7), top=100)[0]
    assert [hit.rank for hit in hits] == list(range(1, 9))
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_empty_index_and_source_without_tiles(index: TileIndex) -> None:
    assert index.search(unit(2)) == [[], []]
    assert index.search(unit(1), bbox=(0, 0, 1, 1), near=(0, 0, 5)) == [[]]
    index.put(source("black.tif"), row_of_tiles(0), np.empty((0, DIM)))
    assert [(s.path, s.tiles) for s in TileIndex.open(index.path).sources()] == [("black.tif", 0)]
    assert index.search(unit(2)) == [[], []]


def test_sources_tell_what_is_unchanged(index: TileIndex) -> None:
    index.put(source(), row_of_tiles(2), unit(2))
    (known,) = TileIndex.open(index.path).sources()
    assert known.up_to_date(source())
    for change in ({"size": 11}, {"mtime_ns": 21}, {"tile": "50px"}, {"overlap": 0.5}):
        assert not known.up_to_date(source(**change))
    index.put(source(complete=False), row_of_tiles(2), unit(2))
    assert not index.sources()[0].up_to_date(source())


def test_replacing_and_removing_a_source(index: TileIndex) -> None:
    index.put(source("a.tif"), row_of_tiles(4), unit(4))
    index.put(source("b.tif"), row_of_tiles(2, west=20), unit(2, seed=1))
    index.put(source("a.tif", size=11), row_of_tiles(3, west=30), unit(3, seed=2))
    again = TileIndex.open(index.path)
    assert [(s.path, s.size, s.tiles) for s in again.sources()] == [
        ("a.tif", 11, 3),
        ("b.tif", 10, 2),
    ]
    assert {round(hit.lon) for hit in again.search(unit(1), top=9)[0]} == {20, 30}
    assert len(list((index.path / "tiles").iterdir())) == 2  # the replaced segment is gone
    assert again.remove("a.tif")
    assert not again.remove("a.tif")
    assert [s.path for s in TileIndex.open(index.path).sources()] == ["b.tif"]
    assert len(list((index.path / "vectors").iterdir())) == 1


def test_odd_source_names_come_back_unchanged(index: TileIndex) -> None:
    name = "/vsicurl/https://h/x y.tif,'\"日本" + os.fsdecode(b"\xff") + ".tif"
    index.put(source(name), row_of_tiles(1), unit(1))
    again = TileIndex.open(index.path)
    assert again.search(unit(1))[0][0].source == name
    assert again.sources()[0].path == name


@pytest.mark.parametrize(
    ("tiles", "vectors", "reason"),
    [
        (row_of_tiles(2), unit(3), r"shape \(3, 16\) for 2 tiles"),
        (row_of_tiles(2), unit(2, dim=8), "16 dimensions"),
        (row_of_tiles(2), unit(2) * 2, "unit length"),
        (row_of_tiles(2), unit(2) * np.nan, "unit length"),
        (row_of_tiles(2, west=180), unit(2), "outside"),
        (row_of_tiles(2, west=np.nan), unit(2), "outside"),
        (replace(row_of_tiles(1), geometry=[shapely.Polygon().wkb]), unit(1), "polygon"),
        (replace(row_of_tiles(1), geometry=[shapely.Point(1, 2).wkb]), unit(1), "polygon"),
        (replace(row_of_tiles(1), geometry=[]), unit(1), "0 geometries"),
        (replace(row_of_tiles(1), window=np.zeros((1, 4), int)), unit(1), "without pixels"),
    ],
)
def test_what_does_not_fit_is_refused(
    index: TileIndex, tiles: TileTable, vectors: np.ndarray, reason: str
) -> None:
    with pytest.raises(TileIndexError, match=reason):
        index.put(source(), tiles, vectors)
    assert index.tile_count == 0


# --- ranking ----------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=5),
    queries=st.integers(1, 4),
    k=st.integers(1, 60),
    levels=st.integers(1, 3),
    seed=st.integers(0, 999),
)
def test_top_k_is_brute_force(
    sizes: list[int], queries: int, k: int, levels: int, seed: int
) -> None:
    # Whole numbers make the products exact and ties frequent: the order must be (score, row).
    rng = np.random.default_rng(seed)
    blocks, start = [], 0
    for size in sizes:
        block = rng.integers(-levels, levels + 1, (size, 3)).astype(np.float32)
        blocks.append((np.arange(start, start + size), block))
        start += size
    asked = rng.integers(-levels, levels + 1, (queries, 3)).astype(np.float32)
    rows, scores = top_k(asked, blocks, k)
    everything = asked @ np.concatenate([block for _, block in blocks]).T
    for i in range(queries):
        order = sorted(range(start), key=lambda row: (-everything[i, row], row))[:k]
        assert rows[i, : len(order)].tolist() == order
        assert scores[i, : len(order)].tolist() == everything[i, order].tolist()
        assert (rows[i, len(order) :] == -1).all()


def test_search_in_blocks_is_brute_force(index: TileIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot_module, "BLOCK_ROWS", 7)
    vectors = unit(60)
    for i, (first, last) in enumerate([(0, 1), (1, 4), (4, 40), (40, 60)]):
        index.put(source(f"{i}"), row_of_tiles(last - first, west=i), vectors[first:last])
    queries = unit(300, seed=3)
    place = [("0", 0), *(("1", i) for i in range(3)), *(("2", i) for i in range(36))]
    place += [("3", i) for i in range(20)]
    for query, hits in zip(queries, index.search(queries, top=5), strict=True):
        best = np.argsort(-(vectors @ query))[:5]
        assert [(hit.source, hit.window[0] // 100) for hit in hits] == [place[i] for i in best]
    kept = index.search(queries[:2], bbox=(1.9, 0, 3.5, 90), top=100)
    assert [len(hits) for hits in kept] == [56, 56]


@pytest.mark.parametrize("call", [{"top": 0}, {"top": -1}])
def test_senseless_top_is_refused(index: TileIndex, call: dict) -> None:
    with pytest.raises(UsageError):
        index.search(unit(1), **call)


def test_queries_of_another_dimension_are_refused(index: TileIndex) -> None:
    with pytest.raises(TileIndexError, match=r"\(1, 8\).*16"):
        index.search(unit(1, dim=8))
    with pytest.raises(TileIndexError, match="finite"):
        index.search(unit(1) * np.nan)


# --- filters ----------------------------------------------------------------------------------


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


def test_near_is_the_great_circle() -> None:
    # One degree along a meridian, and across the antimeridian and the pole.
    degree = EARTH_RADIUS * np.pi / 180
    for near, lon, lat in [
        ((10, 20), 20, 11),
        ((0, 179.5), -179.5, 0),
        ((89.5, 0), 180, 89.5),
        ((-30, 5), 5, -31),
    ]:
        at = np.array([float(lon)]), np.array([float(lat)])
        assert within_distance(*at, (*near, degree * 1.000001)).all()
        assert not within_distance(*at, (*near, degree * 0.999999)).any()
    assert within_distance(np.array([3.0]), np.array([4.0]), (4, 3, 0)).all()


def test_filters_in_a_search(index: TileIndex) -> None:
    index.put(source("fiji-west"), row_of_tiles(2, west=179.99, south=-17), unit(2))
    index.put(source("fiji-east"), row_of_tiles(2, west=-179.99, south=-17), unit(2, seed=1))
    index.put(source("delft"), row_of_tiles(2, west=4.36, south=52), unit(2, seed=2))

    def found(**filters: object) -> set[str]:
        return {hit.source for hit in index.search(unit(1, seed=5), **filters)[0]}

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
        index.search(unit(1), **filters)


# --- one hit for one place --------------------------------------------------------------------


def ranked(count: int) -> np.ndarray:
    """Vectors that the first axis ranks in order, best first."""
    angle = np.linspace(0, 1, count)
    vectors = np.zeros((count, DIM), np.float32)
    vectors[:, 0], vectors[:, 1] = np.cos(angle), np.sin(angle)
    return vectors


ASKED = np.eye(1, DIM, dtype=np.float32)


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
    whole = shapely.Polygon(hits[0].footprint)
    assert whole.bounds == pytest.approx((179.999, 0, 180.001, 0.002))
    assert whole.area == pytest.approx(0.002 * 0.002)


@pytest.mark.parametrize("all_pairs", [1_000, 0])
def test_every_way_to_find_overlaps_is_the_plain_one(
    monkeypatch: pytest.MonkeyPatch, all_pairs: int
) -> None:
    """Random tiles of two sources around the antimeridian, against a loop over shapely areas."""
    monkeypatch.setattr(overlap, "_ALL_PAIRS", all_pairs)
    monkeypatch.setattr(overlap, "_LOOKUPS", 13)
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
    kept = overlap.distinct(rankings, columns, rng.integers(0, 2, count), lambda: shapes, 30)
    for ranking, mask in zip(rankings, kept, strict=True):
        expected: list[int] = []
        for tile in ranking[:-3]:
            limits = [min(plane[tile].area, plane[other].area) / 2 for other in expected]
            shared = [plane[tile].intersection(plane[other]).area for other in expected]
            if all(s <= limit for s, limit in zip(shared, limits, strict=True)):
                expected.append(tile)
        assert ranking[mask].tolist() == expected[:30]
        assert 5 < len(expected) < 60


def test_big_endian_footprint() -> None:
    ring = shapely.to_wkb(shapely.box(1, 2, 3, 4), byte_order=0)
    assert shapely.Polygon(exterior(ring, 2)).equals(shapely.box(1, 2, 3, 4))


# --- the graph --------------------------------------------------------------------------------


@pytest.fixture
def small_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph, "MIN_TILES", 50)
    monkeypatch.setattr(graph, "MIN_QUERIES", 1)


def graph_used(index: TileIndex) -> bool:
    return index._view._graph is not None


def test_graph_recall(index: TileIndex, small_graphs: None) -> None:
    index.put(source("a"), row_of_tiles(3000), unit(3000))
    index.put(source("b"), row_of_tiles(2000, west=60), unit(2000, seed=1))
    index.refresh_graph()
    again = TileIndex.open(index.path)
    queries = unit(100, seed=9)
    near, exact = again.search(queries), again.search(queries, exact=True)
    assert graph_used(again)
    recall = np.mean(
        [len(set(places(a)) & set(places(b))) / 10 for a, b in zip(near, exact, strict=True)]
    )
    assert recall >= 0.95
    assert near[0][0].score == pytest.approx(exact[0][0].score, abs=1e-6)
    # More than the graph gives, and more than there are tiles: exact, complete.
    assert len(again.search(queries[:1], top=9999)[0]) == 5000


def test_graph_waits_for_many_tiles_and_queries(
    index: TileIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.put(source(), row_of_tiles(60), unit(60))
    index.refresh_graph()
    assert Manifest.read(index.path).graph is None
    monkeypatch.setattr(graph, "MIN_TILES", 50)
    index.refresh_graph()
    index.search(unit(graph.MIN_QUERIES - 1), exact=True)
    assert not graph_used(index)
    index.search(unit(1))
    assert graph_used(index)


def test_graph_lags_behind_and_is_extended(index: TileIndex, small_graphs: None) -> None:
    parts = {name: unit(60, seed=i) for i, name in enumerate("abcdefgh")}
    for i, name in enumerate("abcdefg"):
        index.put(source(name), row_of_tiles(60, west=i), parts[name])
    index.refresh_graph()
    index.put(source("h"), row_of_tiles(60, west=9), parts["h"])
    index.remove("b")
    index.put(source("c"), row_of_tiles(60, west=12), parts["c"][::-1])  # replaced

    def check() -> None:
        # Everything is its own best match, wherever it lies; what is gone is not found.
        fresh = TileIndex.open(index.path)
        for name in "acdefgh":
            hits = fresh.search(parts[name][:20], top=1)
            assert {hit.source for (hit,) in hits} == {name}
            expected = [59 - i if name == "c" else i for i in range(20)]
            assert [hit.window[0] // 100 for (hit,) in hits] == expected
        assert "b" not in {hit.source for hits in fresh.search(parts["b"]) for hit in hits}

    check()
    before = Manifest.read(index.path).graph
    index.refresh_graph()
    after = Manifest.read(index.path).graph
    assert before is not None
    assert after is not None
    assert after.count in (7 * 60, 9 * 60)  # rebuilt without, or extended beside, the dead
    assert not (index.path / before.path).exists()
    check()
    index.refresh_graph()
    assert Manifest.read(index.path).graph == after  # nothing to do, nothing written


def test_graph_is_extended_not_rebuilt_for_a_few(index: TileIndex, small_graphs: None) -> None:
    index.put(source("a"), row_of_tiles(200), unit(200))
    index.refresh_graph()
    index.put(source("b"), row_of_tiles(10, west=20), unit(10, seed=1))
    added: list[int] = []
    index.refresh_graph(progress=added.append)
    assert sum(added) == 10
    index.search(unit(10, seed=1))
    assert graph_used(index)
    assert [h[0].source for h in index.search(unit(10, seed=1))] == ["b"] * 10
    index.remove("a")
    index.refresh_graph()  # ten tiles need no graph
    assert Manifest.read(index.path).graph is None
    assert list((index.path / "graph").iterdir()) == []


@pytest.mark.parametrize("harm", ["missing", "truncated", "foreign", "flipped"])
def test_a_graph_that_is_not_ours_is_never_trusted(
    index: TileIndex, tmp_path: Path, small_graphs: None, harm: str
) -> None:
    vectors = unit(200)
    index.put(source(), row_of_tiles(200), vectors)
    index.refresh_graph()
    record = Manifest.read(index.path).graph
    assert record is not None
    file = index.path / record.path
    if harm == "missing":
        file.unlink()
    elif harm == "truncated":
        file.write_bytes(file.read_bytes()[:-100])
    elif harm == "flipped":
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 255
        file.write_bytes(data)
    else:
        # hnswlib would load it without a word: another dimension, more vectors.
        other = TileIndex.create(tmp_path / "other", ModelStamp("o", "b" * 64, 8))
        other.put(source(), row_of_tiles(300), unit(300, dim=8))
        other.refresh_graph()
        theirs = Manifest.read(other.path).graph
        assert theirs is not None
        shutil.copy(other.path / theirs.path, file)
    again = TileIndex.open(index.path)
    assert len(again.verify()) == 1
    hits = again.search(vectors[:20], top=1)
    assert [hit.window[0] // 100 for (hit,) in hits] == list(range(20))
    assert not graph_used(again)
    again.refresh_graph()
    assert again.verify() == []
    again.search(vectors[:20])
    assert graph_used(again)


def test_graph_cut_short_by_a_full_disk_is_not_committed(
    index: TileIndex, small_graphs: None
) -> None:
    resource = pytest.importorskip("resource")
    index.put(source(), row_of_tiles(500), unit(500))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        # hnswlib writes what it can and says nothing.
        with pytest.raises(TileIndexError, match=r"graph/\d+.hnsw: cannot be written"):
            index.refresh_graph()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert Manifest.read(index.path).graph is None
    assert list((index.path / "graph").iterdir()) == []
    index.refresh_graph()
    assert index.verify() == []


# --- what the folder goes through -------------------------------------------------------------


def test_no_index_and_no_place_for_one(tmp_path: Path) -> None:
    with pytest.raises(TileIndexError, match="no index here"):
        TileIndex.open(tmp_path / "nowhere")
    assert not TileIndex.exists(tmp_path)
    (tmp_path / "holiday.txt").write_text("mine")
    with pytest.raises(TileIndexError, match="neither empty nor an index"):
        TileIndex.create(tmp_path, MODEL)
    with pytest.raises(TileIndexError, match="cannot be made"):
        TileIndex.create(tmp_path / "holiday.txt", MODEL)
    TileIndex.create(tmp_path / "new", MODEL)
    with pytest.raises(TileIndexError, match="is an index already"):
        TileIndex.create(tmp_path / "new", MODEL)


def test_another_model_is_refused_with_both_names(index: TileIndex) -> None:
    index.check_model(ModelStamp("same weights, other name", MODEL.fingerprint, DIM))
    with pytest.raises(TileIndexError, match=r"'tiny'.*'smolvlm-256m'"):
        index.check_model(ModelStamp("smolvlm-256m", "b" * 64, 576))
    with pytest.raises(TileIndexError, match=r"aaaaaaaaaaaa.*bbbbbbbbbbbb"):
        index.check_model(ModelStamp("tiny", "b" * 64, DIM))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\x00\xff garbage",
        "[1, 2]",
        "{}",
        '{"format": "ngcg-index", "version": 1}',
        json.dumps(
            {
                "format": "ngcg-index",
                "version": VERSION,
                "model": 3,
                "sources": [],
                "graph": None,
                "next_name": 1,
            }
        ),
    ],
)
def test_garbage_for_a_manifest_is_one_clear_error(index: TileIndex, text: str) -> None:
    (index.path / MANIFEST).write_text(text, encoding="latin-1")
    with pytest.raises(TileIndexError, match=r"manifest.json: is damaged"):
        TileIndex.open(index.path)


def test_manifest_of_another_time_or_place(index: TileIndex) -> None:
    index.put(source(), row_of_tiles(1), unit(1))
    path = index.path / MANIFEST
    good = json.loads(path.read_text())
    path.write_text(json.dumps({**good, "version": 99}))
    with pytest.raises(TileIndexError, match=r"format 99.*format 1"):
        TileIndex.open(index.path)
    good["sources"][0]["segments"][0]["name"] = "../../etc/passwd"
    path.write_text(json.dumps(good))
    with pytest.raises(TileIndexError, match="damaged"):
        TileIndex.open(index.path)


@pytest.mark.parametrize("name", ["tiles/000001.parquet", "vectors/000001.npy"])
def test_damage_is_told(index: TileIndex, name: str) -> None:
    index.put(source(), row_of_tiles(30), unit(30))
    file = index.path / name
    good = file.read_bytes()
    for bad, word in [(good[:-1], "bytes where"), (None, "missing")]:
        file.unlink() if bad is None else file.write_bytes(bad)
        with pytest.raises(TileIndexError, match=f"{name}.*{word}"):
            TileIndex.open(index.path)
    # Same size, other content: only `verify` reads everything, but a search never crashes.
    file.write_bytes(bytes(len(good)))
    again = TileIndex.open(index.path)
    assert again.verify() == [f"{name}: differs from what was committed"]
    with pytest.raises(TileIndexError, match="damaged"):
        again.search(unit(1))


@pytest.mark.parametrize("when", ["vectors", "tiles", MANIFEST])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_failure_at_any_step_leaves_the_last_state(
    index: TileIndex, monkeypatch: pytest.MonkeyPatch, when: str, error: BaseException
) -> None:
    index.put(source("a"), row_of_tiles(3), unit(3))
    before = (index.path / MANIFEST).read_bytes()
    moved = Path.replace

    def fail(self: Path, target: Path) -> Path:
        if when in str(target.relative_to(index.path)):
            raise error
        return moved(self, target)

    monkeypatch.setattr(Path, "replace", fail)
    expected = TileIndexError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected):
        index.put(source("a"), row_of_tiles(5, west=70), unit(5, seed=1))
    monkeypatch.undo()
    assert (index.path / MANIFEST).read_bytes() == before
    again = TileIndex.open(index.path)
    assert again.tile_count == index.tile_count == 3
    assert {round(hit.lon) for hit in again.search(unit(1))[0]} == {10}
    assert list(index.path.rglob(f"{files.PARTIAL}*")) == []
    index.put(source("b"), row_of_tiles(1, west=80), unit(1))
    assert TileIndex.open(index.path).verify() == []
    assert len(list((index.path / "vectors").iterdir())) == 2  # the half-done work is swept up


def test_killed_while_writing(index: TileIndex) -> None:
    """A process that dies between segment and manifest, without any clean-up."""
    index.put(source("a"), row_of_tiles(3), unit(3))
    code = f"""
import os, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_search import *
Manifest.write = lambda self, folder: os.kill(os.getpid(), 9)
TileIndex.open({str(index.path)!r}).put(source("b"), row_of_tiles(5, west=20), unit(5))
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    orphan = index.path / "tiles" / "000002.parquet"
    half = index.path / "vectors" / f"{files.PARTIAL}000009.npy"
    half.write_bytes(b"half")
    mine = index.path / "tiles" / "style.qml"
    mine.write_text("a file of the user's")
    assert orphan.exists()
    again = TileIndex.open(index.path)
    assert [s.path for s in again.sources()] == ["a"]
    assert len(again.search(unit(1), top=99)[0]) == 3
    with again.writing():  # the dead process's lock is free
        assert not orphan.exists()
        assert not half.exists()
    assert mine.exists()


def test_reader_outlives_a_replaced_source(index: TileIndex) -> None:
    index.put(source("a"), row_of_tiles(3), unit(3))
    reader = TileIndex.open(index.path)
    index.put(source("a"), row_of_tiles(4, west=20), unit(4, seed=1))
    assert {round(hit.lon) for hit in reader.search(unit(1))[0]} == {20}
    assert reader.tile_count == 4


def test_reader_sees_the_committed_state_while_one_writes(index: TileIndex) -> None:
    with index.writing():
        index.put(source("a"), row_of_tiles(3), unit(3))
        assert TileIndex.open(index.path).tile_count == 3
        index.put(source("b"), row_of_tiles(2, west=20), unit(2))
        assert len(TileIndex.open(index.path).search(unit(1))[0]) == 5


def test_writer_starts_from_the_last_committed_state(index: TileIndex) -> None:
    stale = TileIndex.open(index.path)
    index.put(source("a"), row_of_tiles(3), unit(3))
    stale.put(source("b"), row_of_tiles(2, west=20), unit(2))
    assert [s.path for s in TileIndex.open(index.path).sources()] == ["a", "b"]


def _hold(path: str, locked, done) -> None:  # type: ignore[no-untyped-def]
    with TileIndex.open(path).writing():
        locked.set()
        done.wait(30)


@pytest.mark.skipif(files.fcntl is None, reason="no file locks on this system")
def test_a_second_writer_is_refused_and_told_who_writes(index: TileIndex) -> None:
    context = multiprocessing.get_context("spawn")
    locked, done = context.Event(), context.Event()
    holder = context.Process(target=_hold, args=(str(index.path), locked, done))
    holder.start()
    try:
        assert locked.wait(30)
        with pytest.raises(TileIndexError, match=f"being written by process {holder.pid} on "):
            index.put(source(), row_of_tiles(1), unit(1))
        assert index.search(unit(1)) == [[]]  # a query needs no lock
    finally:
        done.set()
        holder.join(30)
    index.put(source(), row_of_tiles(1), unit(1))


# --- others open it ---------------------------------------------------------------------------


def test_geopandas_and_pyarrow_open_the_tiles(index: TileIndex) -> None:
    first, second = row_of_tiles(3), row_of_tiles(2, west=-70, south=-30)
    index.put(source("a.tif"), first, unit(3))
    index.put(source("b.tif"), second, unit(2))
    frame = geopandas.read_parquet(index.path / "tiles")
    assert frame.crs.to_epsg() == 4326 or frame.crs.to_string() == "OGC:CRS84"
    assert frame["source"].tolist() == ["a.tif"] * 3 + ["b.tif"] * 2
    assert [shapely.to_wkb(shape) for shape in frame.geometry] == [
        *first.geometry,
        *second.geometry,
    ]
    assert frame["lon"].tolist() == [*first.lon, *second.lon]
    assert frame[["column", "row", "width", "height"]].to_numpy().tolist() == (
        [*first.window.tolist(), *second.window.tolist()]
    )
    table = pyarrow.dataset.dataset(index.path / "tiles").to_table()
    assert table.num_rows == 5
    west = pyarrow.dataset.field("west") < 0
    assert table.filter(west).column("source").to_pylist() == ["b.tif"] * 2
    geo = json.loads(table.schema.metadata[b"geo"])
    assert geo["version"] == "1.1.0"
    assert geo["columns"]["geometry"] == {"encoding": "WKB", "geometry_types": ["Polygon"]}


def test_the_example_in_the_docs_runs(
    index: TileIndex, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tiles, vectors = row_of_tiles(5), unit(5)
    index.put(source("a.tif"), tiles, vectors)
    index.put(source("b.tif"), row_of_tiles(2, west=20), unit(2, seed=1))
    page = (Path(__file__).parents[1] / "docs" / "index-format.md").read_text()
    code = page.split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(index.path.parent)
    index.path.rename("ngcg-index")
    exec(compile(code, "index-format.md", "exec"), {"query": vectors[3]})
    shown = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert shown == [["a.tif", tiles.lon[3], tiles.lat[3]]]


def test_a_small_search_imports_nothing_heavy(index: TileIndex) -> None:
    index.put(source(), row_of_tiles(100), unit(100))
    code = f"""
import sys
import numpy as np
from ngcg_cli.search import TileIndex
hits = TileIndex.open({str(index.path)!r}).search(np.eye(1, {DIM}, dtype=np.float32))
assert len(hits[0]) == 10
heavy = {{"shapely", "pyproj", "hnswlib", "rasterio", "torch", "pandas", "pyarrow.dataset"}}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
