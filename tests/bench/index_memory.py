"""Peak memory of `ngcg index` on huge rasters, sparse and dense, against that on a small one.

    python tests/bench/index_memory.py [--sparse 20480] [--dense 20000] [--tile 2048px]

The rasters are written into a temporary folder. Large tiles bound the time that the model takes;
the readers go through every block of the dense raster either way. Prints one JSON object;
exits with 1 when one of them needs more than 400 MiB beside the small raster's peak.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.transform import from_origin

LIMIT_MIB = 400.0


def main() -> None:
    """Write the rasters, index each in a process of its own, tell the peaks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--sparse", type=int, default=20_480)
    parser.add_argument("--dense", type=int, default=20_000)
    parser.add_argument("--tile", default="2048px")
    args = parser.parse_args()
    report: dict[str, Any] = {
        "tile": args.tile,
        "sparse_side": args.sparse,
        "dense_side": args.dense,
    }
    with tempfile.TemporaryDirectory() as folder:
        for name, side, filled in (
            ("small", 512, True),
            ("sparse", args.sparse, False),
            ("dense", args.dense, True),
        ):
            path = Path(folder, f"{name}.tif")
            _write(path, side, filled)
            # Without data nothing is embedded, so the sparse one can be cut finely.
            tile = args.tile if name == "dense" else "224px"
            report[name] = _index(path, args.model, tile, Path(folder, f"{name}-index"))
            path.unlink()
            print(name, json.dumps(report[name]), file=sys.stderr)
    small = report["small"]["peak_mib"]
    more = {name: round(report[name]["peak_mib"] - small, 1) for name in ("sparse", "dense")}
    print(json.dumps({**report, "beside_small_mib": more}))
    sys.exit(0 if max(more.values()) <= LIMIT_MIB else 1)


def _index(path: Path, model: str, tile: str, folder: Path) -> dict[str, Any]:
    command = [Path(sys.executable).with_name("ngcg"), "index", path, "--index", folder]
    cut = ["--tile", tile, "--model", model, "--device", "cpu", "--json", "-q"]
    began = time.perf_counter()
    with subprocess.Popen([*command, *cut], stdout=subprocess.PIPE) as process:
        assert process.stdout
        told = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, told
    peak = usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    return {
        "tiles": json.loads(told)["tiles"],
        "seconds": round(time.perf_counter() - began, 1),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_mib": round(peak, 1),
    }


def _write(path: Path, side: int, filled: bool) -> None:
    profile = {
        "driver": "GTiff",
        "width": side,
        "height": side,
        "count": 3,
        "dtype": "uint8",
        "crs": "EPSG:32618",
        "transform": from_origin(500_000, 4_500_000, 0.3, 0.3),
        "tiled": True,
        "blockxsize": 512,
        "blockysize": 512,
        "compress": "deflate",
        "zlevel": 1,
        "sparse_ok": True,
    }
    generator = np.random.default_rng(0)
    row_of_blocks = generator.integers(0, 256, (3, 512, side), np.uint8)
    with rasterio.open(path, "w", **profile) as dataset:
        for row in range(0, side if filled else 0, 512):
            rows = min(512, side - row)
            block = np.roll(row_of_blocks, row, axis=2)[:, :rows]
            dataset.write(block, window=((row, row + rows), (0, side)))


if __name__ == "__main__":
    main()
