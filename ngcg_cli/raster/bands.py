"""Bands to RGB: which bands show, what masks them, how their values become 8 bits.

Everything here works on arrays; `source` does the reading.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[Any]
Mask = NDArray[np.bool_]

PERCENTILES = (2.0, 98.0)
NEUTRAL = 128
COLOURS = ("red", "green", "blue")


def choose_bands(
    interpretation: Sequence[str], descriptions: Sequence[str | None] = ()
) -> tuple[tuple[int, ...], int | None]:
    """The bands to show, three (red, green, blue) or one (grey), and the alpha band, if tagged.

    Bands called red, green and blue are taken wherever they lie; a palette or grey band alone is
    shown as it is; otherwise the first three bands that are not alpha, or the first one of two.

    Args:
        interpretation: GDAL's names of the bands' colour interpretation, in band order.
        descriptions: what the file calls its bands, in band order.

    Returns:
        Band numbers from 1, and the number of the alpha band or None.
    """
    names = [name.lower() for name in interpretation]
    alpha = names.index("alpha") + 1 if "alpha" in names and len(names) > 1 else None
    called = called_rgb(interpretation, descriptions)
    if called is not None:
        return called, None if alpha in called else alpha
    if "palette" in names:
        return (names.index("palette") + 1,), alpha
    plain = [number for number in range(1, len(names) + 1) if number != alpha]
    return tuple(plain[:3] if len(plain) >= 3 else plain[:1]), alpha


def called_rgb(
    interpretation: Sequence[str], descriptions: Sequence[str | None] = ()
) -> tuple[int, ...] | None:
    """The bands that are called red, green and blue; None where there are no such three.

    Somebody wrote the descriptions; the tags may be what GDAL gives to any three bytes a pixel.
    """
    for names in (descriptions, interpretation):
        called = [(name or "").strip().lower() for name in names]
        if all(colour in called for colour in COLOURS):
            return tuple(called.index(colour) + 1 for colour in COLOURS)
    return None


def is_opacity(values: Values) -> bool:
    """Whether sampled values of a band tagged alpha are opacity rather than a fourth channel.

    Opacity is on or off nearly everywhere: at least 90 % of the values are zero or the greatest
    one. Near infrared tagged as alpha, as aerial survey products ship it, is spread between.
    """
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return False
    return bool(np.mean((finite == 0) | (finite == finite.max())) >= 0.9)


def holds_data(values: Values, nodata: Sequence[float | None]) -> Mask:
    """Which pixels hold data by their values: in at least one band, finite and not nodata.

    That is how GDAL joins the nodata masks of several bands: a pixel of pure (0, 40, 0) stays,
    although its red is the nodata value.

    Args:
        values: (bands, h, w).
        nodata: each band's nodata value, or None.

    Returns:
        (h, w).
    """
    if np.issubdtype(values.dtype, np.integer) and all(missing is None for missing in nodata):
        return np.ones(values.shape[1:], bool)
    valid = np.zeros(values.shape[1:], bool)
    for band, missing in zip(values, nodata, strict=True):
        held = np.isfinite(band)
        if missing is not None and not np.isnan(missing):
            held &= band != _as_type(missing, band.dtype)
        valid |= held
    return valid


def _as_type(value: float, dtype: np.dtype) -> Any:
    """`value` as the band stores it: -3.4e38 written as float64 must meet its float32 twin."""
    if np.issubdtype(dtype, np.floating):
        with np.errstate(over="ignore"):
            return np.asarray(value, dtype)
    return value


def magnitude(values: Values) -> Values:
    """Complex values (radar) as their magnitude; others as they are."""
    return np.abs(values) if np.iscomplexobj(values) else values


def value_range(values: Values) -> tuple[float, float]:
    """The values that become black and white: the 2nd and 98th percentile of a band's sample.

    Where both are equal (a mask, a few roofs on a flat sea) the extremes serve; a constant band
    gets a range around its value, so that it comes out mid-grey. An empty sample gives (0, 1).
    """
    if values.size == 0:
        return 0.0, 1.0
    sample = values.astype(np.float64)
    low, high = np.percentile(sample, PERCENTILES)
    if not low < high:
        low, high = sample.min(), sample.max()
    if not low < high:
        spread = max(1.0, abs(low) / 1000)
        low, high = low - spread, high + spread
    return float(low), float(high)


def stretch(values: Values, ranges: Sequence[tuple[float, float]]) -> NDArray[np.uint8]:
    """Values (bands, h, w) to 8 bits, linearly, each band by its own range.

    Each band has its own, as in QGIS: it takes the haze out of the blue of raw satellite bands.
    What is not a number becomes 0.
    """
    out = np.empty(values.shape, np.uint8)
    for band, (low, high), target in zip(values, ranges, out, strict=True):
        # Divided first: the difference of two extreme floats would overflow.
        scale = max(abs(low), abs(high), 1.0)
        with np.errstate(invalid="ignore", over="ignore"):
            unit = (band / scale - low / scale) / (high / scale - low / scale)
        np.rint(np.clip(np.nan_to_num(unit, nan=0.0), 0, 1) * 255, out=unit)
        target[...] = unit
    return out


def palette_table(colours: Mapping[int, tuple[int, ...]]) -> NDArray[np.uint8]:
    """A colour table as an array (entries, 4) of RGBA; entries that are missing are transparent."""
    table = np.zeros((max(colours, default=0) + 1, 4), np.uint8)
    for index, colour in colours.items():
        table[index, : len(colour)] = colour
        if len(colour) == 3:
            table[index, 3] = 255
    return table


def expand(indices: Values, table: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], Mask]:
    """Palette indices (h, w) to RGB (3, h, w), and which of them the table shows (h, w)."""
    inside = (indices >= 0) & (indices < len(table))
    rgba = table[np.where(inside, indices, 0)]
    return np.moveaxis(rgba[..., :3], -1, 0), inside & (rgba[..., 3] > 0)


def compose(channels: NDArray[np.uint8], valid: Mask) -> NDArray[np.uint8]:
    """Channels (1 or 3, h, w) to an image (h, w, 3) in which masked pixels do not shout.

    They take the mean colour of the image's valid pixels: a black or white collar would be seen as
    a shape of its own. An image without valid pixels is mid-grey. Channels that lie pixel by pixel
    in memory already become the image themselves.
    """
    image = np.moveaxis(channels, 0, -1)
    if image.shape[2] != 3 or not image.flags.c_contiguous:
        image = np.empty((*channels.shape[1:], 3), np.uint8)
        for channel in range(3):
            image[..., channel] = channels[channel % len(channels)]
    if not valid.all():
        image[~valid] = np.rint(image[valid].mean(axis=0)) if valid.any() else NEUTRAL
    return image
