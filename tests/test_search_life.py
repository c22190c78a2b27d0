"""Two processes and one index: locks, what readers see, and processes that die while they write."""

import json
import multiprocessing
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from index_edits import manifest_of, rewrite
from tile_samples import DIM, MODEL, row_of_tiles, source, unit

from ngcg_cli.errors import TileIndexError
from ngcg_cli.search import Block, Filters, ModelStamp, TileIndex, files, lock
from ngcg_cli.search.format import MANIFEST, PREVIOUS, VERSION, Manifest


@pytest.fixture
def index(tmp_path: Path) -> TileIndex:
    return TileIndex.create(tmp_path / "index", MODEL)


def test_no_index_and_no_place_for_one(tmp_path: Path) -> None:
    with pytest.raises(TileIndexError, match="no index here"):
        TileIndex.open(tmp_path / "nowhere")
    assert not TileIndex.exists(tmp_path)
    (tmp_path / "holiday.txt").write_text("mine")
    with pytest.raises(TileIndexError, match="neither empty nor an index"):
        TileIndex.create(tmp_path, MODEL)
    with pytest.raises(TileIndexError, match="cannot be made"):
        TileIndex.create(tmp_path / "holiday.txt", MODEL)
    for name in (tmp_path / "holiday.txt", Path(os.devnull)):
        with pytest.raises(TileIndexError, match="is a file, and an index is a folder") as told:
            TileIndex.open(name)
        assert "delete" not in str(told.value)
    with pytest.raises(TileIndexError, match="no index here"):
        TileIndex.open(tmp_path / "holiday.txt" / "index")
    with pytest.raises(TileIndexError, match="a: cannot be read: File name too long"):
        TileIndex.open(tmp_path / ("a" * 300))
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
    good = manifest_of(index.path)
    rewrite(index.path, {**good, "version": 99})
    with pytest.raises(TileIndexError, match=r"format 99.*format 3"):
        TileIndex.open(index.path)
    good["sources"][0]["segments"][0]["name"] = "../../etc/passwd"
    rewrite(index.path, good)
    with pytest.raises(TileIndexError, match="damaged"):
        TileIndex.open(index.path)


