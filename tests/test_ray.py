"""`--engine ray`: the same index as on one machine, its failures, and a worker that dies."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from samples import Ngcg, write_raster

from ngcg_cli.errors import RasterError, UsageError
from ngcg_cli.journeys.on_ray import PIECE, address_of, pieces
from ngcg_cli.journeys.planning import Job, SourceReport
from ngcg_cli.search import SourceRecord, TileIndex

ray = pytest.importorskip("ray")


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
    for wrong in ("rays", "ray://head", "http://head:1"):
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


def test_a_cluster_that_is_not_there_is_told_at_once(ngcg: Ngcg, tmp_path: Path) -> None:
    write_raster(tmp_path / "a.tif", seed=0)
    outcome = ngcg(
        *("index", tmp_path / "a.tif", "--index", tmp_path / "index"),
        *("--engine", "ray://127.0.0.1:9", "-q"),
    )
    assert (outcome.status, outcome.out) == (1, "")
    assert "ray://127.0.0.1:9: Ray cannot be reached" in outcome.err


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_ray_makes_the_same_index_and_names_what_fails(ngcg: Ngcg, tmp_path: Path) -> None:
    folder = tmp_path / "rasters"
    folder.mkdir()
    for name, seed in (("a", 1), ("c", 3)):
        write_raster(folder / f"{name}.tif", seed=seed)
    (folder / "b.tif").write_bytes((folder / "a.tif").read_bytes()[:900])
    args = ("index", folder, "--tile", "16px", "--overlap", "0.5", "--json", "-q")
    alone = ngcg(*args, "--index", tmp_path / "alone")
    many = ngcg(*args, "--index", tmp_path / "many", "--engine", "ray")
    assert (alone.status, many.status) == (3, 3), many.err
    same(tmp_path / "alone", tmp_path / "many")
    one, other = (json.loads(outcome.out)["sources"] for outcome in (alone, many))
    assert [(s["path"], s["status"], s["tiles"]) for s in one] == [
        (s["path"], s["status"], s["tiles"]) for s in other
    ]
    again = ngcg(*args, "--index", tmp_path / "many", "--engine", "ray")
    assert json.loads(again.out)["added"] == 0


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_worker_that_dies_is_replaced(ngcg: Ngcg, tmp_path: Path) -> None:
    import psutil

    write_raster(tmp_path / "a.tif", seed=5)
    args = ("index", tmp_path / "a.tif", "--tile", "8px", "--overlap", "0.5", "--json", "-q")
    assert ngcg(*args, "--index", tmp_path / "alone").status == 0
    killed: list[int] = []

    def kill_one() -> None:
        until = time.monotonic() + 120
        while not killed and time.monotonic() < until:
            for process in psutil.Process().children(recursive=True):
                try:
                    if "MapWorker(MapBatches" in " ".join(process.cmdline()):
                        os.kill(process.pid, signal.SIGKILL)
                        killed.append(process.pid)
                        return
                except psutil.Error:
                    continue
            time.sleep(0.05)

    killer = threading.Thread(target=kill_one)
    killer.start()
    outcome = ngcg(*args, "--index", tmp_path / "many", "--engine", "ray")
    killer.join()
    assert killed
    assert outcome.status == 0, outcome.err
    same(tmp_path / "alone", tmp_path / "many")
