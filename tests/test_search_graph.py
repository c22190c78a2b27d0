"""The graph: its recall, its upkeep, and when exact search takes its place."""

from pathlib import Path

import numpy as np
import pytest
from graph_samples import graph_used, warmed
from index_edits import manifest_of, rewrite
from tile_samples import MODEL, places, row_of_tiles, source, unit

from ngcg_cli.errors import TileIndexError
from ngcg_cli.search import Filters, TileIndex, graph, ranker
from ngcg_cli.search.format import Manifest
from ngcg_cli.search.graph import Graph
from ngcg_cli.search.ranking import top_k


@pytest.fixture
def index(tmp_path: Path) -> TileIndex:
    return TileIndex.create(tmp_path / "index", MODEL)


@pytest.mark.slow
def test_graph_recall(index: TileIndex, small_graphs: None) -> None:
    index.put(source("a"), row_of_tiles(3000), unit(3000))
    index.put(source("b"), row_of_tiles(2000, west=60), unit(2000, seed=1))
    index.refresh_graph()
    again = warmed(index)
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


def test_graph_waits_for_many_tiles(
    index: TileIndex, monkeypatch: pytest.MonkeyPatch, small_graphs: None
) -> None:
    index.put(source(), row_of_tiles(60), unit(60))
    monkeypatch.setattr(graph, "MIN_TILES", 61)
    index.refresh_graph()
    assert Manifest.read(index.path).graph is None
    monkeypatch.setattr(graph, "MIN_TILES", 60)
    index.refresh_graph()
    assert Manifest.read(index.path).graph is not None


