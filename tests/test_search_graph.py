import shutil
from pathlib import Path

import numpy as np
import pytest
from test_search import MODEL, places, row_of_tiles, source, unit

from ngcg_cli.errors import TileIndexError
from ngcg_cli.search import ModelStamp, TileIndex, graph
from ngcg_cli.search.format import Manifest


@pytest.fixture
def index(tmp_path: Path) -> TileIndex:
    return TileIndex.create(tmp_path / "index", MODEL)


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
