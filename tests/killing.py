"""`ngcg index` killed at random moments, with a query after each kill, and what is left of it.

The processes come from a server that has imported the libraries and then forks: a run of
`ngcg index` by itself takes some seconds of imports, in which there is nothing to be killed.
`fork=False` starts the installed command each time instead.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import pyarrow.parquet as pq

_SERVER = """
import json, os, signal, sys, time
from ngcg_cli.app import run
from ngcg_cli.encoder.checkpoint import load_encoder
from ngcg_cli.journeys import indexing, querying
from ngcg_cli.raster import Raster
import pyarrow.parquet

load_encoder(sys.argv[1], "cpu")
for line in sys.stdin:
    words, delay = json.loads(line)
    pid = os.fork()
    if not pid:
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        os.dup2(null, 1)
        os._exit(run(words))
    until = time.monotonic() + delay
    ended, status = 0, 0
    while not ended and time.monotonic() < until:
        time.sleep(0.001)
        ended, status = os.waitpid(pid, os.WNOHANG)
    if not ended:
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
"""


class Runner:
    """Runs `ngcg` in processes of their own, and kills them on time."""

    def __init__(self, model: Path, fork: bool = True) -> None:
        self._command = [sys.executable, "-c", _SERVER, str(model)]
        self._fork = fork

    def __enter__(self) -> Self:
        if self._fork:
            self._server = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if self._fork:
            with self._server:
                assert self._server.stdin
                self._server.stdin.close()

    def run(self, words: list[str], delay: float = 600.0) -> int:
        """The exit status; -9 when it was killed after `delay` seconds."""
        if self._fork:
            assert self._server.stdin
            assert self._server.stdout
            print(json.dumps([words, delay]), file=self._server.stdin, flush=True)
            return int(self._server.stdout.readline())
        with subprocess.Popen(
            [Path(sys.executable).with_name("ngcg"), *words], stdout=subprocess.DEVNULL
        ) as process:
            try:
                return process.wait(delay)
            except subprocess.TimeoutExpired:
                os.kill(process.pid, signal.SIGKILL)
                return process.wait()


Tiles = dict[tuple[str, tuple[int, ...]], np.ndarray]


def stored(index: Path) -> Tiles:
    """All vectors of an index by source and window, read from its open formats alone."""
    tiles: Tiles = {}
    if not (index / "manifest.json").exists():
        return tiles
    manifest = json.loads((index / "manifest.json").read_text())
    for source in manifest["sources"]:
        for segment in source["segments"]:
            table = pq.read_table(index / "tiles" / f"{segment['name']}.parquet").to_pydict()
            vectors = np.load(index / "vectors" / f"{segment['name']}.npy")
            names = ("column", "row", "width", "height")
            windows = zip(*(table[name] for name in names), strict=True)
            for window, vector in zip(windows, vectors, strict=True):
                key = (source["path"], window)
                assert key not in tiles, f"{key} is there twice"
                tiles[key] = vector
    return tiles


@dataclass
class Story:
    """What became of the kills.

    Attributes:
        kills: runs that were killed.
        partial: kills after which part of the tiles was in the index.
        mid_commit: kills that left files which no manifest names: they came during a commit.
        within: kills after which part of the tiles of a source was there.
        finished: runs that came to their end, all of them with the tiles of the undisturbed run.
    """

    kills: int = 0
    partial: int = 0
    mid_commit: int = 0
    within: int = 0
    finished: int = 0
    moments: list[float] = field(default_factory=list)


def tell_kills(
    runner: Runner, rasters: Path, model: Path, folder: Path, kills: int, seed: int
) -> Story:
    """Index `rasters` with `kills` kills on the way, again and again until there were so many.

    Asserts that after each kill the index answers a query from whole tiles of the undisturbed run,
    none of them twice, and that none is lost again; and that a run that ends leaves exactly those.
    """
    generator = random.Random(seed)

    def index(to: Path, delay: float = 600.0) -> int:
        words = ["index", str(rasters), "--index", str(to), "--model", str(model)]
        cut = ["--tile", "16px", "--overlap", "0", "--block", "8", "-q"]
        return runner.run([*words, *cut], delay)

    began = time.monotonic()
    assert index(folder / "undisturbed") == 0
    whole = time.monotonic() - began
    began = time.monotonic()
    assert index(folder / "undisturbed") == 0  # nothing to do: this is what starting takes
    start = time.monotonic() - began
    truth = stored(folder / "undisturbed")
    of_source = {path: sum(p == path for p, _ in truth) for path, _ in truth}

    story, disturbed, before = Story(), folder / "disturbed-0", 0
    while story.kills < kills:
        # A few kills before each end; now and then one while the process starts.
        delay = start * 0.7 + generator.random() * (whole - start * 0.7) * 0.5
        status = index(disturbed, delay)
        tiles = stored(disturbed)
        for key, vector in tiles.items():
            np.testing.assert_allclose(vector, truth[key], atol=1e-5)
        assert before <= len(tiles) <= len(truth), "committed tiles were lost"
        before = len(tiles)
        if status == 0:
            assert tiles.keys() == truth.keys()
            story.finished += 1
            disturbed, before = folder / f"disturbed-{story.finished}", 0
            continue
        assert status == -signal.SIGKILL
        story.kills += 1
        story.moments.append(round(delay, 3))
        story.partial += 0 < len(tiles) < len(truth)
        story.mid_commit += _left_over(disturbed)
        story.within += any(
            0 < sum(p == path for p, _ in tiles) < count for path, count in of_source.items()
        )
        query = ["query", "a pond", "--index", str(disturbed), "-q"]
        assert runner.run(query) == (0 if (disturbed / "manifest.json").exists() else 1)
    assert index(disturbed) == 0
    tiles = stored(disturbed)
    assert tiles.keys() == truth.keys()
    for key, vector in tiles.items():
        np.testing.assert_allclose(vector, truth[key], atol=1e-5)
    assert not _left_over(disturbed)
    story.finished += 1
    return story


def _left_over(index: Path) -> bool:
    """Whether there are files of tiles or vectors that the manifest does not name."""
    if not (index / "manifest.json").exists():
        return False
    manifest = json.loads((index / "manifest.json").read_text())
    named = {s["name"] for source in manifest["sources"] for s in source["segments"]}
    files = [*(index / "tiles").glob("*"), *(index / "vectors").glob("*")]
    return any(file.stem not in named for file in files)
