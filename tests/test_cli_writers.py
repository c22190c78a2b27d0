"""`ngcg index` beside another run, and on a disk that is full."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from samples import TILE, Ngcg, write_raster

from ngcg_cli.search import TileIndex

pytestmark = pytest.mark.skipif(os.name != "posix", reason="no file locks on this system")

HOLDER = """
import sys
from pathlib import Path
from ngcg_cli.search.lock import writer_lock
with writer_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def held(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process writes the index, until its standard input is closed."""
    command = [sys.executable, "-c", HOLDER, str(folder)]
    with subprocess.Popen(
        command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.stdin.close()


@pytest.fixture
def args(tmp_path: Path, fake_backbone: Path) -> list[object]:
    """An index of one raster, and the arguments that go on with the folder's other one."""
    words = ["index", tmp_path / "in", "--index", tmp_path / "ix", "--model", fake_backbone]
    write_raster(tmp_path / "in" / "a.tif", 1)
    return [*words, "--tile", f"{TILE}px", "--overlap", "0"]


def test_a_second_run_is_refused_with_the_holder_and_a_query_answers(
    ngcg: Ngcg, args: list[object], tmp_path: Path
) -> None:
    assert ngcg(*args).status == 0
    write_raster(tmp_path / "in" / "b.tif", 2, west=590_000.0)
    with held(tmp_path / "ix") as holder:
        refused = ngcg(*args)
        assert (refused.status, refused.out) == (1, "")
        (line,) = refused.err.splitlines()
        assert f"process {holder.pid} on " in line
        assert "--wait" in line
        asked = ngcg("query", "a pond", "--index", tmp_path / "ix", "--format", "jsonl")
        assert asked.status == 0
        assert {Path(row["source"]).name for row in asked.rows} == {"a.tif"}
    assert ngcg(*args).status == 0
    assert TileIndex.open(tmp_path / "ix").tile_count == 32


def test_a_second_run_waits_when_told_to(ngcg: Ngcg, args: list[object], tmp_path: Path) -> None:
    assert ngcg(*args).status == 0
    write_raster(tmp_path / "in" / "b.tif", 2, west=590_000.0)
    with held(tmp_path / "ix") as holder:
        assert holder.stdin is not None
        threading.Timer(0.5, holder.stdin.close).start()
        waited = ngcg(*args, "--wait", "--json")
    assert waited.status == 0
    assert f"being written by process {holder.pid} on " in waited.err
    assert json.loads(waited.out)["added"] == 16


def test_two_first_runs_at_once(
    ngcg: Ngcg, args: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second has read its model when the first, quicker one has made the index."""
    from ngcg_cli.journeys import indexing
    from ngcg_cli.journeys import model as models

    first, calls = ngcg(*args[:3], tmp_path / "other", *args[4:]), []
    assert first.status == 0

    def load_late(*given: Any, **more: Any) -> Any:
        calls.append(given)
        if len(calls) == 1:
            (tmp_path / "other").rename(tmp_path / "ix")
        return models.load_model(*given, **more)

    monkeypatch.setattr(indexing, "load_model", load_late)
    second = ngcg(*args, "--wait", "--json")
    assert second.status == 0, second.err
    report = json.loads(second.out)
    assert (report["tiles"], report["added"]) == (16, 0)
    assert [row["status"] for row in report["sources"]] == ["unchanged"]


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="no limit of file sizes")
def test_a_file_that_cannot_grow_is_one_line_and_the_next_run_finishes(
    ngcg: Ngcg, args: list[object], tmp_path: Path
) -> None:
    assert ngcg(*args).status == 0
    write_raster(tmp_path / "in" / "b.tif", 2, west=590_000.0)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2500, hard))
    try:
        failed = ngcg(*args)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert (failed.status, failed.out) == (1, "")
    doubt, line = failed.err.splitlines()
    assert "a tile is 32 x 32 of its pixels" in doubt
    assert line.startswith(f"ngcg: {tmp_path / 'ix'}")
    assert "File too large" in line
    assert TileIndex.open(tmp_path / "ix").tile_count == 16
    assert ngcg(*args).status == 0
    assert TileIndex.open(tmp_path / "ix").tile_count == 32
