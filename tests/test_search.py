import itertools
import json
import os
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
from tile_samples import DIM, MODEL, row_of_tiles, source, unit

from ngcg_cli.errors import TileIndexError, UsageError
from ngcg_cli.search import Filters, TileIndex, TileTable
from ngcg_cli.search import snapshot as snapshot_module
from ngcg_cli.search.ranking import top_k


@pytest.fixture
def index(tmp_path: Path) -> TileIndex:
    return TileIndex.create(tmp_path / "index", MODEL)


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
        assert hit.footprint == [[[tuple(point) for point in ring.tolist()]]]
    hits = again.search(unit(1, seed=7), top=100)[0]
    assert [hit.rank for hit in hits] == list(range(1, 9))
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_empty_index_and_source_without_tiles(index: TileIndex) -> None:
    assert index.search(unit(2)) == [[], []]
    assert index.search(unit(1), filters=Filters(bbox=(0, 0, 1, 1), near=(0, 0, 5))) == [[]]
    index.put(source("black.tif"), row_of_tiles(0), np.empty((0, DIM)))
    assert [(s.path, s.tiles) for s in TileIndex.open(index.path).sources()] == [("black.tif", 0)]
    assert index.search(unit(2)) == [[], []]


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
    assert again.drop(["a.tif"])
    assert not again.drop(["a.tif"])
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


def test_equal_scores_come_in_row_order_in_hundreds_of_random_searches() -> None:
    """Copies of some vectors, spread over blocks of odd sizes; BLAS alone makes them unequal."""
    rng = np.random.default_rng(0)
    for turn in range(300):
        dim = int(rng.integers(3, 300))
        kinds = unit(int(rng.integers(1, 20)), seed=turn, dim=dim)
        vectors = kinds[rng.integers(len(kinds), size=int(rng.integers(1, 400)))]
        queries = unit(int(rng.integers(1, 9)), seed=turn + 1000, dim=dim)
        cuts = np.unique(rng.integers(0, len(vectors) + 1, 4))
        blocks = [
            (np.arange(a, b), vectors[a:b])
            for a, b in itertools.pairwise([0, *cuts.tolist(), len(vectors)])
            if b > a
        ]
        k = int(rng.integers(1, 60))
        rows, _ = top_k(queries, blocks, k)
        # Two different vectors may round to one score: then they are equal for both.
        truth = (queries.astype(np.float64) @ kinds.T.astype(np.float64)).astype(np.float32)
        kind = np.array([np.flatnonzero((kinds == v).all(axis=1))[0] for v in vectors])
        for query, found in enumerate(rows):
            best = np.argsort(-truth[query][kind], kind="stable")[:k]
            assert found[: len(best)].tolist() == best.tolist()


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
    kept = index.search(queries[:2], filters=Filters(bbox=(1.9, 0, 3.5, 90)), top=100)
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


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are counted in /proc")
def test_reading_tiles_starts_no_thread(index: TileIndex) -> None:
    """A thread of Arrow's that is still at a Python file when the process ends aborts it."""
    index.put(source(), row_of_tiles(100), unit(100))
    code = f"""
import os
import numpy as np
import pyarrow.parquet
from ngcg_cli.search import TileIndex
before = len(os.listdir("/proc/self/task"))
index = TileIndex.open({str(index.path)!r})
assert len(index.search(np.eye(1, {DIM}, dtype=np.float32))[0]) == 10
index.nearest(50, 10)
assert len(os.listdir("/proc/self/task")) == before
"""
    subprocess.run([sys.executable, "-c", code], check=True)
