"""Whole `ngcg index` runs against bare loops that feed the same model from memory.

    python tests/bench/index_throughput.py [--tiles 1280] [--threads 1] [--rounds 3] [--clock]

A drawn raster, deflated and tiled as such rasters are, is indexed by the installed command in a
process of its own, in turn with two bare loops in others, whose images have the model's size
already:

- `graph`: ONNX Runtime over the exported image graph, and nothing else; with several threads it
  splits its operations among them;
- `torch`: the same model in torch, `index`'s batches, each normalised and embedded.

A run in int8 is told besides. What a run pays once (imports, loading the model) is measured by an
index of one tile and told, not counted. The ratios are of processor time a tile, which other work
on the machine hardly spoils; with `--clock`, for an idle one, of tiles a second. Prints one JSON
object; exits with 1 when a median ratio is below its limit.
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

#: Speed of `index` at least, as a share of that of each loop.
LIMITS = {"graph": 0.9, "torch": 1.35}
SIDE = 224

_LOOP = """
import sys, time
import numpy as np
import rasterio
from ngcg_cli.encoder.loading import open_encoder
from ngcg_cli.encoder.pixels import resize_images
from ngcg_cli.encoder.runtime import CHUNK
from ngcg_cli.journeys.defaults import BATCH

path, model, tiles, way = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
encoder = open_encoder(model, "cpu", engine="torch" if way == "torch" else "onnx")
with rasterio.open(path) as dataset:
    pixels = np.moveaxis(dataset.read(window=((0, 224), (0, 224 * 32))), 0, -1)
images = [pixels[:, i * 224 : i * 224 + 224] for i in range(32)]
images = resize_images(images, encoder.backbone)
if way == "torch":
    size, encode = BATCH, encoder.encode_batch
else:
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(sys.argv[5])
    session = onnxruntime.InferenceSession(
        encoder.engine.graphs.check("image"), options, providers=["CPUExecutionProvider"])
    size, encode = CHUNK, lambda batch: session.run(None, {"images": batch})
encode(images[:size])
began, used = time.perf_counter(), time.process_time()
for start in range(0, tiles, size):
    first = start % (32 - size + 1)
    encode(images[first : first + min(size, tiles - start)])
print(time.perf_counter() - began, time.process_time() - used)
"""


def main() -> None:
    """Draw the raster, run both in turn, tell what they took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--tiles", type=int, default=1280)
    parser.add_argument("--threads", type=int, default=1, help="of each process")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clock", action="store_true", help="limits are for tiles a second")
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(args.threads)

    rounds = []
    with tempfile.TemporaryDirectory() as folder:
        large, small = Path(folder, "large.tif"), Path(folder, "small.tif")
        rows = math.ceil(args.tiles / 32)
        _draw(large, 32 * SIDE, rows * SIDE)
        _draw(small, SIDE, SIDE)
        starts = [
            _index(small, args.model, Path(folder, f"small-{i}"), "float32", 1) for i in range(3)
        ]
        start, start_cpu = (statistics.median(both) for both in zip(*starts, strict=True))
        for number in range(args.rounds):
            runs = {
                **{
                    name: partial(_index, large, args.model, Path(folder, f"{name}-{number}"), how)
                    for name, how in (("index", "float32"), ("int8", "int8"))
                },
                "graph": partial(_loop, large, args.model, "graph", args.threads),
                "torch": partial(_loop, large, args.model, "torch", args.threads),
            }
            order = list(runs)[:: 1 if number % 2 else -1]
            took = {name: runs[name](32 * rows) for name in order}
            tiles = 32 * rows
            own = {
                name: (both[0] / tiles, both[1] / tiles)
                if name in LIMITS
                else ((both[0] - start) / (tiles - 1), (both[1] - start_cpu) / (tiles - 1))
                for name, both in took.items()
            }
            ratio = {
                name: [round(mine / run, 3) for mine, run in zip(both, own["index"], strict=True)]
                for name, both in own.items()
                if name != "index"
            }
            rounds.append(
                {
                    "start_cpu_seconds": round(start_cpu, 2),
                    "tiles_per_second": {
                        name: round(1 / value[0], 1) for name, value in own.items()
                    },
                    "cpu_ms": {name: round(1000 * value[1], 2) for name, value in own.items()},
                    "ratios_clock": {name: both[0] for name, both in ratio.items()},
                    "ratios_cpu": {name: both[1] for name, both in ratio.items()},
                }
            )
            print(json.dumps(rounds[-1]), file=sys.stderr)
    judged = "ratios_clock" if args.clock else "ratios_cpu"
    ratios = {name: statistics.median(entry[judged][name] for entry in rounds) for name in LIMITS}
    print(json.dumps({**vars(args), "tiles": 32 * rows, "ratios": ratios, "rounds": rounds}))
    sys.exit(0 if all(ratios[name] >= limit for name, limit in LIMITS.items()) else 1)


def _index(path: Path, model: str, folder: Path, precision: str, tiles: int) -> tuple[float, float]:
    """Seconds of a whole run, on the clock and of processors."""
    command = [Path(sys.executable).with_name("ngcg"), "index", path, "--index", folder, "-q"]
    cut = ["--tile", f"{SIDE}px", "--overlap", "0", "--model", model, "--device", "cpu", "--json"]
    cut += ["--precision", precision]
    before, began = os.times(), time.perf_counter()
    done = subprocess.run([*command, *cut], stdout=subprocess.PIPE, check=True)
    seconds, after = time.perf_counter() - began, os.times()
    assert json.loads(done.stdout)["added"] == tiles
    used = after.children_user + after.children_system
    return seconds, used - before.children_user - before.children_system


def _loop(path: Path, model: str, way: str, threads: int, tiles: int) -> tuple[float, float]:
    """Seconds of embedding alone, on the clock and of processors."""
    command = [sys.executable, "-c", _LOOP, path, model, str(tiles), way, str(threads)]
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
