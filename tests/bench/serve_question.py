"""What a question to `ngcg serve` costs on an index of 10,000 tiles, in server time.

    export OMP_NUM_THREADS=1
    python tests/bench/serve_question.py [--tiles 10000] [--questions 60]

Vectors are random around 400 centres and stamped as those of `tiny`, which embeds the questions.
The server runs in this process and is asked over HTTP, a new question each time: embedding, search,
suppression of overlaps, footprints, confidence and JSON. Wall time is the server's own (the header
Server-Timing); processor time, which other work on the machine does not spoil, is that of the
process and includes the client.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

import numpy as np
import shapely
import uvicorn

from ngcg_cli.encoder.loading import open_encoder
from ngcg_cli.journeys.model import stamp
from ngcg_cli.search import Block, SourceRecord, TileIndex, TileTable
from ngcg_cli.server.app import application
from ngcg_cli.server.desk import Desk
from ngcg_cli.server.running import _listening

THINGS = ["a harbour", "storage tanks", "a school", "a river", "dense houses", "a stadium"]
PLACES = ["beside a road", "in a forest", "near the coast", "with a car park", "in the snow"]


def make_index(folder: Path, count: int) -> None:
    """An index of about `count` tiles of 100 m, side by side."""
    side = int(np.ceil(count**0.5))
    step = 0.001
    x, y = (a.ravel()[:count] * step for a in np.meshgrid(np.arange(side), np.arange(side)))
    boxes = np.column_stack([x, y + 40, x + step, y + 40 + step])
    generator = np.random.default_rng(0)
    model = stamp(open_encoder("tiny", "cpu"), "tiny")
    centres = generator.standard_normal((400, model.dim), np.float32)
    vectors = centres[generator.integers(0, 400, count)]
    vectors += generator.standard_normal(vectors.shape, np.float32) * 0.7
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    windows = np.column_stack([x / step * 200, y / step * 200, 0 * x + 200, 0 * x + 200])
    tiles = TileTable(
        lon=x + step / 2,
        lat=y + 40 + step / 2,
        bbox=boxes,
        window=windows.astype(np.int64),
        geometry=list(shapely.to_wkb(shapely.box(*boxes.T))),
    )
    source = SourceRecord("/none/made.tif", None, None, "100m", 0.0, 0.0)
    index = TileIndex.create(folder, model)
    index.commit([Block(source, tiles, vectors)])
    index.refresh_graph()


def main() -> None:
    """Prints one JSON object."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--tiles", type=int, default=10_000)
    parser.add_argument("--questions", type=int, default=60)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        make_index(Path(folder) / "index", asked.tiles)
        desk = Desk(Path(folder) / "index", None, "cpu")
        desk.warm_up()
        listener = _listening("127.0.0.1", 0)
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/api/query?k=10&q="
        server = uvicorn.Server(uvicorn.Config(application(desk, "127.0.0.1"), log_config=None))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        wall, processor = [], []
        for number in range(asked.questions):
            text = f"{THINGS[number % 6]} {PLACES[number % 5]} number {number}".replace(" ", "+")
            before = time.process_time()
            with urllib.request.urlopen(address + text) as answer:
                assert len(json.load(answer)["features"]) == 10
                found = re.search(r"dur=([\d.]+)", answer.headers["server-timing"])
            processor.append((time.process_time() - before) * 1000)
            assert found
            wall.append(float(found[1]))
        server.should_exit = True
        thread.join()
    warm = slice(5, None)
    report = {
        "tiles": asked.tiles,
        "questions": asked.questions - 5,
        "server_ms": _spread(wall[warm]),
        "processor_ms": _spread(processor[warm]),
    }
    print(json.dumps(report))


def _spread(values: list[float]) -> dict[str, float]:
    low, middle, high = np.percentile(values, [0, 50, 95])
    return {"least": round(low, 1), "median": round(middle, 1), "p95": round(high, 1)}


if __name__ == "__main__":
    main()