def test_graph_is_loaded_once_exact_searches_have_cost_as_much(
    index: TileIndex, small_graphs: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.put(source(), row_of_tiles(200), unit(200))
    index.refresh_graph()
    record = Manifest.read(index.path).graph
    assert record is not None
    # Loading costs three and a half seconds, each search one.
    monkeypatch.setattr(ranker, "LOAD_RATE", record.file.bytes / 3.5)
    slow = TileIndex.open(index.path)
    for query in unit(4, seed=5):
        slow.search(query[None])
        slow.search(query[None], exact=True)
        assert not graph_used(slow)
    slow.search(unit(1, seed=6))
    assert graph_used(slow)


def test_the_way_that_did_cost_less_is_gone(index: TileIndex, small_graphs: None) -> None:
    index.put(source(), row_of_tiles(200), unit(200))
    index.refresh_graph()
    index = warmed(index)
    index.search(unit(1, seed=5))
    ranks, loaded = index._ranker, index._ranker._graph
    assert loaded is not None
    record = Manifest.read(index.path).graph
    assert record is not None
    # A query by the graph takes 2 s; exactly it takes 3 s alone, and 1 s in a batch of four.
    loaded.seconds = 2.0
    ranks._exact = {1: 3 / 200, 3: 1 / 200}
    assert ranks._pays(record, 1, 200, graph.DEPTH)
    assert not ranks._pays(record, 4, 200, graph.DEPTH)
    assert not ranks._pays(record, 1, 100, 10)  # half of the tiles: exact search takes half
    assert not ranks._pays(record, 1, 200, 2 * graph.DEPTH)  # twice the ranks, twice the cost
    assert not ranks._pays(record, 9, 200, graph.DEPTH)  # never tried: an exact search will tell
    assert not ranks._pays(record, 1, 200, graph.MAX_K + 1)


def test_what_searches_cost_is_measured(index: TileIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    index.put(source(), row_of_tiles(200), unit(200))
    clock = iter(range(100))
    monkeypatch.setattr("time.process_time", lambda: next(clock))
    index.search(unit(4), keep_overlaps=True)
    assert index._ranker._exact == {3: 1 / 800}
    assert index._ranker._spent == 1
    index.search(unit(1), exact=True, keep_overlaps=True)
    assert index._ranker._exact == {3: 1 / 800, 1: 1 / 200}
    assert index._ranker._spent == 1


def test_graph_under_a_filter(index: TileIndex, small_graphs: None) -> None:
    index.put(source(), row_of_tiles(3000), unit(3000))
    index.refresh_graph()
    index = warmed(index)
    west, east = row_of_tiles(3000).lon[[0, -1]]
    queries = unit(3, seed=5)
    little = (west, -90.0, west + 0.02 * (east - west), 90.0)
    index.search(queries, top=1, filters=Filters(bbox=little))
    assert not graph_used(index)
    much = (west, -90.0, west + 0.8 * (east - west), 90.0)
    found = index.search(queries, filters=Filters(bbox=much), top=5, keep_overlaps=True)
    assert graph_used(index)
    exact = index.search(queries, filters=Filters(bbox=much), top=5, keep_overlaps=True, exact=True)
    assert [places(hits) for hits in found] == [places(hits) for hits in exact]


def test_graph_that_fails_on_the_queries_asked_is_not_used(
    index: TileIndex, small_graphs: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # With a limit that allows no wider search the graph is given up, and the answers are exact.
    index.put(source(), row_of_tiles(3000), unit(3000))
    index.refresh_graph()
    strict = warmed(index)
    monkeypatch.setattr(graph, "fit", lambda *_: None)
    queries = unit(40, seed=5)
    found = strict.search(queries, keep_overlaps=True)
    assert not graph_used(strict)
    exact = strict.search(queries, exact=True, keep_overlaps=True)
    assert [places(hits) for hits in found] == [places(hits) for hits in exact]
    assert strict._ranker._record is None


def test_the_least_breadth_that_is_enough_is_found() -> None:
    vectors = unit(4000)
    tree = Graph.empty(vectors.shape[1], len(vectors))
    tree.add([vectors], None)
    probes = graph.probes_between(unit(300, seed=1))
    _, scores = top_k(probes, [(np.arange(len(vectors)), vectors)], graph.DEPTH)
    worst = scores[:, graph.RANKS - 1]
    found = graph.fit(tree, probes, worst, limit=9.0)
    assert found is not None
    assert graph.TARGET <= found.recall <= 1
    if found.ef > graph.DEPTH:
        narrower = tree.search(probes, graph.DEPTH, found.ef * 3 // 4)
        assert narrower is not None
        assert (narrower[1][:, : graph.RANKS] >= worst[:, None] - 1e-6).mean() < graph.TARGET
    assert graph.fit(tree, probes, worst, limit=0.0) is None


def test_probes_lie_around_the_vectors() -> None:
    vectors = unit(300, dim=256)
    probes = graph.probes_between(vectors)
    assert np.linalg.norm(probes, axis=1) == pytest.approx(1, abs=1e-5)
    cosines = (probes * vectors[:100]).sum(axis=1)
    assert cosines[0] == pytest.approx(0.94, abs=0.05)
    assert cosines[-1] == pytest.approx(0.82, abs=0.05)


def test_a_graph_of_format_2_is_used_and_one_without_measurements_built_anew(
    index: TileIndex, small_graphs: None
) -> None:
    index.put(source(), row_of_tiles(200), unit(200))
    index.refresh_graph()
    data = manifest_of(index.path)
    ef = data["graph"].pop("ef")
    for tuning in ({"count": 200, "ef": ef, "recall": 1.0, "load": 0.1}, None):
        data["graph"]["tuning"] = tuning
        rewrite(index.path, data)
        again = warmed(index)
        again.search(unit(20))
        assert graph_used(again) == (tuning is not None)
    again.refresh_graph()
    after = Manifest.read(index.path).graph
    assert after is not None
    assert after.ef == ef


def test_graph_lags_behind_and_is_extended(index: TileIndex, small_graphs: None) -> None:
    parts = {name: unit(60, seed=i) for i, name in enumerate("abcdefgh")}
    for i, name in enumerate("abcdefg"):
        index.put(source(name), row_of_tiles(60, west=i), parts[name])
    index.refresh_graph()
    index.put(source("h"), row_of_tiles(60, west=9), parts["h"])
    index.drop(["b"])
    index.put(source("c"), row_of_tiles(60, west=12), parts["c"][::-1])  # replaced

    def check() -> None:
        # Everything is its own best match, wherever it lies; what is gone is not found.
        fresh = warmed(index)
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
    index.search(unit(10, seed=1))
    assert graph_used(index)
    assert [h[0].source for h in index.search(unit(10, seed=1))] == ["b"] * 10
    index.drop(["a"])
    index.refresh_graph()  # ten tiles need no graph
    assert Manifest.read(index.path).graph is None
    assert list((index.path / "graph").iterdir()) == []


def test_a_graph_that_costs_more_than_exact_search_is_not_used(
    index: TileIndex, small_graphs: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graph, "fit", lambda *_, **__: None)
    index.put(source("a"), row_of_tiles(100), unit(100))
    index.refresh_graph()
    before = Manifest.read(index.path).graph
    assert before is not None
    assert before.ef is None
    added: list[int] = []
    index.refresh_graph(progress=added.append)
    assert added == []  # nothing new, nothing done
    index = warmed(index)
    index.search(unit(20))
    assert not graph_used(index)


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
