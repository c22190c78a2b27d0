"""Fuzzes the raster room: damaged copies of real files must be read or refused, never more.

    python tests/bench/fuzz_rasters.py FOLDER --minutes 10 --seed 1

Bytes of each copy are flipped, most of them in the header, or its end is cut off. A child with
bounded memory and time opens it, cuts it, places the windows and reads some. A finding is anything
but success and `RasterError`; its file is kept in --keep.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import shutil
import signal
import sys
import time
import traceback
from collections import Counter
from pathlib import Path

from ngcg_cli.errors import RasterError
from ngcg_cli.raster import Raster, TileSize

SUFFIXES = (".tif", ".tiff", ".vrt")
VALUES = (0, 1, 0x7F, 0x80, 0xFF)
WINDOWS = 6


def damage(data: bytearray, chance: random.Random) -> None:
    """Cuts or flips in place."""
    if chance.random() < 0.15:
        del data[chance.randrange(len(data)) :]
        return
    reach = len(data) if chance.random() < 0.3 else min(len(data), 1024)
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        at = chance.randrange(reach)
        data[at] = chance.choice((*VALUES, data[at] ^ (1 << chance.randrange(8))))


def visit(path: Path) -> str:
    """What indexing does with a raster, without the model."""
    try:
        with Raster.open(path) as raster:
            windows = raster.grid(TileSize.parse("224px"), 0.25)
            some = windows[:: max(1, len(windows) // WINDOWS)][:WINDOWS]
            raster.footprints(windows[:1000])
            bad = 0
            for window in some:
                raster.empty(window)
                try:
                    raster.read(window, 448)
                except RasterError:
                    bad += 1
            return "partly" if bad else "read"
    except RasterError:
        return "refused"


def run_case(path: Path, seconds: int, megabytes: int, log: Path) -> str:
    """`visit` in a child; what became of it."""
    child = os.fork()
    if child == 0:
        status = 9
        try:
            resource.setrlimit(resource.RLIMIT_AS, (megabytes << 20, megabytes << 20))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            signal.alarm(seconds)
            status = {"read": 0, "partly": 1, "refused": 2}[visit(path)]
        except BaseException:
            log.write_text(traceback.format_exc())
        os._exit(status)
    _, ended = os.waitpid(child, 0)
    if os.WIFSIGNALED(ended):
        return "hang" if os.WTERMSIG(ended) == signal.SIGALRM else f"signal {os.WTERMSIG(ended)}"
    return {0: "read", 1: "partly", 2: "refused"}.get(os.WEXITSTATUS(ended), "traceback")


def main() -> int:
    """Prints a tally; the exit status is 1 when there are findings."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("folder", type=Path)
    options.add_argument("--minutes", type=float, default=5)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--timeout", type=int, default=20, help="seconds a case")
    options.add_argument("--memory", type=int, default=3000, help="MiB of address space")
    options.add_argument("--keep", type=Path, default=Path("fuzz-findings"))
    asked = options.parse_args()
    chance = random.Random(asked.seed)
    files = sorted(f for f in asked.folder.rglob("*") if f.name.lower().endswith(SUFFIXES))
    asked.keep.mkdir(parents=True, exist_ok=True)
    tally: Counter[str] = Counter()
    until = time.monotonic() + asked.minutes * 60
    visit(files[0])  # so that children do not load GDAL anew
    while time.monotonic() < until:
        source = chance.choice(files)
        data = bytearray(source.read_bytes())
        damage(data, chance)
        case = asked.keep / f"case{source.suffix}"
        case.write_bytes(data)
        outcome = run_case(case, asked.timeout, asked.memory, asked.keep / "last.txt")
        tally[outcome] += 1
        if outcome not in ("read", "partly", "refused"):
            name = f"{sum(tally.values()):06d}-{outcome.replace(' ', '')}-{source.name}"
            shutil.copy(case, asked.keep / name)
            print(name, file=sys.stderr)
            if outcome == "traceback":
                os.replace(asked.keep / "last.txt", asked.keep / f"{name}.txt")
    print(sum(tally.values()), "cases:", dict(tally))
    return int(any(key not in ("read", "partly", "refused") for key in tally))


if __name__ == "__main__":
    sys.exit(main())
