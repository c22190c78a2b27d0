"""Things that photographs lack, drawn into photographs: pools, railways, bridges, boats, snow.

They come from the drawn town (`examples/town`), with their shadows and soft edges, in the light of
the photograph. Drawn twice, on a dark and on a light plain, the two pictures tell for each pixel
how much of the ground shows through: all of it, some in a shadow, none where a thing is.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from examples.tiny.stages import seasons, ways
from examples.tiny.stages.contrasts import taught
from examples.tiny.stages.corpus import SIDE
from examples.town.captions import Speaker
from examples.town.draw import render
from examples.town.scene import PLAIN, RGB, Light, Scene, Site, Window
from examples.town.statements import truths
from examples.town.things import put

#: What is put into photographs, as often as it stands here.
KINDS = (
    *("pool",) * 5, *("tennis",) * 3, *("solar",) * 3, *("tank",) * 2, "baseball", "football",
    "running_track", "greenhouse", "car_park", "house", "warehouse", "pond", "church",
    "apartments",
)  # fmt: skip
#: Photographs without captions show hardly any of these: as many as are drawn are there.
_COUNTED = frozenset({"tennis", "tank", "greenhouse", "baseball", "boat", "roundabout"})
#: Shares of the pictures that are but turned into a season, and that have something across them.
_SEASONED, _CROSSED = 0.12, 0.5
#: Metres that a photograph is taken to be wide.
_WIDTHS = (50.0, 180.0)
_DARK, _LIGHT = (60.0, 60.0, 60.0), (200.0, 200.0, 200.0)
_SAID = {**ways.SAID, **seasons.SAID}
#: Of the picture, at least so much is drawn.
_LEAST = 0.004


def phrase(key: str, rng: np.random.Generator) -> str:
    """Words for what a picture shows: a statement's key, or `said|` and a name of `_SAID`."""
    verb, _, name = key.partition("|")
    if verb == "said":
        return str(rng.choice(_SAID[name]))
    return Speaker(rng).say(key)


def paste(photo: np.ndarray, seed: int) -> tuple[np.ndarray, list[str]] | None:
    """Draw things into a photograph, or turn it into a season.

    Args:
        photo: uint8 (150, 150, 3).
        seed: of what is drawn and where.

    Returns:
        The picture, uint8, and the keys of what is now in it (see `phrase`); None if nothing
        found a place.
    """
    rng = np.random.default_rng([77, seed])
    if rng.random() < _SEASONED:
        season = str(rng.choice(["snow", "snow", "dry", "autumn"]))
        return seasons.turned(photo, season, rng, least=0.6), [f"said|{season}"]
    width = float(np.exp(rng.uniform(*np.log(_WIDTHS))))
    site = Site(rng)
    said = set()
    if rng.random() < _CROSSED:
        said.add(ways.WAYS[int(rng.integers(len(ways.WAYS)))](site, width))
    for kind in rng.choice(KINDS, int(rng.integers(0 if said else 1, 2 if said else 4))):
        slot = min(float(rng.uniform(18, 90)), width * 0.9)
        reach = (width - slot) / 2
        x, y = (float(v) for v in rng.uniform(-reach, reach, 2))
        put(site, x, y, slot, only=(str(kind),))
    scene = site.scene(float(rng.uniform(0, 2 * np.pi)))
    if not scene.shapes:
        return None
    window = Window.around(0, 0, width)
    drawn = Light.draw(rng)
    light = Light(drawn.azimuth, drawn.elevation, drawn.shade, haze=0, blur=drawn.blur, noise=0)

    def on(ground: RGB, things: bool) -> np.ndarray:
        shown = scene.shapes if things else []
        own = Scene([], shown, (ground, PLAIN))
        return render(own, window, width / SIDE, light).astype(np.float32)

    dark, plain = on(_DARK, True), on(_DARK, False)
    span = np.maximum(on(_LIGHT, False) - plain, 1)
    through = np.clip((on(_LIGHT, True) - dark) / span, 0, 1)
    if (through < 0.5).mean() < _LEAST:
        return None
    own = dark - through * plain
    mean = photo.mean((0, 1))
    gain = np.clip(mean.mean() / 118, 0.6, 1.35)
    tint = np.clip(mean / max(mean.mean(), 1), 0.85, 1.15) ** 0.5
    out = photo * _softened(through) + own * gain * tint
    keys = sorted(f"said|{name}" for name in said if name)
    keys += sorted(filter(_worth_saying, truths(scene, window)))
    if not keys:
        return None
    return np.clip(out, 0, 255).astype(np.uint8), keys


def _worth_saying(key: str) -> bool:
    """Whether a statement about what is drawn is true of the whole picture, and to be taught."""
    verb, kind, *_ = key.split("|")
    true = verb in ("has", "crosses") or (verb == "count" and kind in _COUNTED)
    return true and taught(Speaker(np.random.default_rng(0)).say(key))


def _softened(share: np.ndarray) -> np.ndarray:
    picture = Image.fromarray((share * 255).astype(np.uint8))
    return np.asarray(picture.filter(ImageFilter.GaussianBlur(0.6)), np.float32) / 255


def write(folder: Path, photos: np.ndarray, count: int) -> tuple[np.ndarray, list[list[str]]]:
    """Paste things into `count` of the photographs, once: uint8 (N, 150, 150, 3), and their keys.

    A few of `count` are missing, where nothing found a place.
    """
    listing = folder / "keys.json"
    if not listing.exists():
        rng = np.random.default_rng(3)
        chosen = rng.integers(len(photos), size=count)
        made = (paste(np.array(photos[row]), seed) for seed, row in enumerate(chosen))
        done = [found for found in made if found]
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / "images.npy", np.stack([image for image, _ in done]))
        # Written last: its presence says that the set is whole.
        listing.write_text(json.dumps([keys for _, keys in done]))
    images = np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)
    return images, json.loads(listing.read_text())
