"""`--engine ray`: the same index as on one machine, its failures, and a worker that dies."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from killing import Moment, run
from samples import Ngcg, write_raster

from ngcg_cli.errors import NgcgError, RasterError, UsageError
from ngcg_cli.journeys import on_ray
from ngcg_cli.journeys.on_ray import PIECE, _Told, address_of, pieces
from ngcg_cli.journeys.planning import Job, SourceReport
from ngcg_cli.search import SourceRecord, TileIndex

ray = pytest.importorskip("ray")

OWN = 987  # a descriptor that no other process has


def contents(index: Path) -> dict[tuple, np.ndarray]:
    """The vector of each tile, by its source and window."""
    return {
        (block.source.path, *window): vector
        for block in TileIndex.open(index).blocks()
        if block.tiles is not None
        for window, vector in zip(block.tiles.window.tolist(), block.vectors, strict=True)
    }


def same(one: Path, other: Path) -> None:
    first, second = contents(one), contents(other)
    assert list(first) == list(second)
    for key, vector in first.items():
        np.testing.assert_allclose(vector, second[key], atol=1e-5)


def test_the_engine_is_local_or_a_ray() -> None:
    assert address_of("local") is None
    assert address_of("ray") == ""
    assert address_of("ray://head:10001") == "ray://head:10001"
    assert address_of("ray://[::1]:10001") == "ray://[::1]:10001"
    for wrong in ("rays", "ray://head", "http://head:1", "ray://head:x", "ray://:1", "ray://h:1/a"):
        with pytest.raises(UsageError, match="is not local, ray or ray://HOST:PORT"):
            address_of(wrong)


def test_pieces_cover_what_is_left_of_each_source_once() -> None:
    jobs = [
        Job(
            SourceRecord(path, 1, 1, "8px", 0.0, 0.0), SourceReport(path, "indexed"), windows, start
        )
        for path, windows, start in (("a", 2 * PIECE + 1, 0), ("b", 10, 8), ("c", 5, 5))
    ]
    covered = [(p.record.path, n) for p in pieces(jobs) for n in range(p.start, p.stop)]
    assert covered == [("a", n) for n in range(2 * PIECE + 1)] + [("b", 8), ("b", 9)]
    assert max(piece.stop - piece.start for piece in pieces(jobs)) == PIECE


def test_an_error_stays_whole_between_processes() -> None:
    import pickle

    error = RasterError("cannot be read", where="a.tif", hint="Mend it.")
    back = pickle.loads(pickle.dumps(error))
    assert (type(back), back.what, back.where, back.hint) == (
        *(RasterError, "cannot be read", "a.tif", "Mend it."),
    )
    assert str(back) == str(error)


def test_what_ray_prints_is_a_warning_and_no_result(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    with contextlib.redirect_stdout(_Told()):
        print("\x1b[33m(raylet)\x1b[0m A worker died.\n\nIt was killed.")
    assert caplog.messages == ["Ray: (raylet) A worker died.", "Ray: It was killed."]
    assert capsys.readouterr().out == ""


def test_a_cluster_that_is_not_there_is_told_at_once(ngcg: Ngcg, tmp_path: Path) -> None:
    write_raster(tmp_path / "a.tif", seed=0)
    outcome = ngcg(
        *("index", tmp_path / "a.tif", "--index", tmp_path / "index"),
        *("--engine", "ray://127.0.0.1:9", "-q"),
    )
    assert (outcome.status, outcome.out) == (1, "")
    assert "ray://127.0.0.1:9: Ray cannot be reached" in outcome.err


def test_a_busy_cluster_is_asked_again_and_a_refusal_is_final(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []
    answers = iter(["Initialization failure from server: x"] * 2)

    def init(**settings: object) -> None:
        asked.append(str(settings["address"]))
        if (answer := next(answers, None)) is not None:
            raise ConnectionError(answer)

    monkeypatch.setattr(on_ray, "_reach", lambda address: None)
    monkeypatch.setattr(ray, "init", init)
    on_ray._started("ray://head:1")
    assert asked == ["ray://head:1"] * 3
    answers = iter(["invalid token"])
    with pytest.raises(NgcgError, match="invalid token"):
        on_ray._started("ray://head:1")
    assert len(asked) == 4


@contextlib.contextmanager
def own_file(path: Path) -> Iterator[str]:
    """A name of a file that means it in this process alone, and in those that are given it."""
    with path.open("rb") as file:
        os.dup2(file.fileno(), OWN)
    yield f"/proc/self/fd/{OWN}"
    os.close(OWN)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def started_head(port: int, environment: dict[str, str]) -> subprocess.Popen[bytes] | None:
    """A cluster of one machine whose clients are let in at `port`; None where it ended at once."""
    ports = (f"--port={free_port()}", f"--ray-client-server-port={port}")
    anywhere = ("--min-worker-port=0", "--max-worker-port=0", "--dashboard-agent-listen-port=0")
    words = ("start", "--head", "--block", "--num-cpus=1", "--include-dashboard=false")
    command = [Path(sys.executable).with_name("ray"), *words, *ports, *anywhere]
    head = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
    )
    until = time.monotonic() + 200
    while head.poll() is None and time.monotonic() < until:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            return head
        time.sleep(0.2)
    head.kill()
    head.wait()
    return None


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A cluster that this process is no part of, and that asks for a token."""
    monkeypatch.setenv("RAY_AUTH_TOKEN", "a-token-of-the-tests-0123456789abcdef")
    environment = {**os.environ, "RAY_AUTH_MODE": "token"}
    for _ in range(3):  # a port that was free may be taken by the time it is wanted
        port = free_port()
        if (head := started_head(port, environment)) is not None:
            break
    else:
        pytest.fail("no cluster could be started")
    with head:
        yield f"ray://127.0.0.1:{port}"
        head.terminate()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_ray_makes_the_same_index_and_names_what_fails(
    ngcg: Ngcg, tmp_path: Path, fake_backbone: Path, cluster: str
) -> None:
    folder = tmp_path / "rasters"
    folder.mkdir()
    for name, seed in (("a", 1), ("c", 3)):
        write_raster(folder / f"{name}.tif", seed=seed)
    (folder / "b.tif").write_bytes((folder / "a.tif").read_bytes()[:900])
    args = ("index", folder, "--model", fake_backbone, "--tile", "16px", "--json", "-q")
    # Not in what `auto` is on a worker's device.
    low = (*args, "--precision", "bfloat16")
    alone = ngcg(*low, "--index", tmp_path / "alone")
    low = (*low, "--index", tmp_path / "many", "--engine", cluster)
    with own_file(write_raster(tmp_path / "own.tif", seed=4)) as unseen:
        # In a process of its own: Ray looks at its settings when it is imported.
        command = [Path(sys.executable).with_name("ngcg"), *map(str, low), unseen]
        many = subprocess.run(command, pass_fds=[OWN], capture_output=True, text=True)
    assert (alone.status, many.returncode) == (3, 3), many.stderr
    last = json.loads(many.stdout)["sources"].pop()
    assert (last["path"], last["status"]) == (unseen, "failed")
    assert f"the worker {socket.gethostname()} cannot see it" in last["reason"]
    same(tmp_path / "alone", tmp_path / "many")
    assert ngcg(*args, "--index", tmp_path / "float").status == 3
    first, second = contents(tmp_path / "alone"), contents(tmp_path / "float")
    assert any(np.abs(first[key] - second[key]).max() > 1e-4 for key in first)
    one, other = (json.loads(out)["sources"] for out in (alone.out, many.stdout))
    assert [(s["path"], s["status"], s["tiles"]) for s in one] == [
        (s["path"], s["status"], s["tiles"]) for s in other[:-1]
    ]


