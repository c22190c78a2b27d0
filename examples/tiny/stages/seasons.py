"""Photographs in another season: under snow, parched, or in autumn.

What is green is taken for plants and what is dark and blue for water; no more is known of a
photograph. It is coarse, and no more is asked of it than that seasons do not hide what is there.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

#: What may be said of each.
SAID = {
    "snow": ("snow", "snow on the ground", "snow-covered land", "a snowy landscape", "winter",
             "a white snow-covered place", "snow field", "a field under snow", "snowy ground"),
    "dry": ("dry grass", "dry land", "parched ground", "withered vegetation", "brown vegetation",
            "an arid place", "a place in a drought"),
    "autumn": ("autumn", "autumn trees", "autumn colours", "fall foliage", "orange and brown trees",
               "trees in autumn"),
}  # fmt: skip
_DRY, _STRAW = np.array([166, 142, 100], np.float32), np.array([190, 172, 128], np.float32)
_LEAVES = np.array([(178, 104, 52), (150, 84, 48), (196, 150, 66), (128, 92, 58)], np.float32)


def turned(image: np.ndarray, season: str, rng: np.random.Generator, least: float = 0.0
           ) -> np.ndarray:  # fmt: skip
    """A uint8 image (h, w, 3) in a season: a key of `SAID`; `least` of it at least."""
    pixels = np.asarray(image, np.float32)
    light = pixels.mean(2, keepdims=True)
    red, green, blue = (pixels[..., n : n + 1] for n in range(3))
    plants = np.clip((2 * green - red - blue + 6) / np.maximum(light, 25) * 4, 0, 1)
    amount = float(rng.uniform(least, 1))
    if season == "snow":
        return _snow(pixels, light, plants, amount, rng)
    if season == "dry":
        aim = np.float32(rng.uniform(0, 1)) * (_STRAW - _DRY) + _DRY
    else:
        aim = _patches(image.shape, rng, _LEAVES)
        plants = plants * np.clip(1.6 - light / 110, 0, 1)  # trees are darker than grass
    other = aim * (light + 25) / 125
    return _bytes(pixels + (other - pixels) * plants * amount)


def _snow(
    pixels: np.ndarray,
    light: np.ndarray,
    plants: np.ndarray,
    amount: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """White where it is light or green; woods and roofs show through, water stays dark."""
    water = np.clip((pixels[..., 2:] - pixels[..., :1]) / 18, 0, 1) * (light < 90)
    lies = np.clip((light - 45) / 60 + 0.5 * plants, 0, 1) * (1 - water)
    thin = _noise(pixels.shape, rng, 12)
    cover = np.clip(lies * (0.45 + 0.9 * amount) + 0.3 * (thin - 0.5), 0, 0.97)
    white = np.array([236, 240, 247], np.float32) * np.float32(rng.uniform(0.9, 1.04))
    relief = (light - light.mean()) * 0.22
    return _bytes(pixels * (1 - cover) + (white + relief) * cover)


def _noise(shape: tuple[int, ...], rng: np.random.Generator, cells: int) -> np.ndarray:
    coarse = Image.fromarray(rng.integers(0, 256, (cells, cells), dtype=np.uint8))
    smooth = coarse.resize((shape[1], shape[0]), Image.Resampling.BICUBIC)
    return np.asarray(smooth, np.float32)[..., None] / 255


def _patches(shape: tuple[int, ...], rng: np.random.Generator, colours: np.ndarray) -> np.ndarray:
    first, second = colours[rng.choice(len(colours), 2, replace=False)]
    return first + (second - first) * _noise(shape, rng, 24)


def _bytes(pixels: np.ndarray) -> np.ndarray:
    return np.clip(pixels, 0, 255).astype(np.uint8)
