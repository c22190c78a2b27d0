"""The graph: its recall, its upkeep, and when exact search takes its place."""

import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from index_edits import manifest_of, record, rewrite
from test_search import MODEL, places, row_of_tiles, source, unit

from ngcg_cli.errors import TileIndexError
from ngcg_cli.search import Filters, ModelStamp, TileIndex, graph, ranker
from ngcg_cli.search.format import Manifest
from ngcg_cli.search.graph import Graph
from ngcg_cli.search.graph_file import check_graph
from ngcg_cli.search.ranker import Ranker
from ngcg_cli.search.ranking import top_k


@pytest.fixture
def index(tmp_path: Path) -> TileIndex:
    return TileIndex.create(tmp_path / "index", MODEL)


@pytest.fixture
def small_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Build graphs for few tiles, and use them: in truth, exact search of these is faster.

    Loading costs nothing, exact search counts as a second for each query, and the limit of what a
    graph may cost is as far off.
    """
    fit = graph.fit
    monkeypatch.setattr(graph, "MIN_TILES", 50)
    monkeypatch.setattr(ranker, "LOAD_RATE", np.inf)
    monkeypatch.setattr(Ranker, "_note_exact", dear_exact_search)
    monkeypatch.setattr(
        graph, "fit", lambda tree, queries, worst, limit, *ef: fit(tree, queries, worst, 9.0, *ef)
    )


def dear_exact_search(self: Ranker, queries: int, tiles: int, seconds: float, asked: bool) -> None:
    self._exact = dict.fromkeys(range(64), 1.0 / self._view.count)
    self._spent += 0 if asked else 1.0


def warmed(index: TileIndex) -> TileIndex:
    """The index, opened anew, after a search that told what exact search costs."""
    again = TileIndex.open(index.path)
    again.search(unit(1, seed=99))
    return again


def graph_used(index: TileIndex) -> bool:
    return index._ranker._graph is not None


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


@pytest.mark.parametrize("harm", ["missing", "truncated", "foreign", "flipped"])
def test_a_graph_that_is_not_ours_is_never_trusted(
    index: TileIndex, tmp_path: Path, small_graphs: None, harm: str
) -> None:
    vectors = unit(200)
    index.put(source(), row_of_tiles(200), vectors)
    index.refresh_graph()
    held = Manifest.read(index.path).graph
    assert held is not None
    file = index.path / held.path
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
    again = warmed(index)
    assert len(again.verify()) == 1
    hits = again.search(vectors[:20], top=1)
    assert [hit.window[0] // 100 for (hit,) in hits] == list(range(20))
    assert not graph_used(again)
    again.refresh_graph()
    assert again.verify() == []
    again.search(vectors[:20])
    again.search(vectors[:20])
    assert graph_used(again)


def crafted(data: bytearray, name: str) -> None:
    """Overwrites some of a graph's file; 16 dimensions, 200 vectors, an element of 268 bytes."""
    first, size, links = 96, 4 + 4 * 48 + 64 + 8, 4
    count = struct.unpack_from("<Q", data, 16)[0]
    tail = first + count * size
    filled = next(at for at in range(tail, len(data), 4) if struct.unpack_from("<I", data, at)[0])
    (second,) = struct.unpack_from("<Q", data, first + 2 * size - 8)
    writes: dict[str, tuple[str, int, int | float]] = {
        "offset of links": ("<Q", 0, 0x4141414141414141),
        "count": ("<Q", 16, 1 << 40),
        "size of an element": ("<Q", 24, 1),
        "offset of labels": ("<Q", 32, 0),
        "offset of vectors": ("<Q", 40, 1 << 60),
        "highest level": ("<i", 48, 1000),
        "level below zero": ("<i", 48, -1),
        "entry point": ("<I", 52, 0x7FFFFFFF),
        "neighbours": ("<Q", 56, 1 << 30),
        "neighbours below": ("<Q", 64, 1 << 30),
        "m": ("<Q", 72, 0),
        "factor": ("<d", 80, float("nan")),
        "breadth of adding": ("<Q", 88, 1 << 62),
        "too many links": ("<H", first, 49),
        "a link out of range": ("<I", first + links, count),
        "a mark": ("<B", first + 2, 255),
        "a label out of range": ("<Q", first + size - 8, 1 << 63),
        "a label twice": ("<Q", first + size - 8, second),
        "a vector that is not finite": ("<f", first + 4 + 4 * 48, float("nan")),
        "a long list": ("<I", tail, 0xFFFFFFFC),
        "a list of odd length": ("<I", filled, 99),
        "too high a list": ("<I", filled, 100 * 65),
        "too many links above": ("<H", filled + 4, 25),
        "a link above to where none is": ("<I", filled + 8, 0),
    }  # fmt: skip
    kind, at, value = writes[name]
    struct.pack_into(kind, data, at, value)
    if name == "a link above to where none is":
        # To a vector that is on the lowest level only.
        low = next(i for i in range(count) if not struct.unpack_from("<I", data, tail + 4 * i)[0])
        assert tail + 4 * low < filled
        struct.pack_into("<H", data, filled + 4, 1)
        struct.pack_into("<I", data, filled + 8, low)


@pytest.mark.parametrize(
    "name",
    [
        "offset of links", "count", "size of an element", "offset of labels", "offset of vectors",
        "highest level", "level below zero", "entry point", "neighbours", "neighbours below", "m",
        "factor", "breadth of adding", "too many links", "a link out of range", "a mark",
        "a label out of range", "a label twice", "a vector that is not finite", "a long list",
        "a list of odd length", "too high a list", "too many links above",
        "a link above to where none is",
    ],
)  # fmt: skip
def test_a_crafted_graph_never_comes_to_hnswlib(
    index: TileIndex, small_graphs: None, name: str
) -> None:
    vectors = unit(200)
    index.put(source(), row_of_tiles(200), vectors)
    index.refresh_graph()
    path = index.path / f"graph/{index.manifest.graph.name}.hnsw"  # type: ignore[union-attr]
    data = bytearray(path.read_bytes())
    with path.open("rb") as file:
        check_graph(file, 16, 200)
    crafted(data, name)
    path.write_bytes(data)
    with path.open("rb") as file, pytest.raises(ValueError):  # noqa: PT011
        check_graph(file, 16, 200)
    for cut in (50, 5_000, len(data) - 4):
        path.write_bytes(data[:cut])
        with path.open("rb") as file, pytest.raises(ValueError):  # noqa: PT011
            check_graph(file, 16, 200)
    path.write_bytes(data)
    # Its checksum is in the same manifest, as a stranger would have it.
    manifest = manifest_of(index.path)
    manifest["graph"]["file"] = record(index.path, f"graph/{path.name}")
    rewrite(index.path, manifest)
    again = warmed(index)
    hits = again.search(vectors[:20], top=1)
    assert [hit.window[0] // 100 for (hit,) in hits] == list(range(20))
    assert not graph_used(again)
    assert again.describe(check=True)["graph"]["state"] == "damaged"
    again.put(source("b"), row_of_tiles(9, west=20), unit(9, seed=1))
    again.refresh_graph()  # built anew, not extended
    with next((again.path / "graph").glob("*.hnsw")).open("rb") as file:
        check_graph(file, 16, 209)


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
