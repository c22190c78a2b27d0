"""Photographs cut together from two, as tiles show them where one place borders on another.

No caption is true of them; what a panel of models says of them is learned. Nobody knows them by
heart, as the photographs with captions are known.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from examples.tiny.keyed import kept
from examples.tiny.stages.corpus import SIDE

#: The border lies between these shares of the side.
_FROM, _TO = 0.3, 0.7
#: Crops keep at least this share of a photograph's side.
_LEAST = 0.7


def mix(first: np.ndarray, second: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One photograph, and beyond a straight border another: uint8 (150, 150, 3).

    Args:
        first: uint8 (150, 150, 3).
        second: likewise; it takes up one side, or one corner.
        rng: where the border lies, and what of each is shown.
    """
    share = Image.new("L", (SIDE, SIDE), 0)
    across, down = (round(float(v) * SIDE) for v in rng.uniform(_FROM, _TO, 2))
    box = (across, down if rng.random() < 0.3 else 0, SIDE, SIDE)
    share.paste(255, box)
    share = share.rotate(90 * int(rng.integers(4)))
    soft = share.filter(ImageFilter.GaussianBlur(float(rng.uniform(0, 1.5))))
    second_share = np.asarray(soft, np.float32)[..., None] / 255
    out = _piece(first, rng) * (1 - second_share) + _piece(second, rng) * second_share
    return np.round(out).astype(np.uint8)


def _piece(photo: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    side = int(rng.integers(round(_LEAST * SIDE), SIDE + 1))
    left, top = (int(v) for v in rng.integers(0, SIDE - side + 1, 2))
    picture = Image.fromarray(np.rot90(photo, int(rng.integers(4))))
    picture = picture.crop((left, top, left + side, top + side))
    return np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC), np.float32)


def write(folder: Path, photos: np.ndarray, count: int) -> np.ndarray:
    """Mix `count` pairs of the photographs, once: uint8 (count, 150, 150, 3)."""

    def make() -> np.ndarray:
        rng = np.random.default_rng(17)
        asked = rng.integers(len(photos), size=(count, 2))
        return np.stack([mix(photos[a], photos[b], rng) for a, b in asked])

    return kept(folder / "images.npy", make)
