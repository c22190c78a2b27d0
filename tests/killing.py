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


@dataclass(frozen=True)
class Moment:
    """When to kill: so long after so many files of the index were named by its manifest.

    Not by the clock alone, which on a busy machine tells little of where a run is.
    """

    index: str
    named: int
    seconds: float

    def strike(self, pid: int) -> int:
        """Waits for the moment, kills the child process; its exit status, -9 when it was killed."""
        status, until = None, None
        while status is None:
            if until is None and next_name(Path(self.index)) >= self.named:
                until = time.monotonic() + self.seconds
            if until is not None and time.monotonic() >= until:
                os.kill(pid, signal.SIGKILL)
                status = os.waitpid(pid, 0)[1]
                break
            time.sleep(0.001)
            ended, told = os.waitpid(pid, os.WNOHANG)
            status = told if ended else None
        return os.waitstatus_to_exitcode(status)


def next_name(index: Path) -> int:
    """The number of the index's next file, which grows with each commit; 0 without an index."""
    try:
        return int(json.loads((index / "manifest.json").read_text())["next_name"])
    except FileNotFoundError:
        return 0


class Runner:
    """Runs `ngcg` in processes of their own, and kills them on time."""

    def __init__(self, model: Path, fork: bool = True) -> None:
        self._model = model
        self._fork = fork

    def __enter__(self) -> Self:
        if self._fork:
            self._server = subprocess.Popen(
                [sys.executable, __file__, self._model],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if self._fork:
            with self._server:
                assert self._server.stdin
                self._server.stdin.close()

    def run(self, words: list[str], moment: Moment | None = None) -> int:
        """The exit status; -9 when it was killed at its moment."""
        if self._fork:
            assert self._server.stdin
            assert self._server.stdout
            order = [words, moment and vars(moment)]
            print(json.dumps(order), file=self._server.stdin, flush=True)
            return int(self._server.stdout.readline())
        process = subprocess.Popen(
            [Path(sys.executable).with_name("ngcg"), *words],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        if moment is None:
            return process.wait()
        process.returncode = moment.strike(process.pid)
        return process.returncode


def serve(model: str) -> None:
    """Imports what a run needs, then runs a line of stdin after the other in a forked process."""
    from ngcg_cli.app import run
    from ngcg_cli.encoder.checkpoint import load_encoder

    load_encoder(model, "cpu")
    for line in sys.stdin:
        words, moment = json.loads(line)
        pid = os.fork()
        if not pid:
            null = os.open(os.devnull, os.O_RDWR)
            for stream in range(3):
                os.dup2(null, stream)
            os._exit(run(words))
        if moment is None:
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        else:
            status = Moment(**moment).strike(pid)
        print(status, flush=True)


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
        moments: for each kill, how many files the index had named before the run and at its end.
        finished: runs that came to their end, all of them with the tiles of the undisturbed run.
    """

    kills: int = 0
    partial: int = 0
    mid_commit: int = 0
    within: int = 0
    finished: int = 0
    moments: list[list[int]] = field(default_factory=list)


def tell_kills(
    runner: Runner, rasters: Path, model: Path, folder: Path, kills: int, seed: int
) -> Story:
    """Index `rasters` with `kills` kills on the way, again and again until there were so many.

    Asserts that after each kill the index answers a query from whole tiles of the undisturbed run,
    none of them twice, and that none is lost again; and that a run that ends leaves exactly those.
    """
    generator = random.Random(seed)

    def index(to: Path, moment: Moment | None = None) -> int:
        words = ["index", str(rasters), "--index", str(to), "--model", str(model)]
        cut = ["--tile", "16px", "--overlap", "0", "--block", "8", "-q"]
        return runner.run([*words, *cut], moment)

    began = time.monotonic()
    assert index(folder / "undisturbed") == 0
    whole = time.monotonic() - began
    end = next_name(folder / "undisturbed")
    truth = stored(folder / "undisturbed")
    of_source = {path: sum(p == path for p, _ in truth) for path, _ in truth}

    story, disturbed, before = Story(), folder / "disturbed-0", 0
    while story.kills < kills:
        # A few kills before each end, one in five while the process starts.
        at, names = next_name(disturbed), 0
        if generator.random() < 0.8:
            names = at + 1 + int(generator.random() * (end - at) / 2)
        pause = generator.random() * (2 * whole / end if names else whole / 3)
        status = index(disturbed, Moment(str(disturbed), names, pause))
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
        story.moments.append([at, next_name(disturbed)])
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


if __name__ == "__main__":
    serve(sys.argv[1])