@contextlib.contextmanager
def killing_a_worker() -> Iterator[list[int]]:
    """Kills the first process that holds the model, as soon as it does; who that was."""
    import psutil

    killed: list[int] = []
    ended = threading.Event()

    def kill() -> None:
        while not killed and not ended.is_set():
            for process in psutil.Process().children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    if "MapWorker(MapBatches" in " ".join(process.cmdline()):
                        os.kill(process.pid, signal.SIGKILL)
                        killed.append(process.pid)
                        return
            time.sleep(0.05)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        yield killed
    finally:
        ended.set()
        killer.join()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_drivers_and_workers_leave_the_same_end(
    ngcg: Ngcg, tmp_path: Path, fake_backbone: Path
) -> None:
    folder = tmp_path / "rasters"
    for seed in range(2):
        write_raster(folder / f"{seed}.tif", seed, west=583_000.0 + 500 * seed)
    args = ("index", folder, "--model", fake_backbone, "--tile", "8px", "--overlap", "0.5")
    args = (*args, "--block", "64", "-q")
    assert ngcg(*args, "--index", tmp_path / "alone").status == 0
    whole = len(contents(tmp_path / "alone"))

    many = tmp_path / "many"
    words = [*map(str, args), "--index", str(many), "--engine", "ray"]
    assert run(words, Moment(str(many), 3, 0.0)) == -signal.SIGKILL
    partial = len(contents(many))
    assert 0 < partial < whole

    with killing_a_worker() as killed:
        outcome = ngcg(*args, "--index", many, "--engine", "ray", "--json")
    assert killed
    assert outcome.status == 0, outcome.err
    assert json.loads(outcome.out)["added"] == whole - partial
    same(tmp_path / "alone", many)
