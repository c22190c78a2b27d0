"""The graph: its recall, its upkeep, and when exact search takes its place."""

import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_search import MODEL, places, row_of_tiles, source, unit

from ngcg_cli.errors import TileIndexError
from ngcg_cli.search import Filters, ModelStamp, TileIndex, graph
from ngcg_cli.search.format import Manifest
from ngcg_cli.search.graph import Graph
from ngcg_cli.search.ranking import top_k
from ngcg_cli.search.records import Tuning
from ngcg_cli.search.tiles import Ints
from ngcg_cli.search.vectors import Vectors


@pytest.fixture
def index(tmp_path: Path) -> TileIndex:
    return TileIndex.create(tmp_path / "index", MODEL)


def dear_exact_search(
    tree: Graph, probes: Vectors, blocks: Callable[[], Iterable[Any]], load: float
) -> Tuning:
    """What `graph.tune` finds where exact search takes seconds; the graph's ef is really sought."""
    _, scores = top_k(probes, blocks(), graph.DEPTH)
    found = graph.fit(tree, probes, scores[:, graph.RANKS - 1], limit=9.0)
    assert found is not None
    return Tuning(tree.count, found.ef, found.recall, 0.0, 1e-6, scan=9.0, score=1.0)


@pytest.fixture
def small_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Build graphs for few tiles, and use them: in truth, exact search of these is faster."""
    monkeypatch.setattr(graph, "MIN_TILES", 50)
    monkeypatch.setattr(graph, "tune", dear_exact_search)


def graph_used(index: TileIndex) -> bool:
    return index._view._graph is not None


@pytest.mark.slow
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


def retuned(index: TileIndex, **fields: Any) -> TileIndex:
    """The index, opened anew with other measurements beside its graph."""
    manifest = Manifest.read(index.path)
    assert manifest.graph is not None
    assert manifest.graph.tuning is not None
    tuning = replace(manifest.graph.tuning, **fields)
    replace(manifest, graph=replace(manifest.graph, tuning=tuning)).write(index.path)
    return TileIndex.open(index.path)


def test_graph_is_loaded_once_exact_searches_have_cost_as_much(
    index: TileIndex, small_graphs: None
) -> None:
    index.put(source(), row_of_tiles(200), unit(200))
    index.refresh_graph()
    # A query alone saves 3 + 1 - 1 = 3 seconds, so that the fourth brings it to 12.
    slow = retuned(index, load=12.0, query=1.0, scan=3.0, score=1.0)
    for query in unit(3, seed=5):
        slow.search(query[None])
        slow.search(query[None], exact=True)
    assert not graph_used(slow)
    slow.search(unit(1, seed=6))
    assert graph_used(slow)


def test_graph_is_used_only_where_it_costs_less(index: TileIndex, small_graphs: None) -> None:
    index.put(source(), row_of_tiles(200), unit(200))
    index.refresh_graph()
    # For one query the scan is saved; for many at once the product is cheaper than the graph.
    tuned = retuned(index, load=0.0, query=2.0, scan=3.0, score=1.0)
    tuned.search(unit(4, seed=5))
    assert not graph_used(tuned)
    tuned.search(unit(1, seed=5))
    assert graph_used(tuned)
    hopeless = retuned(index, ef=None, scan=99.0)
    hopeless.search(unit(50, seed=5))
    assert not graph_used(hopeless)


def test_graph_under_a_filter(index: TileIndex, small_graphs: None) -> None:
    index.put(source(), row_of_tiles(3000), unit(3000))
    index.refresh_graph()
    index = retuned(index, load=0.0, query=1.0, scan=9.0, score=1.0)
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
    index: TileIndex, small_graphs: None
) -> None:
    # Tuned on its own kind, then asked for what lies in no direction of the tiles: with a limit
    # that allows no wider search, the graph is given up and the answers are exact.
    index.put(source(), row_of_tiles(3000), unit(3000))
    index.refresh_graph()
    strict = retuned(index, ef=graph.DEPTH, scan=1e-9, score=1e-9, query=0.0)
    queries = unit(40, seed=5)
    found = strict.search(queries, keep_overlaps=True)
    assert not graph_used(strict)
    exact = strict.search(queries, exact=True, keep_overlaps=True)
    assert [places(hits) for hits in found] == [places(hits) for hits in exact]


def test_tuning_finds_the_least_breadth_that_is_enough() -> None:
    vectors = unit(4000)
    tree = Graph.empty(vectors.shape[1], len(vectors))
    tree.add([vectors], None)
    probes = graph.probes_between(unit(300, seed=1))

    def blocks() -> Iterator[tuple[Ints, Vectors]]:
        yield np.arange(len(vectors)), vectors

    tuning = graph.tune(tree, probes, blocks, load=1.0)
    assert tuning.scan >= 0
    assert tuning.score > 0
    _, scores = top_k(probes, blocks(), graph.DEPTH)
    found = graph.fit(tree, probes, scores[:, graph.RANKS - 1], limit=9.0)
    assert found is not None
    assert graph.TARGET <= found.recall <= 1
    if found.ef > graph.DEPTH:
        narrower = tree.search(probes, graph.DEPTH, found.ef * 3 // 4)
        assert narrower is not None
        worst = scores[:, graph.RANKS - 1 : graph.RANKS]
        assert (narrower[1][:, : graph.RANKS] >= worst - 1e-6).mean() < graph.TARGET
    assert graph.fit(tree, probes, scores[:, graph.RANKS - 1], limit=0.0) is None


def test_probes_lie_around_the_vectors() -> None:
    vectors = unit(300, dim=256)
    probes = graph.probes_between(vectors)
    assert np.linalg.norm(probes, axis=1) == pytest.approx(1, abs=1e-5)
    cosines = (probes * vectors[:100]).sum(axis=1)
    assert cosines[0] == pytest.approx(0.94, abs=0.05)
    assert cosines[-1] == pytest.approx(0.82, abs=0.05)


def test_a_graph_without_measurements_is_measured(index: TileIndex, small_graphs: None) -> None:
    """As left by the first format."""
    index.put(source(), row_of_tiles(200), unit(200))
    index.refresh_graph()
    manifest = Manifest.read(index.path)
    assert manifest.graph is not None
    replace(manifest, graph=replace(manifest.graph, tuning=None)).write(index.path)
    again = TileIndex.open(index.path)
    again.search(unit(20))
    assert not graph_used(again)
    again.refresh_graph()
    after = Manifest.read(index.path).graph
    assert after is not None
    assert after.file == manifest.graph.file
    assert after.tuning is not None
    again.search(unit(20))
    assert graph_used(again)


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
    index.drop(["a"])
    index.refresh_graph()  # ten tiles need no graph
    assert Manifest.read(index.path).graph is None
    assert list((index.path / "graph").iterdir()) == []


def test_a_useless_graph_is_left_alone_until_the_index_has_doubled(
    index: TileIndex, small_graphs: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def useless(tree: Graph, *_: Any) -> Tuning:
        return Tuning(tree.count, None, 0.0, 1.0, 0.0, scan=9.0, score=1.0)

    monkeypatch.setattr(graph, "tune", useless)
    added: list[int] = []
    index.put(source("a"), row_of_tiles(100), unit(100))
    index.refresh_graph(progress=added.append)
    assert sum(added) == 100
    before = Manifest.read(index.path).graph
    # Neither new tiles nor replaced ones are worth building what is not used.
    for name, seed in (("b", 1), ("b", 2), ("c", 3)):
        index.put(source(name), row_of_tiles(45, west=20 + seed), unit(45, seed=seed))
        index.refresh_graph(progress=added.append)
    assert sum(added) == 100
    assert Manifest.read(index.path).graph == before
    hits = index.search(unit(45, seed=3)[:5], top=1)
    assert [hit.source for (hit,) in hits] == ["c"] * 5
    monkeypatch.setattr(graph, "tune", dear_exact_search)
    index.put(source("d"), row_of_tiles(10, west=50), unit(10, seed=4))
    index.refresh_graph(progress=added.append)
    assert sum(added) == 200
    index.search(unit(10, seed=4))
    assert graph_used(index)


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
