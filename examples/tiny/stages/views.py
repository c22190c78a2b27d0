"""What the later courses show of an image: other ground, light, air, sensors and compression.

A photograph is shown turned, with less or more of its ground, coarser, at times parched, under
other light and haze, blurred, and compressed; a drawn tile whole and upright, since its captions
name sides.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageFilter

from examples.tiny.stages.seasons import turned

#: The encoder's side in pixels, and the filter it resizes by.
SIDE, FILTER = 256, Image.Resampling.BICUBIC
#: Crops keep at least this share of the side.
LEAST = 0.55
#: Of photographs so many are shown drier than they are: few, since captions speak of green.
_PARCHED = 0.08


def plain(image: np.ndarray) -> np.ndarray:
    """A uint8 image (h, w, 3) as it is, as normalised float32 planes (3, 256, 256)."""
    picture = Image.fromarray(np.ascontiguousarray(image)).resize((SIDE, SIDE), FILTER)
    return _normalised(np.asarray(picture, np.float32))


def shown(image: np.ndarray, rng: np.random.Generator, whole: bool = False) -> np.ndarray:
    """A view of a uint8 image (h, w, 3) as normalised float32 planes (3, 256, 256).

    Args:
        image: the image.
        rng: decides everything.
        whole: neither crop nor turn it.
    """
    seen = image if whole else _cut(image, rng)
    if not whole and rng.random() < _PARCHED:
        seen = turned(seen, "dry", rng)
    picture = Image.fromarray(np.ascontiguousarray(seen))
    coarse = float(rng.uniform(1, 2.6)) if rng.random() < 0.3 else 1.0
    if coarse > 1:
        side = max(32, round(picture.width / coarse))
        picture = picture.resize((side, side), Image.Resampling.BOX)
    elif rng.random() < 0.2:
        picture = picture.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.3, 1.5))))
    if rng.random() < 0.3:
        packed = io.BytesIO()
        picture.save(packed, "JPEG", quality=int(rng.integers(20, 80)))
        picture = Image.open(packed)
    pixels = np.asarray(picture.resize((SIDE, SIDE), FILTER), np.float32)
    return _normalised(_lit(pixels, rng))


def _normalised(pixels: np.ndarray) -> np.ndarray:
    out: np.ndarray = ((np.clip(pixels, 0, 255) - 127) / 128).astype(np.float32)
    return out.transpose(2, 0, 1)


def _cut(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    whole = min(image.shape[:2])
    side = whole if rng.random() < 0.3 else int(rng.integers(round(LEAST * whole), whole + 1))
    top, left = (int(rng.integers(0, n - side + 1)) for n in image.shape[:2])
    crop = np.rot90(image[top : top + side, left : left + side], int(rng.integers(4)))
    return crop[:, ::-1] if rng.integers(2) else crop


def _lit(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Other light, colour and air."""
    if rng.random() < 0.7:
        gain = float(rng.uniform(0.75, 1.25)) * np.ones(3, np.float32)
        shift = float(rng.uniform(-20, 20)) * np.ones(3, np.float32)
        if rng.random() < 0.5:  # a cast
            gain *= rng.uniform(0.8, 1.2, 3).astype(np.float32)
            shift += rng.uniform(-12, 12, 3).astype(np.float32)
        pixels = (pixels - 118) * gain + 118 + shift
        if rng.random() < 0.4:
            grey = pixels.mean(2, keepdims=True)
            pixels = grey + (pixels - grey) * np.float32(rng.uniform(0.2, 1.5))
    if rng.random() < 0.3:
        share = np.float32(rng.uniform(0.05, 0.55))
        air = rng.uniform(170, 235) + rng.uniform(-10, 10, 3)
        pixels = pixels * (1 - share) + air.astype(np.float32) * share
    return pixels
