"""Training tiles: one drawn picture and its exact captions for each seed.

    python -m examples.town.tiles --count 10000 --size 150 --seed0 0 --out tiles --workers 2

writes `tiles/images/*.jpg` and `tiles/captions.jsonl`, a line an image: `image`, `captions`,
`scene` (the recipe) and `statements` (the keys that the captions make).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from examples.town.captions import Caption, captions
from examples.town.draw import render
from examples.town.recipes import compose
from examples.town.scene import Light, Scene, Site, Window
from examples.town.statements import truths


class Tile(NamedTuple):
    """A drawn tile with everything that is known of it."""

    image: np.ndarray  # (size, size, 3) uint8
    captions: list[Caption]
    recipe: str
    scene: Scene
    window: Window
    gsd: float


def make_tile(seed: int, size_px: int = 150, gsd: float | None = None) -> Tile:
    """Draw the tile of `seed`: `size_px` pixels a side at `gsd` metres (random in 0.3 to 1.5)."""
    rng = np.random.default_rng(seed)
    drawn = float(np.exp(rng.uniform(np.log(0.3), np.log(1.5))))
    # A tile shows the same ground at any size in pixels, so the word for it stays true.
    width = (gsd * size_px) if gsd else min(240.0, max(45.0, drawn * 150))
    step = width / size_px
    for _ in range(8):
        site = Site(rng)
        recipe, focus = compose(site, width)
        turn = float(rng.choice([0.0, rng.uniform(0, 2 * np.pi)]))
        turn += float(rng.integers(4)) * np.pi / 2
        scene = site.scene(turn)
        shift = rng.uniform(-0.06, 0.06, 2) * width
        window = Window.around(float(shift[0]), float(shift[1]), width)
        said = captions(truths(scene, window), rng, int(rng.integers(4, 7)), focus)
        if len(said) >= 4:
            break
    image = render(scene, window, step, Light.draw(rng), seed)
    return Tile(image, said, recipe, scene, window, step)


def draw_tile(seed: int, size_px: int = 150, gsd: float | None = None
              ) -> tuple[np.ndarray, list[str]]:  # fmt: skip
    """The picture (size_px, size_px, 3) uint8 of `seed` and 4 to 6 captions true of it."""
    tile = make_tile(seed, size_px, gsd)
    return tile.image, [c.text for c in tile.captions]


def _write(seed: int, size: int, out: Path, png: bool) -> str:
    tile = make_tile(seed, size)
    name = f"images/{seed:08d}.{'png' if png else 'jpg'}"
    Image.fromarray(tile.image).save(out / name, quality=95, subsampling=0)
    keys = sorted({k for c in tile.captions for k in c.keys})
    row = {"image": name, "captions": [c.text for c in tile.captions], "scene": tile.recipe,
           "statements": keys}  # fmt: skip
    return json.dumps(row)


def write_tiles(out: Path, seeds: range, size: int = 150, png: bool = False, workers: int = 1
                ) -> None:  # fmt: skip
    """Draw the tiles of `seeds` into `out` as a folder of pairs."""
    (out / "images").mkdir(parents=True, exist_ok=True)
    work = partial(_write, size=size, out=out, png=png)
    with (out / "captions.jsonl").open("w", encoding="utf-8") as rows:
        if workers > 1:
            with ProcessPoolExecutor(workers) as pool:
                lines: Iterator[str] = iter(pool.map(work, seeds, chunksize=32))
                rows.writelines(f"{line}\n" for line in lines)
        else:
            rows.writelines(f"{work(seed)}\n" for seed in seeds)


def main() -> None:
    """Command line of the tile writer."""
    parser = argparse.ArgumentParser(description="Draw training tiles with exact captions.")
    parser.add_argument("--count", type=int, required=True, help="how many tiles")
    parser.add_argument("--size", type=int, default=150, help="pixels a side")
    parser.add_argument("--seed0", type=int, default=0, help="seed of the first tile")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--png", action="store_true", help="PNG instead of JPEG at quality 95")
    parser.add_argument("--workers", type=int, default=1, help="processes")
    args = parser.parse_args()
    seeds = range(args.seed0, args.seed0 + args.count)
    write_tiles(args.out, seeds, args.size, args.png, args.workers)


if __name__ == "__main__":
    main()
