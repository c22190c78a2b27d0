"""From an image file to pixels, and what happens when that fails."""

from __future__ import annotations

import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import PHOTOMETRIC_INTERPRETATION, TiffImageFile

from ngcg_cli.datasets.pairs import Pair
from ngcg_cli.errors import DataError

# A run goes on without the images that it cannot read until they are more than this share: a few
# lost files do not spoil a night's training, a wrong folder does.
MAX_BROKEN_SHARE = 0.05

# A 16-bit or floating-point picture has no fixed white: these percentiles become black and white.
STRETCH_PERCENTILES = (2.0, 98.0)


def load_image(pair: Pair) -> np.ndarray:
    """The pair's pixels, (height, width, 3) uint8 RGB; see `read_image`."""
    return read_image(pair.image)


def read_image(path: Path) -> np.ndarray:
    """Decode an image file to (height, width, 3) uint8 RGB: THE decoder of pictures.

    `train`, `eval` and `query --image` all see a picture through it.

    The EXIF orientation is applied; transparent parts are shown on white; grey, palette and CMYK
    pictures are converted; 16-bit and floating-point grey is stretched from the 2nd to the 98th
    percentile. Raises DataError, with the file's name, for one that is missing, truncated, no
    picture, or beyond Pillow's limit on pixels.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise DataError("a folder, pipe or device, not a file", where=path)
    except FileNotFoundError:
        raise DataError("image not found", where=path) from None
    except (OSError, ValueError) as error:
        raise DataError(f"broken image: {error}", where=path) from None
    return decode(path, path)


def decode(file: Path | IO[bytes], where: Path) -> np.ndarray:
    """As `read_image`, of an open file too; `where` is what a DataError names."""
    try:
        with Image.open(file) as opened:
            image = ImageOps.exif_transpose(opened)
            if image.mode.startswith(("I", "F")):
                deep = np.asarray(image).astype(np.float64)
                # Pillow turns "0 is white" TIFFs of up to 8 bits, not the deeper ones.
                return _stretch(-deep if _zero_is_white(opened) else deep)
            if image.has_transparency_data:
                image = image.convert("RGBA")
                white = Image.new("RGBA", image.size, "white")
                image = Image.alpha_composite(white, image)
            return np.array(image.convert("RGB"))
    except UnidentifiedImageError:
        raise DataError(
            "not an image that Pillow can read", where=where, hint="Convert it to PNG or JPEG"
        ) from None
    except Image.DecompressionBombError as error:
        raise DataError(
            f"more pixels than are safe to decode ({error})",
            where=where,
            hint="Cut it into tiles first: `ngcg index` reads rasters of any size",
        ) from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        # Pillow's decoders raise all of these for damaged files.
        raise DataError(f"broken image: {error}", where=where) from None


def _zero_is_white(image: Image.Image) -> bool:
    return isinstance(image, TiffImageFile) and image.tag_v2.get(PHOTOMETRIC_INTERPRETATION) == 0


def _stretch(values: np.ndarray) -> np.ndarray:
    """(h, w) float64 to (h, w, 3) uint8; what is not finite becomes black."""
    finite = np.isfinite(values)
    low, high = np.percentile(values[finite], STRETCH_PERCENTILES) if finite.any() else (0.0, 0.0)
    scale = 255.0 / (high - low) if high > low else 0.0
    shown = np.where(finite, np.clip((values - low) * scale, 0.0, 255.0), 0.0)
    return np.repeat(np.rint(shown).astype(np.uint8)[..., None], 3, axis=2)


class ImageFailures:
    """Names and counts the images that could not be read, and says when it is enough.

    Args:
        total: how many images the run has.
        max_share: the run stops when more than this share of them has failed.
    """

    def __init__(self, total: int, max_share: float = MAX_BROKEN_SHARE) -> None:
        self.total = total
        self.max_share = max_share
        self.reasons: dict[Path, str] = {}

    def __len__(self) -> int:
        return len(self.reasons)

    def add(self, image: Path, reason: str | Exception) -> None:
        """Count one image (once, however often it is tried); raise DataError past the share."""
        self.add_all({image: str(reason)})

    def add_all(self, reasons: Mapping[Path, str]) -> None:
        """Count several images before judging, so that the message says how many there are."""
        for image, reason in reasons.items():
            self.reasons.setdefault(image, reason)
        if len(self.reasons) > self.max_share * self.total:
            first, why = next(iter(self.reasons.items()))
            named = why if str(first) in why else f"{first}: {why}"
            raise DataError(
                f"{len(self.reasons)} of {self.total} images could not be read, more than "
                f"{self.max_share:.2%}; the first: {named}",
                hint="Give the folder that holds the images with --images",
            )


def drop_missing(pairs: Sequence[Pair], failures: ImageFailures) -> list[Pair]:
    """The pairs whose image file is there and not empty; the others are told to `failures`.

    Cheap (no decoding): a wrong folder is found before a model is loaded.
    """
    present: list[Pair] = []
    reasons: dict[Path, str] = {}
    for pair in pairs:
        try:
            empty = pair.image.stat().st_size == 0
        except OSError as error:
            reasons[pair.image] = error.strerror or "image not found"
            continue
        if empty:
            reasons[pair.image] = "empty file"
        else:
            present.append(pair)
    failures.add_all(reasons)
    return present
