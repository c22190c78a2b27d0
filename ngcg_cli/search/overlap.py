"""Overlapping tiles of one place count once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from ngcg_cli.search.extent import Mask
from ngcg_cli.search.tiles import Floats, Ints, TileColumns

Shapes = npt.NDArray[np.object_]

# Ranks looked at first; each further step looks at four times as many.
_STEP = 64


def distinct(
    tile: Ints,
    columns: TileColumns,
    source: Ints,
    footprints: Callable[[Ints], Shapes],
    top: int,
) -> Mask:
    """Which hits to keep so that each place counts once.

    Non-maximum suppression: down each ranking, a hit is left out when the intersection over union
    (IoU) of it and a better hit that is kept is above one third: within a source by pixel windows,
    between sources by footprints. Of two tiles of one size that is more than half of either. A
    tile of less than a third of the other's area never counts as the same place, so that a coarse
    tile hides no much finer one under it.

    A hit is compared with kept ones only, so that K ranks cost at most `top` x K comparisons,
    however many tiles lie on one spot.

    Args:
        tile: (Q, K) rankings, best first; entries index the N tiles below, -1 is none.
        columns: the N tiles' numbers.
        source: (N,) number of each tile's source.
        footprints: gives the areas (`tiles.polygons`) of some of the N tiles; called only for
            tiles of different sources whose boxes meet, because it costs the import of shapely.
        top: hits to keep at most, for each query.

    Returns:
        (Q, K) mask of the kept.
    """
    kept = np.zeros(tile.shape, bool)
    for query, ranking in enumerate(tile):
        better: list[int] = []
        begin, end = 0, _STEP
        while begin < len(ranking) and len(better) < top:
            ranks = begin + np.flatnonzero(ranking[begin:end] >= 0)
            for one in better:
                ranks = ranks[~_overlap(one, ranking[ranks], columns, source, footprints)]
            while len(ranks) and len(better) < top:
                one = int(ranking[ranks[0]])
                kept[query, ranks[0]] = True
                better.append(one)
                ranks = ranks[1:]
                ranks = ranks[~_overlap(one, ranking[ranks], columns, source, footprints)]
            begin, end = end, 4 * end
    return kept


def _overlap(
    one: int,
    others: Ints,
    columns: TileColumns,
    source: Ints,
    footprints: Callable[[Ints], Shapes],
) -> Mask:
    """Which of the others have an IoU above one third with one tile."""
    over = np.zeros(len(others), bool)
    meet = np.flatnonzero(_boxes_meet(columns.bbox[one], columns.bbox[others]))
    same = source[others[meet]] == source[one]
    inside, apart = meet[same], meet[~same]
    over[inside] = _windows_overlap(columns.window[one], columns.window[others[inside]])
    if len(apart):
        shape, shapes = footprints(np.array([one])), footprints(others[apart])
        turns = np.round((columns.lon[one] - columns.lon[others[apart]]) / 360)
        over[apart] = _footprints_overlap(shape, shapes, turns)
    return over


def _boxes_meet(a: Floats, b: Floats) -> Mask:
    # From the west edge of one, eastward, the other begins before the first ends.
    width_a, width_b = _width(a), _width(b)
    along = ((b[:, 0] - a[0]) % 360 <= width_a) | ((a[0] - b[:, 0]) % 360 <= width_b)
    return along & (a[1] <= b[:, 3]) & (b[:, 1] <= a[3])


def _width(bbox: Floats) -> Floats:
    width = bbox[..., 2] - bbox[..., 0]
    return np.where(width < 0, width + 360, width)


def _windows_overlap(a: Ints, b: Ints) -> Mask:
    begin = np.maximum(a[:2], b[:, :2])
    end = np.minimum(a[:2] + a[2:], b[:, :2] + b[:, 2:])
    width, height = np.maximum(end - begin, 0).T
    # IoU > 1/3, without a division: 3 * shared > both - shared.
    return 4 * width * height > a[2] * a[3] + b[:, 2] * b[:, 3]


def _footprints_overlap(first: Shapes, second: Shapes, turns: Floats) -> Mask:
    # Areas are compared in square degrees: only their ratio counts, and over two tiles that meet
    # a degree of longitude is as good as equally long everywhere.
    import shapely

    for turn in np.unique(turns[turns != 0]):
        apart = turns == turn
        move = np.array([360 * turn, 0])
        second[apart] = shapely.transform(second[apart], lambda xy, move=move: xy + move)
    shared = shapely.area(shapely.intersection(first, second))
    return 4 * shared > shapely.area(first) + shapely.area(second)
