"""Whole `ngcg index` runs against a bare loop that feeds the same model batches from memory.

    python tests/bench/index_throughput.py [--tiles 1280] [--threads 1] [--rounds 3] [--streams]

A drawn raster, deflated and tiled as such rasters are, is indexed by the installed command in a
process of its own, in turn with the bare loop in another one. The loop's batches are as large as
`index` takes them, and its images have the model's size already: it only normalises and embeds,
each operation split over torch's threads; with `--streams` each batch split over them instead, as
`Encoder.encode_images` does. What both pay once (imports, loading the model) is measured by an
index of one tile and told, not counted. Processor time a tile is told beside the speeds, since
other work on the machine spoils those. Prints one JSON object; exits with 1 when the median ratio
of the speeds is below 0.9.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import from_origin

LIMIT = 0.9
SIDE = 224

_LOOP = """
import sys, time
import numpy as np
import rasterio
from ngcg_cli.encoder.checkpoint import load_encoder
from ngcg_cli.encoder.pixels import resize_images
from ngcg_cli.journeys.defaults import BATCH

path, model, tiles, way = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
encoder = load_encoder(model, "cpu")
with rasterio.open(path) as dataset:
    pixels = np.moveaxis(dataset.read(window=((0, 224), (0, 224 * 32))), 0, -1)
images = [pixels[:, i * 224 : i * 224 + 224] for i in range(32)]
images = list(resize_images(images, encoder.backbone))
batches = [[images[(i + j) % 32] for j in range(BATCH)] for i in range(0, tiles, BATCH)]
batches[-1] = batches[-1][: tiles - BATCH * (len(batches) - 1)]
encode = getattr(encoder, way)
encode(batches[0])
began, used = time.perf_counter(), time.process_time()
for batch in batches:
    encode(batch)
print(time.perf_counter() - began, time.process_time() - used)
"""


def main() -> None:
    """Draw the raster, run both in turn, tell what they took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--tiles", type=int, default=1280)
    parser.add_argument("--threads", type=int, default=0, help="of the model; 0: torch's default")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--streams", action="store_true", help="in the loop, too")
    args = parser.parse_args()
    if args.threads:
        os.environ["OMP_NUM_THREADS"] = str(args.threads)

    rounds = []
    with tempfile.TemporaryDirectory() as folder:
        large, small = Path(folder, "large.tif"), Path(folder, "small.tif")
        rows = math.ceil(args.tiles / 32)
        _draw(large, 32 * SIDE, rows * SIDE)
        _draw(small, SIDE, SIDE)
        starts = [_index(small, args.model, Path(folder, f"small-{i}")) for i in range(3)]
        start, start_cpu = (statistics.median(both) for both in zip(*starts, strict=True))
        for number in range(args.rounds):
            runs = {
                "index": partial(_index, large, args.model, Path(folder, f"large-{number}")),
                "loop": partial(_loop, large, args.model, args.streams),
            }
            order = ["index", "loop"] if number % 2 else ["loop", "index"]
            took = {name: runs[name](32 * rows) for name in order}
            index, loop = took["index"][0] - start, took["loop"][0]
            index_cpu, loop_cpu = took["index"][1] - start_cpu, took["loop"][1]
            rounds.append(
                {
                    "start_seconds": round(start, 2),
                    "index_tiles_per_second": round((32 * rows - 1) / index, 1),
                    "loop_tiles_per_second": round(32 * rows / loop, 1),
                    "ratio": round(loop / index, 3),
                    "index_cpu_ms": round(1000 * index_cpu / (32 * rows - 1), 2),
                    "loop_cpu_ms": round(1000 * loop_cpu / (32 * rows), 2),
                }
            )
            print(json.dumps(rounds[-1]), file=sys.stderr)
    ratio = statistics.median(entry["ratio"] for entry in rounds)
    print(json.dumps({**vars(args), "tiles": 32 * rows, "ratio": ratio, "rounds": rounds}))
    sys.exit(0 if ratio >= LIMIT else 1)


def _index(path: Path, model: str, folder: Path, tiles: int = 1) -> tuple[float, float]:
    """Seconds of a whole run, on the clock and of processors."""
    command = [Path(sys.executable).with_name("ngcg"), "index", path, "--index", folder, "-q"]
    cut = ["--tile", f"{SIDE}px", "--overlap", "0", "--model", model, "--device", "cpu", "--json"]
    before, began = os.times(), time.perf_counter()
    done = subprocess.run([*command, *cut], stdout=subprocess.PIPE, check=True)
    seconds, after = time.perf_counter() - began, os.times()
    assert json.loads(done.stdout)["added"] == tiles
    used = after.children_user + after.children_system
    return seconds, used - before.children_user - before.children_system


def _loop(path: Path, model: str, streams: bool, tiles: int) -> tuple[float, float]:
    """Seconds of embedding alone."""
    way = "encode_images" if streams else "encode_batch"
    command = [sys.executable, "-c", _LOOP, path, model, str(tiles), way]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    seconds, used = map(float, done.stdout.split())
    return seconds, used


def _draw(path: Path, width: int, height: int) -> None:
    """Hills of colour with some grain: about as hard to decode as imagery."""
    generator = np.random.default_rng(0)
    profile = {
        "driver": "GTiff",
        "width": width,
        "height": height,
        "count": 3,
        "dtype": "uint8",
        "crs": "EPSG:32618",
        "transform": from_origin(500_000, 4_500_000, 0.3, 0.3),
        "tiled": True,
        "compress": "deflate",
        "predictor": 2,
    }
    across = np.sin(np.arange(width) / 97)[None, :]
    with rasterio.open(path, "w", **profile) as dataset:
        for row in range(0, height, 256):
            rows = min(256, height - row)
            hills = 128 + 60 * across * np.cos(np.arange(row, row + rows) / 61)[:, None]
            grain = generator.integers(-12, 12, (3, rows, width))
            block = (hills + grain).clip(0, 255).astype(np.uint8)
            dataset.write(block, window=((row, row + rows), (0, width)))


if __name__ == "__main__":
    main()
