"""The file system refuses: at every call in turn, and for real at every size."""

import errno
import io
import json
import os
import resource
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from index_edits import manifest_of
from tile_samples import MODEL, row_of_tiles, source, unit

from ngcg_cli.errors import TileIndexError
from ngcg_cli.search import Block, Filters, TileIndex, ranking
from ngcg_cli.search.files import PARTIAL
from ngcg_cli.search.format import MANIFEST, VERSION


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flushing is counted, but nobody cuts the power here."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


class _Failing(io.FileIO):
    """A file whose writes are counted with the other calls."""

    call: Callable[[], None]

    def write(self, data: Any) -> int:
        _Failing.call()
        return super().write(data)


@contextmanager
def refused(monkeypatch: pytest.MonkeyPatch, at: int, code: int) -> Iterator[list[str]]:
    """The `at`-th of all calls that change the disk fails, and all after it (a full disk stays)."""
    calls: list[str] = []
    lock = threading.Lock()

    def count(name: str) -> None:
        with lock:
            calls.append(name)
            if len(calls) > at:
                raise OSError(code, os.strerror(code))

    def counted(name: str, real: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            count(name)
            return real(*args, **kwargs)

        return call

    opened = Path.open

    def open_(self: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if mode == "xb":
            count("open")
            return _Failing(os.fspath(self), "x")
        return opened(self, mode, *args, **kwargs)

    with monkeypatch.context() as patch:
        _Failing.call = lambda: count("write")  # type: ignore[method-assign]
        patch.setattr(Path, "open", open_)
        for name in ("fsync", "replace", "link", "unlink", "mkdir", "ftruncate", "pwrite"):
            patch.setattr(os, name, counted(name, getattr(os, name)))
        yield calls


def state(index: TileIndex) -> dict[str, int]:
    """What is found, by source; and that the rest of the index agrees."""
    again = TileIndex.open(index.path)
    assert again.verify() == []
    assert again.damaged() == set()
    found: dict[str, int] = {}
    for hit in again.search(unit(1), top=1000, keep_overlaps=True)[0]:
        found[hit.source] = found.get(hit.source, 0) + 1
    assert found == {record.path: record.tiles for record in again.sources() if record.tiles}
    return found


def strays(index: TileIndex) -> set[str]:
    """Files in the folder that do not belong to the index."""
    there = {str(f.relative_to(index.path)) for f in index.path.rglob("*") if f.is_file()}
    return (
        there - index.manifest.files().keys() - {MANIFEST, "manifest.previous.json", "writer.lock"}
    )


def work(index: TileIndex) -> None:
    """A replaced source, one that goes on, a new one; then a moved and a dropped one."""
    with index.writing():
        index.commit(
            [
                Block(source("a"), row_of_tiles(5, west=40), unit(5, seed=1)),
                Block(source("b"), row_of_tiles(2, west=50), unit(2), fresh=False),
                Block(source("c"), row_of_tiles(1, west=60), unit(1)),
            ]
        )
        index.rename_all([("a", source("z"))])
        index.drop(["b"])


CODES = [errno.ENOSPC, errno.EACCES, errno.EIO]
STATES = [
    {"a": 3, "b": 3},
    {"a": 5, "b": 5, "c": 1},
    {"z": 5, "b": 5, "c": 1},
    {"z": 5, "c": 1},
]


def start(folder: Path) -> TileIndex:
    index = TileIndex.create(folder, MODEL)
    index.put(source("a"), row_of_tiles(3), unit(3))
    index.put(source("b"), row_of_tiles(3, west=20), unit(3))
    return index


@pytest.mark.slow
def test_refused_at_every_call_in_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at, kinds, failed = 0, set(), []
    while True:
        index = start(tmp_path / str(at))
        code = CODES[at % len(CODES)]
        with refused(monkeypatch, at, code) as calls:
            try:
                work(index)
            except TileIndexError as error:
                failed.append(str(error))
        # Another process finds a state that was committed, and so does the one that failed.
        found = state(index)
        assert found in STATES
        assert index.tile_count == sum(found.values())
        kinds.update(calls[at : at + 1])
        # Once there is room again the work is finished, by the same or another process.
        again = index if at % 4 < 2 else TileIndex.open(index.path)
        work(again)
        assert state(again) == (STATES[3] if "z" not in found else {"z": 5, "c": 1})
        assert strays(TileIndex.open(index.path)) == set()
        if len(calls) <= at:
            break
        at += 1
    assert kinds >= {"fsync", "replace", "link", "unlink", "open", "write", "ftruncate", "pwrite"}
    assert len(failed) > 20
    for code in CODES:
        assert any(os.strerror(code) in line for line in failed)
    assert all("cannot be written" in line and "\n" not in line for line in failed)


@pytest.mark.parametrize("at", range(0, 12, 2))
def test_refused_while_an_index_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    with refused(monkeypatch, at, errno.ENOSPC):
        try:
            TileIndex.create(tmp_path / "new", MODEL)
            made = True
        except TileIndexError:
            made = TileIndex.exists(tmp_path / "new")
    index = TileIndex.open(tmp_path / "new") if made else TileIndex.create(tmp_path / "new", MODEL)
    index.put(source("a"), row_of_tiles(3), unit(3))
    assert state(index) == {"a": 3}


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="no limit of file sizes")
def test_a_file_that_really_cannot_grow(tmp_path: Path) -> None:
    """Writes of NumPy, Arrow and Python end at a limit that the system sets."""
    index = start(tmp_path / "index")
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    refusals = []
    try:
        for limit in range(0, 40_000, 2_500):
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
            try:
                index.put(source("big"), row_of_tiles(300, west=30), unit(300))
            except TileIndexError as error:
                refusals.append(str(error))
                assert state(index) == STATES[0]
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    finally:
        signal.signal(signal.SIGXFSZ, before)
    assert 3 < len(refusals) < 16
    assert all(os.strerror(errno.EFBIG) in line for line in refusals)
    assert state(index) == {**STATES[0], "big": 300}
    assert not list(index.path.rglob(f"{PARTIAL}*"))


def test_a_reader_sees_one_state_or_the_next(tmp_path: Path) -> None:
    index = TileIndex.create(tmp_path / "index", MODEL)
    index.put(source("a"), row_of_tiles(10, west=0), unit(10))
    ended = threading.Event()
    errors: list[BaseException] = []

    def write() -> None:
        try:
            for turn in range(1, 25):
                count = 10 + turn % 3
                index.put(source("a"), row_of_tiles(count, west=turn), unit(count))
        except BaseException as error:
            errors.append(error)
        finally:
            ended.set()

    writer = threading.Thread(target=write)
    writer.start()
    seen = set()
    held = TileIndex.open(index.path)
    asked = np.eye(1, 16, dtype=np.float32)
    while not ended.is_set():
        for reader in (TileIndex.open(index.path), held):
            hits = reader.search(asked, top=100, keep_overlaps=True)[0]
            turns = {int(hit.lon) for hit in hits}
            assert len(turns) == 1  # never half of one state and half of another
            turn = turns.pop()
            assert len(hits) == 10 + turn % 3
            assert reader.damaged() == set()
            seen.add(turn)
    writer.join()
    assert errors == []
    assert len(seen) > 1


def test_an_index_of_format_1_opens_and_is_upgraded(tmp_path: Path) -> None:
    index = start(tmp_path / "index")
    data = manifest_of(index.path)
    data["version"] = 1
    del data["checksum"]
    for record in data["sources"]:
        for name in ("content", "done", "windows", "skipped", "acquired"):
            del record[name]
        for segment in record["segments"]:
            del segment["bbox"]
    (index.path / MANIFEST).write_text(json.dumps(data))
    old = TileIndex.open(index.path)
    assert old.manifest.version == 1
    assert state(old) == STATES[0]
    assert [r.complete for r in old.sources()] == [True, True]
    assert {
        hit.source for hit in old.search(unit(1), filters=Filters(bbox=(19, 49, 21, 51)))[0]
    } == {"b"}
    old.put(source("c"), row_of_tiles(1, west=60), unit(1))
    assert manifest_of(index.path)["version"] == VERSION
    assert state(old) == {**STATES[0], "c": 1}


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 3e38])
@pytest.mark.filterwarnings("error")
def test_a_damaged_vector_hides_no_other_of_its_block(bad: float) -> None:
    vectors = np.eye(4, dtype=np.float32)
    vectors[2] = bad
    queries = np.full((1, 4), 2, np.float32)
    rows, _ = ranking.top_k(queries, [(np.arange(4), vectors)], 3)
    assert rows.tolist() == [[0, 1, 3]]
