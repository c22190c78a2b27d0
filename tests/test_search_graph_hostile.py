"""A graph that is not ours, damaged or crafted, is never trusted."""

import shutil
import struct
from pathlib import Path

import pytest
from graph_samples import graph_used, warmed
from index_edits import manifest_of, record, rewrite
from tile_samples import MODEL, row_of_tiles, source, unit

from ngcg_cli.search import ModelStamp, TileIndex
from ngcg_cli.search.format import Manifest
from ngcg_cli.search.graph_file import check_graph


@pytest.fixture
def index(tmp_path: Path) -> TileIndex:
    return TileIndex.create(tmp_path / "index", MODEL)


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
