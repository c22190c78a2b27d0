"""A point, not a tile: the best hits' pixels are looked at again, half a tile at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ngcg_cli.answers.looking import Rasters

if TYPE_CHECKING:
    from ngcg_cli.encoder.encoder import Encoder
    from ngcg_cli.search.hits import Hit

Vectors = npt.NDArray[np.float32]

# Windows of half the tile's side, in so many steps along and down it.
_STEPS = 5
# Cells along a side of the map on which the windows' scores are laid over each other.
_CELLS = 40
# How sharply a standard deviation of score draws the point to its place.
_SPREAD = 0.5
# The new score is the mean of the tile's and that of its so many best windows.
_BEST = 3
# A coarse tile is halved again until its side is no longer than this many metres.
_ENOUGH_M = 100.0
# Below this many pixels, half a tile shows nothing that the tile does not.
_LEAST_SIDE = 16


def refine(
    hits: Sequence[Hit], question: Vectors, encoder: Encoder, unread: set[str] | None = None
) -> list[Hit]:
    """Hits with a point, a smaller footprint and a new order.

    Of each hit's tile 25 windows of half its side are embedded. Laid over each other, their scores
    make a map of the tile, whose centre of weight is the point. The footprint is that of the half
    window around it, which is halved again while it is longer than 100 m. A hit whose raster
    cannot be read stays as it is, and is told.

    Args:
        hits: of one question.
        question: (dim,) its unit vector.
        encoder: the index's model.
        unread: gets the sources of which something could not be read.

    Returns:
        The hits, best first by the mean of the tile's cosine and that of its best three windows.
    """
    with Rasters("not refined", unread) as rasters:
        refined = [_refined(hit, question, encoder, rasters) for hit in hits]
    order = sorted(refined, key=lambda hit: -hit.score)
    return [replace(hit, rank=rank) for rank, hit in enumerate(order, 1)]


def _refined(hit: Hit, question: Vectors, encoder: Encoder, rasters: Rasters) -> Hit:
    """Halved until its side is short enough; the score is that of the first look."""
    found = closer = _halved(hit, question, encoder, rasters)
    while closer.point is not None and closer.tile_m > _ENOUGH_M:
        before, closer = closer, _halved(closer, question, encoder, rasters)
        if closer is before:
            break
    return replace(closer, score=found.score)


def _halved(hit: Hit, question: Vectors, encoder: Encoder, rasters: Rasters) -> Hit:
    from ngcg_cli.raster import Window
    from ngcg_cli.search.footprints import pieces

    tile = Window(*hit.window)
    if min(tile.width, tile.height) < _LEAST_SIDE:
        return hit
    # At twice the model's size, so that half a tile has the model's own.
    image, raster = rasters.pixels(hit, 2 * encoder.image_size), rasters.of(hit)
    if image is None or raster is None:
        return hit
    boxes = _boxes(*image.shape[:2])
    crops = [image[top : top + height, left : left + width] for left, top, width, height in boxes]
    scores = encoder.encode_images(crops) @ question
    across, down = _centre(boxes, scores, image.shape[1], image.shape[0])
    column, row = tile.column + across * tile.width, tile.row + down * tile.height
    width, height = max(1, tile.width // 2), max(1, tile.height // 2)
    half = Window(
        int(np.clip(round(column - width / 2), 0, raster.width - width)),
        int(np.clip(round(row - height / 2), 0, raster.height - height)),
        width,
        height,
    )
    pixel = Window(int(min(column, raster.width - 1)), int(min(row, raster.height - 1)), 1, 1)
    footprints = raster.footprints([half, pixel])
    if not footprints.placed.all():
        return hit
    best = float(np.sort(scores)[-_BEST:].mean())
    west, south, east, north = footprints.bbox[0].tolist()
    return replace(
        hit,
        score=(hit.score + best) / 2,
        lon=float(footprints.lon[0]),
        lat=float(footprints.lat[0]),
        bbox=(west, south, east, north),
        window=(half.column, half.row, half.width, half.height),
        footprint=pieces(footprints.geometry[0]),
        point=(float(footprints.lon[1]), float(footprints.lat[1])),
    )


def _boxes(height: int, width: int) -> list[tuple[int, int, int, int]]:
    """Left, top, width, height of the half windows in an image."""
    wide, high = max(1, width // 2), max(1, height // 2)
    lefts = np.linspace(0, width - wide, _STEPS).round().astype(int).tolist()
    tops = np.linspace(0, height - high, _STEPS).round().astype(int).tolist()
    return [(left, top, wide, high) for top in tops for left in lefts]


def _centre(
    boxes: Sequence[tuple[int, int, int, int]], scores: Vectors, width: int, height: int
) -> tuple[float, float]:
    """Where in the image the scores point to: fractions across and down it."""
    spread = float(scores.std())
    if spread == 0:
        return 0.5, 0.5
    level = (scores - scores.mean()) / spread
    cells = (np.arange(_CELLS) + 0.5) / _CELLS
    total, count = np.zeros((_CELLS, _CELLS)), np.zeros((_CELLS, _CELLS))
    for (left, top, wide, high), value in zip(boxes, level, strict=True):
        x = (cells * width >= left) & (cells * width < left + wide)
        y = (cells * height >= top) & (cells * height < top + high)
        total[np.ix_(y, x)] += value
        count[np.ix_(y, x)] += 1
    heat = total / np.maximum(count, 1)
    weight = np.exp((heat - heat.max()) / _SPREAD)
    weight /= weight.sum()
    return float((weight.sum(axis=0) * cells).sum()), float((weight.sum(axis=1) * cells).sum())