@pytest.mark.parametrize("name", ["tiles/000002.parquet", "vectors/000002.npy"])
@pytest.mark.parametrize("how", ["cut", "missing", "zeroed"])
def test_the_sound_rest_answers(
    index: TileIndex, name: str, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    index.put(source("a"), row_of_tiles(30), unit(30))
    index.put(source("b", windows=30, done=30), row_of_tiles(30, west=20), unit(30, seed=1))
    index.put(source("c"), row_of_tiles(30, west=30), unit(30, seed=2))
    file = index.path / name
    good = file.read_bytes()
    if how == "missing":
        file.unlink()
    else:
        file.write_bytes(good[:-1] if how == "cut" else bytes(len(good)))
    again = TileIndex.open(index.path)
    hits = again.search(unit(1), top=99)[0]
    again.search(unit(1), filters=Filters(bbox=(0, 0, 90, 90)))
    assert {hit.source for hit in hits} == {"a", "c"}
    assert len(hits) == again.tile_count == 60
    assert again.damaged() == {"b"}
    assert len(again.verify()) == 1
    assert again.verify()[0].startswith(name)
    (warning,) = (record.getMessage() for record in caplog.records)  # once
    assert "tiles of b (" in warning
    assert name in warning
    # It counts as not done, so that it is done again; that heals the index.
    (told,) = (s for s in again.sources() if s.path == "b")
    assert (told.complete, told.done, told.windows) == (False, 0, 0)
    again.put(source("b"), row_of_tiles(4, west=20), unit(4))
    assert TileIndex.open(index.path).verify() == []
    assert again.damaged() == TileIndex.open(index.path).damaged() == set()
    assert again.tile_count == 64


def test_damage_while_an_index_is_open(index: TileIndex) -> None:
    index.put(source("a"), row_of_tiles(3), unit(3))
    index.put(source("b"), row_of_tiles(3, west=20), unit(3))
    (index.path / "vectors/000001.npy").unlink()
    assert {hit.source for hit in index.search(unit(1))[0]} == {"b"}
    with index.writing():  # a commit of other sources leaves it as it is
        index.put(source("c"), row_of_tiles(3, west=30), unit(3))
    assert index.damaged() == {"a"}
    assert [s.path for s in TileIndex.open(index.path).sources()] == ["a", "b", "c"]


def test_the_last_manifest_but_one_is_kept(index: TileIndex) -> None:
    index.put(source("a"), row_of_tiles(3), unit(3))
    index.put(source("b"), row_of_tiles(3, west=20), unit(3))
    (index.path / MANIFEST).write_bytes(b"{")
    with pytest.raises(TileIndexError, match=PREVIOUS) as caught:
        TileIndex.open(index.path)
    assert "\n" not in str(caught.value)
    (index.path / PREVIOUS).replace(index.path / MANIFEST)
    again = TileIndex.open(index.path)
    assert [s.path for s in again.sources()] == ["a"]
    again.put(source("b"), row_of_tiles(3, west=20), unit(3))
    assert TileIndex.open(index.path).verify() == []


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


@pytest.mark.slow
def test_killed_while_writing(index: TileIndex) -> None:
    """A process that dies between segment and manifest, without any clean-up."""
    index.put(source("a"), row_of_tiles(3), unit(3))
    code = f"""
import os, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from tile_samples import row_of_tiles, source, unit
from ngcg_cli.search import TileIndex
from ngcg_cli.search.format import Manifest
Manifest.write = lambda *_: os.kill(os.getpid(), 9)
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


def test_blocks_of_several_sources_in_one_step(
    index: TileIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.put(source("a"), row_of_tiles(3), unit(3))
    writes = []
    write = Manifest.write

    def counted(self: Manifest, *rest: Any) -> None:
        writes.append(self)
        write(self, *rest)

    monkeypatch.setattr(Manifest, "write", counted)
    index.commit(
        [
            Block(source("a", complete=False, done=2, windows=5), row_of_tiles(2), unit(2)),
            Block(source("b"), row_of_tiles(1, west=20), unit(1)),
            Block(source("a", done=5, windows=5, skipped=1), row_of_tiles(1), unit(1), fresh=False),
            Block(source("none"), row_of_tiles(0), unit(0), fresh=False),
        ]
    )
    assert len(writes) == 1
    told = [(s.path, s.tiles, s.done, s.skipped, s.complete) for s in index.sources()]
    assert told == [
        ("a", 3, 5, 1, True),
        ("b", 1, 0, 0, True),
        ("none", 0, 0, 0, True),
    ]
    assert index.sources() == TileIndex.open(index.path).sources()
    index.rename_all([("a", source("b")), ("b", source("a")), ("?", source("c"))])
    assert [(s.path, s.tiles) for s in index.sources()] == [("b", 3), ("a", 1), ("none", 0)]
    index.rename_all([("a", source("b", mtime_ns=9))])  # onto another
    assert next((s.path, s.tiles, s.mtime_ns) for s in index.sources()) == ("b", 1, 9)
    assert [hit.source for hit in index.search(unit(1), top=9)[0]] == ["b"]
    assert [s.path for s in index.drop(["b", "none", "?"])] == ["b", "none"]
    assert index.sources() == []
    assert list((index.path / "tiles").iterdir()) == []


def _hold(path: str, locked, done) -> None:  # type: ignore[no-untyped-def]
    with TileIndex.open(path).writing():
        locked.set()
        done.wait(30)


def test_a_second_writer_is_refused_and_told_who_writes(index: TileIndex) -> None:
    context = multiprocessing.get_context("spawn")
    locked, done = context.Event(), context.Event()
    holder = context.Process(target=_hold, args=(str(index.path), locked, done))
    holder.start()
    try:
        assert locked.wait(30)
        with pytest.raises(TileIndexError, match=rf"process {holder.pid} on .*`.*since 20"):
            index.put(source(), row_of_tiles(1), unit(1))
        assert index.search(unit(1)) == [[]]  # a query needs no lock
    finally:
        done.set()
        holder.join(30)
    index.put(source(), row_of_tiles(1), unit(1))


@pytest.mark.slow
def test_a_second_writer_waits_when_told_to(
    index: TileIndex, caplog: pytest.LogCaptureFixture
) -> None:
    context = multiprocessing.get_context("spawn")
    locked, done = context.Event(), context.Event()
    holder = context.Process(target=_hold, args=(str(index.path), locked, done))
    holder.start()
    release = threading.Timer(0.3, done.set)
    try:
        assert locked.wait(30)
        release.start()
        with index.writing(wait=True):
            assert done.is_set()
            index.put(source(), row_of_tiles(1), unit(1))
    finally:
        done.set()
        holder.join(30)
    assert f"being written by process {holder.pid} on " in caplog.text


def test_what_a_dead_writer_left_in_the_lock_is_harmless(index: TileIndex) -> None:
    for text in (b'{"pid": 1, "host": "gone"}', b"\xff\x00 no JSON", b"x" * 10_000):
        (index.path / lock.LOCK).write_bytes(text)
        index.put(source(), row_of_tiles(1), unit(1))
    assert (index.path / lock.LOCK).read_bytes() == b""  # nobody holds it


def test_a_key_in_a_url_is_not_written_to_the_lock(
    index: TileIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["/bin/ngcg", "index", "https://a.b/c.tif?key=secret", "d"])
    with index.writing():
        told = json.loads((index.path / lock.LOCK).read_bytes())
    assert told["command"] == "ngcg index 'https://a.b/c.tif?...' d"
