"""Processor time of a model as a share of another's: is the new one slower?

    python tests/bench/two_models.py OLD tiny

The same 64 drawn images and 256 sentences go through both in turn, the order changing, nine rounds;
both run in ONNX Runtime, in float32, on one thread. Prints one JSON object: the median of the
rounds' ratios, old to new, and the least and the greatest. Above 1 the new one is quicker.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable

os.environ["OMP_NUM_THREADS"] = "1"

from ngcg_cli.encoder.encoder import Encoder
from ngcg_cli.encoder.loading import open_encoder
from ngcg_cli.encoder.quantise import drawn_images

ROUNDS = 9


def main() -> None:
    """Time both, tell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("old")
    parser.add_argument("new")
    args = parser.parse_args()
    models = [open_encoder(name, "cpu", engine="onnx") for name in (args.old, args.new)]
    images = drawn_images(models[0].image_size, 64)
    texts = [f"a house with {number} windows beside a road" for number in range(256)]
    ways: dict[str, Callable[[Encoder], object]] = {
        "images": lambda model: model.encode_images(images),
        "sentences": lambda model: model.encode_texts(texts),
    }
    told = {}
    for name, way in ways.items():
        ratios = []
        for number in range(ROUNDS + 1):
            spent = {at: _seconds(way, models[at]) for at in ((0, 1), (1, 0))[number % 2]}
            ratios.append(spent[0] / spent[1])
        ratios = sorted(ratios[1:])  # the first round warms up
        told[name] = [
            round(value, 3) for value in (statistics.median(ratios), ratios[0], ratios[-1])
        ]
    print(json.dumps(told))


def _seconds(way: Callable[[Encoder], object], model: Encoder) -> float:
    start = time.process_time()
    way(model)
    return time.process_time() - start


if __name__ == "__main__":
    main()
