"""Write the town as a GeoTIFF with captions whose true coordinates are known.

    python -m examples.town.make --out DIR [--seed 7]

`region.tif` is 2,400 x 1,800 px at 0.5 m (UTM zone 32N, an invented spot). `region.jsonl` has a
line a statement: `captions` (phrasings), `lon` and `lat` (one place where it is true), `true_at`
(all of them), `statement` (the key) and `place`.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import rasterio
from PIL import Image
from pyproj import Transformer
from rasterio.enums import Resampling
from rasterio.transform import from_origin

from examples.town.captions import paraphrases, weight
from examples.town.draw import render
from examples.town.plan import HEIGHT, PLACES, WIDTH, town
from examples.town.scene import Light, Scene, Window
from examples.town.statements import BUILDINGS, SPREAD, Point, truths

CRS = "EPSG:32632"
EAST, NORTH = 612_000.0, 5_310_900.0  # upper left corner
GSD = 0.5
TILE = 112.0  # metres a side of the window in which a statement is judged: 224 px
STEP = 28.0  # metres from window to window
LIGHT = Light(azimuth=140, elevation=48, shade=0.48, haze=0.04, blur=0.45, noise=2)


def evidence(scene: Scene) -> dict[str, list[Point]]:
    """Every statement true of some window of the town, with the points it is about.

    Windows of `TILE` metres lie `STEP` metres apart; points within 15 m of each other are one.
    """
    found: dict[str, list[Point]] = defaultdict(list)
    seen: dict[str, int] = defaultdict(int)
    for y in np.arange(TILE / 2, HEIGHT - TILE / 2 + 1, STEP):
        for x in np.arange(TILE / 2, WIDTH - TILE / 2 + 1, STEP):
            for key, at in truths(scene, Window.around(float(x), float(y), TILE)).items():
                seen[key] += 1
                near = ((at[0] - p[0]) ** 2 + (at[1] - p[1]) ** 2 < 225 for p in found[key])
                if not any(near):
                    found[key].append(at)
    # What only one window shows hangs on where its edges fall.
    return {key: points for key, points in found.items() if seen[key] >= 2}


def rows(scene: Scene, seed: int) -> list[dict[str, Any]]:
    """The lines of region.jsonl: statements worth asking for, those that tell places apart."""
    to_lonlat = Transformer.from_crs(CRS, "EPSG:4326", always_xy=True)
    out = []
    found = evidence(scene)
    implied = {
        g for key in found for g in _broader(key) if len(found.get(g, ())) <= len(found[key])
    }
    for key, points in sorted(found.items()):
        if weight(key) < 0.5 or len(points) > 40 or key in implied or not telling(key):
            continue
        rng = np.random.default_rng([seed, crc32(key.encode())])
        xy = np.array(points)
        lon, lat = to_lonlat.transform(xy[:, 0] + EAST, xy[:, 1] + NORTH - HEIGHT)
        true_at = [[round(float(a), 7), round(float(b), 7)] for a, b in zip(lon, lat, strict=True)]
        place = min(PLACES, key=partial(_away, xy[0]))
        texts = [c.text for c in paraphrases(key, rng, 4)]
        out.append({"captions": texts, "lon": true_at[0][0], "lat": true_at[0][1], "place": place,
                    "true_at": true_at, "statement": key})  # fmt: skip
    return out


def _away(at: np.ndarray, name: str) -> float:
    return float(np.hypot(*(at - np.array(PLACES[name]))))


def _broader(key: str) -> list[str]:
    """The keys that say the same with a colour left out or a mere `building`."""
    verb, *f = key.split("|")
    out = []
    spots = {"near": (0, 2), "side": (0, 2), "count": (0,), "many": (0,), "line": (0,)}.get(
        verb, ()
    )
    for i in spots:
        out.append([*f[: i + 1], "", *f[i + 2 :]] if f[i + 1] else [])
        out.append([*f[:i], "building", *f[i + 1 :]] if f[i] in BUILDINGS - {"building"} else [])
    return ["|".join([verb, *g]) for g in out if g]


def telling(key: str) -> bool:
    """Whether a statement is worth asking: not a bare `a building near a house`, said one way.

    Of the many sides only a fixed quarter is kept, so that no verb outweighs the others.
    """
    verb, *f = key.split("|")
    if verb == "near":
        spread = SPREAD | {"pond", "lake", "car_park", "roundabout", "tjunction"}
        first, second = ((f[i] in spread, f[i] not in BUILDINGS, f[i]) for i in (0, 2))
        if first > second:
            return False
    if verb == "side" and crc32(key.encode()) % 4:
        return False
    if verb in ("near", "side"):
        vague = {"building", "house", "woods", "field", "road"}
        return not any(f[i] in vague and not f[i + 1] for i in (0, 2)) or (
            f[2] in ("woods", "road") and f[0] not in vague
        )
    return f[0] not in ("building", "house") or bool(f[1])


def write_region(path: Path, rgb: np.ndarray) -> None:
    """Write (h, w, 3) uint8 as a tiled JPEG GeoTIFF with overviews."""
    height, width = rgb.shape[:2]
    profile = {"driver": "GTiff", "width": width, "height": height, "count": 3, "dtype": "uint8",
               "crs": CRS, "transform": from_origin(EAST, NORTH, GSD, GSD), "tiled": True,
               "blockxsize": 256, "blockysize": 256, "compress": "jpeg", "photometric": "ycbcr",
               "jpeg_quality": 80}  # fmt: skip
    with rasterio.Env(JPEG_QUALITY_OVERVIEW=75, GDAL_TIFF_OVR_BLOCKSIZE=256):
        with rasterio.open(path, "w", **profile) as target:
            target.write(rgb.transpose(2, 0, 1))
        with rasterio.open(path, "r+") as target:
            target.build_overviews([2, 4, 8], Resampling.average)


def picture(scene: Scene, seed: int, window: Window | None = None) -> np.ndarray:
    """The town (or a window of it) as the GeoTIFF shows it, before compression."""
    return render(scene, window or Window(0, 0, WIDTH, HEIGHT), GSD, LIGHT, seed)


def write_rows(path: Path, lines: list[dict[str, Any]]) -> None:
    """Write region.jsonl."""
    path.write_text("".join(json.dumps(row) + "\n" for row in lines), encoding="utf-8")


def main() -> None:
    """Command line of the town's writer."""
    parser = argparse.ArgumentParser(description="Write the town's GeoTIFF and captions.")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--seed", type=int, default=7, help="seed of the town")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    scene = town(args.seed)
    rgb = picture(scene, args.seed)
    write_region(args.out / "region.tif", rgb)
    small = Image.fromarray(rgb).resize((800, 600), Image.Resampling.BOX)
    small.quantize(256, Image.Quantize.FASTOCTREE).save(args.out / "preview.png", optimize=True)
    write_rows(args.out / "region.jsonl", rows(scene, args.seed))


if __name__ == "__main__":
    main()
