"""Changes of an overhead image that leave its caption true."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageEnhance

from ngcg_cli.choices import AUGMENTATIONS, Augmentation

# A crop keeps at least this share of the area: what the caption names should stay in the picture.
_CROP_AREA = 0.6
_CROP_ASPECT = 1.25
_COLOUR = 0.2

_DIRECTIONS = re.compile(
    r"\b(left|right|top|bottom|upper|lower|above|below|(?:north|south|east|west)\w*"
    r"|clockwise|anticlockwise|counterclockwise)\b",
    re.IGNORECASE,
)


def names_direction(caption: str) -> bool:
    """Whether a caption says where in the picture something is, or into which compass direction.

    Such words are not swapped, because "right" is not always a side ("a right angle") and the
    words change with a quarter turn ("the upper left corner"): the image is left standing.
    """
    return _DIRECTIONS.search(caption) is not None


def augment(
    image: np.ndarray,
    caption: str,
    rng: np.random.Generator,
    which: Sequence[Augmentation] = AUGMENTATIONS,
    view: str | None = None,
) -> np.ndarray:
    """One random variant of an image.

    Args:
        image: (h, w, 3) uint8.
        caption: its caption; one that names directions keeps the image from being flipped or
            turned, see `names_direction`.
        rng: where the chance comes from; the same state gives the same variant.
        which: `flip` (left to right), `turn` (0 to 3 quarter turns; with `flip` all eight
            symmetries of the square), `colour` (brightness, contrast and saturation by up to 20 %;
            the hue stays, for captions name colours), `crop` (60 to 100 % of the area, sides
            stretched by up to 25 % against each other).
        view: images of view "ground" are never turned.

    Returns:
        (h', w', 3) uint8.
    """
    # Every number is drawn, used or not: switching one augmentation off leaves the others alike.
    flip, turns = rng.integers(2), rng.integers(4)
    factors = rng.uniform(1 - _COLOUR, 1 + _COLOUR, size=3)
    area, aspect, left, top = rng.uniform(size=4)
    if "crop" in which:
        image = _crop(image, area, aspect, left, top)
    if not names_direction(caption):
        if "flip" in which and flip:
            image = image[:, ::-1]
        if "turn" in which and view != "ground":
            image = np.rot90(image, int(turns))
    if "colour" in which:
        picture = Image.fromarray(np.ascontiguousarray(image))
        picture = ImageEnhance.Brightness(picture).enhance(factors[0])
        picture = ImageEnhance.Contrast(picture).enhance(factors[1])
        image = np.asarray(ImageEnhance.Color(picture).enhance(factors[2]))
    return np.ascontiguousarray(image)


def _crop(image: np.ndarray, area: float, aspect: float, left: float, top: float) -> np.ndarray:
    """A part of the image; all four numbers are uniform in [0, 1)."""
    height, width = image.shape[:2]
    share = _CROP_AREA + (1 - _CROP_AREA) * area
    stretch = _CROP_ASPECT ** (2 * aspect - 1)
    w = max(1, min(width, round(width * (share * stretch) ** 0.5)))
    h = max(1, min(height, round(height * (share / stretch) ** 0.5)))
    x, y = int(left * (width - w + 1)), int(top * (height - h + 1))
    return image[y : y + h, x : x + w]
