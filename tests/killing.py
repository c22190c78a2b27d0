"""`ngcg index` killed at random moments, with a query after each kill, and what is left of it.

Each run is the installed command in a process of its own. None is forked from one that has imported
the libraries: a fork keeps only the thread that called it, so whatever OpenMP's threads held then
is held for ever.
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


def run(words: list[str], moment: Moment | None = None) -> int:
    """The exit status of a command line of `ngcg`; -9 when it was killed at its moment."""
    process = subprocess.Popen(
        [Path(sys.executable).with_name("ngcg"), *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    if moment is None:
        return process.wait()
    process.returncode = moment.strike(process.pid)
    return process.returncode


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


def tell_kills(rasters: Path, model: Path, folder: Path, kills: int, seed: int) -> Story:
    """Index `rasters` with `kills` kills on the way, again and again until there were so many.

    Asserts that after each kill the index answers a query from whole tiles of the undisturbed run,
    none of them twice, and that none is lost again; and that a run that ends leaves exactly those.
    """
    generator = random.Random(seed)

    def index(to: Path, moment: Moment | None = None) -> int:
        words = ["index", str(rasters), "--index", str(to), "--model", str(model)]
        cut = ["--tile", "16px", "--overlap", "0", "--block", "8", "-q"]
        return run([*words, *cut], moment)

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
        assert run(query) == (0 if (disturbed / "manifest.json").exists() else 1)
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
