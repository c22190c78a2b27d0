"""An index from a stranger is data: nothing in it is run, followed, waited for or believed."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from index_edits import TABLE, VECTORS, manifest_of, rewrite, told
from tile_samples import MODEL, row_of_tiles, source, unit

from ngcg_cli.errors import TileIndexError
from ngcg_cli.search import TileIndex, format
from ngcg_cli.search.describe import describe
from ngcg_cli.search.lock import LOCK


@pytest.fixture
def index(tmp_path: Path) -> TileIndex:
    made = TileIndex.create(tmp_path / "index", MODEL)
    made.put(source("a.tif"), row_of_tiles(40), unit(40))
    made.put(source("b.tif"), row_of_tiles(3, west=20), unit(3))
    return made


@pytest.fixture
def precious(tmp_path: Path) -> Path:
    """A folder of the user's with files of names that ngcg writes too; it must stay as it is."""
    folder = tmp_path / "home"
    folder.mkdir()
    for name in ("000001.npy", "000001.parquet", "thesis.npy", ".bashrc"):
        (folder / name).write_text(f"my {name}")
    return folder


def untouched(folder: Path) -> bool:
    return {p.name: p.read_text() for p in folder.iterdir()} == {
        name: f"my {name}" for name in ("000001.npy", "000001.parquet", "thesis.npy", ".bashrc")
    }


# --- what is no file --------------------------------------------------------------------------


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _zeros(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _elsewhere(path: Path) -> None:
    other = path.with_name("elsewhere")
    other.write_bytes(b"{}")
    path.symlink_to(other)


@pytest.mark.parametrize("odd", [_pipe, _zeros, _elsewhere, Path.mkdir])
def test_a_manifest_that_is_no_file(index: TileIndex, odd: Callable[[Path], None]) -> None:
    path = index.path / "manifest.json"
    path.unlink()
    odd(path)
    assert "manifest.json: is damaged (it is" in told(lambda: TileIndex.open(index.path))
    with pytest.raises(TileIndexError):
        index.drop(["a.tif"])


@pytest.mark.parametrize("name", [TABLE, VECTORS])
@pytest.mark.parametrize("odd", [_pipe, _zeros, _elsewhere, Path.mkdir])
def test_a_segment_file_that_is_no_file(
    index: TileIndex, name: str, odd: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    (index.path / name).unlink()
    odd(index.path / name)
    again = TileIndex.open(index.path)
    assert again.damaged() == {"a.tif"}
    assert f"{name} is damaged (it is" in caplog.text
    assert {hit.source for hit in again.search(unit(1))[0]} == {"b.tif"}
    assert describe(again, check=True)["health"]["damaged"][0].startswith(name)


@pytest.mark.parametrize("kind", ["vectors", "tiles", "graph"])
def test_folders_that_are_links_are_never_written_or_swept(
    index: TileIndex, precious: Path, kind: str
) -> None:
    data = manifest_of(index.path)
    folder = index.path / kind
    if folder.exists():
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
    folder.symlink_to(precious)
    writes: list[Callable[[TileIndex], object]] = [
        lambda index: index.drop(["a.tif"]),
        lambda index: index.put(source("c"), row_of_tiles(1), unit(1)),
        lambda index: index.rename_all([("a.tif", source("z"))]),
        lambda index: index.refresh_graph(),
    ]
    for write in writes:
        for sources in (data["sources"], []):
            rewrite(index.path, {**data, "sources": sources})
            line = told(lambda write=write: write(TileIndex.open(index.path)))
            assert f"{kind}: is damaged (it is a link" in line
            assert untouched(precious)


def test_hidden_names_that_are_links_are_replaced(index: TileIndex, precious: Path) -> None:
    victim = precious / ".bashrc"
    for name in (".partial-manifest.json", "vectors/.partial-000003.npy", "manifest.previous.json"):
        (index.path / name).unlink(missing_ok=True)
        (index.path / name).symlink_to(victim)
    index.put(source("c"), row_of_tiles(1), unit(1))
    assert untouched(precious)
    assert TileIndex.open(index.path).verify() == []


def test_a_lock_that_is_a_link_or_second_name_is_not_written(
    index: TileIndex, precious: Path
) -> None:
    lock = index.path / LOCK
    for make in (lock.symlink_to, lock.hardlink_to):
        lock.unlink()
        make(precious / ".bashrc")
        assert f"{LOCK}: is no plain file" in told(lambda: index.drop(["a.tif"]))
        assert untouched(precious)
    lock.unlink()
    os.mkfifo(lock)
    assert f"{LOCK}: is no plain file" in told(lambda: index.drop(["a.tif"]))


def test_only_names_that_ngcg_writes_are_swept(index: TileIndex) -> None:
    mine = ["tiles/sales.parquet", "vectors/thesis.npy", "vectors/1.npy", "graph/keep.hnsw"]
    strays = ["tiles/000099.parquet", "vectors/.partial-000099.npy", "graph/000099.hnsw"]
    (index.path / "graph").mkdir()
    for name in mine + strays:
        (index.path / name).write_text("x")
    index.drop(["b.tif"])
    assert [(index.path / name).exists() for name in mine] == [True] * len(mine)
    assert [(index.path / name).exists() for name in strays] == [False] * len(strays)


# --- another writer's place -------------------------------------------------------------------


def test_a_writer_stops_when_its_lock_is_deleted(index: TileIndex) -> None:
    before = manifest_of(index.path)
    with index.writing():
        (index.path / LOCK).unlink()
        other = TileIndex.open(index.path)
        other.put(source("c"), row_of_tiles(2, west=40), unit(2))
        for write in (
            lambda: index.put(source("d"), row_of_tiles(5), unit(5)),
            lambda: index.drop(["a.tif"]),
        ):
            assert "while this process wrote it" in told(write)
    again = TileIndex.open(index.path)
    assert [s.path for s in again.sources()] == ["a.tif", "b.tif", "c"]
    assert again.verify() == []
    assert before["sources"] == manifest_of(index.path)["sources"][:2]


def test_a_writer_stops_when_its_folder_is_moved(index: TileIndex, tmp_path: Path) -> None:
    with index.writing():
        index.path.rename(tmp_path / "moved")
        told(lambda: index.put(source("c"), row_of_tiles(2), unit(2)))
        assert not index.path.exists()
        TileIndex.create(index.path, MODEL)  # another one in its place
        told(lambda: index.put(source("c"), row_of_tiles(2), unit(2)))
    assert TileIndex.open(index.path).sources() == []
    moved = TileIndex.open(tmp_path / "moved")
    assert moved.verify() == []
    assert [s.path for s in moved.sources()] == ["a.tif", "b.tif"]


# --- the manifest -----------------------------------------------------------------------------


def test_every_flipped_bit_of_a_manifest_is_noticed(index: TileIndex) -> None:
    path = index.path / "manifest.json"
    good = path.read_bytes()
    for at in range(0, len(good), 7):
        for bit in (0, 3, 5):
            data = bytearray(good)
            data[at] ^= 1 << bit
            path.write_bytes(data)
            told(lambda: TileIndex.open(index.path))
    path.write_bytes(good)
    assert TileIndex.open(index.path).tile_count == 43


def test_a_manifest_edited_by_hand_says_what_to_do(index: TileIndex) -> None:
    data = manifest_of(index.path)
    data["sources"][0]["path"] = "elsewhere.tif"
    (index.path / "manifest.json").write_text(json.dumps(data))
    line = told(lambda: TileIndex.open(index.path))
    assert "its bytes do not fit its checksum" in line
    assert "Copy manifest.previous.json" in line
    del data["checksum"]
    (index.path / "manifest.json").write_text(json.dumps(data))
    assert "do not fit" in told(lambda: TileIndex.open(index.path))


def test_info_says_whether_a_manifest_has_a_checksum(index: TileIndex) -> None:
    assert describe(index)["health"]["sealed"] is True
    data = {**manifest_of(index.path), "version": 2}
    del data["checksum"]
    (index.path / "manifest.json").write_text(json.dumps(data))
    health = describe(TileIndex.open(index.path))["health"]
    assert (health["ok"], health["upgrade"], health["sealed"]) == (True, True, False)


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m["sources"][0]["segments"][0].update(tiles=10**15),
        lambda m: m["sources"][0]["segments"][0].update(tiles=True),
        lambda m: m["sources"][0]["segments"][0].update(name="٠٠٠٠٠١"),
        lambda m: m["sources"][0]["segments"][0]["vectors"].update(bytes=0),
        lambda m: m["sources"][0]["segments"][0]["vectors"].update(bytes=-1),
        lambda m: m["sources"][0]["segments"][0]["vectors"].update(bytes=1e300),
        lambda m: m["sources"][0]["segments"][0].update(bbox=[0, 0, float("nan"), 1]),
        lambda m: m["sources"][0]["segments"][0].update(bbox=[0, 0, "1", 1]),
        lambda m: m["sources"][0]["segments"].append(None),
        lambda m: m["sources"][0].update(overlap=float("inf")),
        lambda m: m["sources"][0].update(path=7),
        lambda m: m["sources"][0].update(mtime_ns=10**400),
        lambda m: m["sources"][0].update(surprise=1),
        lambda m: m["sources"].append(m["sources"][0]),
        lambda m: m["model"].update(dim=1 << 40),
        lambda m: m["model"].update(precision="x; rm"),
        lambda m: m.update(next_name=-1),
        lambda m: m.update(next_name="1"),
        lambda m: m.update(sources={}),
        lambda m: m.update(version=True),
        lambda m: m.update(graph={"name": "000009"}),
        lambda m: m.update(graph=[]),
    ],
)
def test_a_manifest_of_odd_values_is_one_line(index: TileIndex, change: Any) -> None:
    data = manifest_of(index.path)
    change(data)
    rewrite(index.path, data)
    told(lambda: TileIndex.open(index.path))


def test_a_manifest_too_deep_or_too_large_is_one_line(
    index: TileIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = index.path / "manifest.json"
    for text in ("[" * 200_000, '{"a":' * 100_000, "1" * 5_000):
        path.write_text(text)
        assert "is damaged" in told(lambda: TileIndex.open(index.path))
    monkeypatch.setattr(format, "MAX_MANIFEST", 1000)
    path.write_text(" " * 1001)
    assert "more than 1,000 bytes" in told(lambda: TileIndex.open(index.path))


def test_no_more_segments_than_can_be_read_again(
    index: TileIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = (index.path / "manifest.json").stat().st_size
    monkeypatch.setattr(format, "MAX_MANIFEST", size + 200)
    line = told(lambda: index.put(source("c"), row_of_tiles(1), unit(1)))
    assert "more than an index can hold" in line
    assert TileIndex.open(index.path).tile_count == 43
