"""Overlapping tiles of one place count once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from ngcg_cli.search.ranking import Mask
from ngcg_cli.search.tiles import Floats, Ints, TileColumns

Shapes = npt.NDArray[np.object_]

# Up to so many tiles every pair is looked at; beyond, a spatial index is worth shapely's import.
_ALL_PAIRS = 400
# Tiles looked up in the spatial index at once: bounds the pairs in memory.
_LOOKUPS = 20_000


def distinct(
    tile: Ints,
    columns: TileColumns,
    source: Ints,
    footprints: Callable[[], Shapes],
    top: int,
) -> Mask:
    """Which hits to keep so that each place counts once.

    Down each ranking, a hit is left out when it and a better hit that is kept share more than half
    of the smaller one's area: within a source by pixel windows, between sources by footprints.

    Args:
        tile: (Q, K) rankings, best first; entries index the N tiles below, -1 is none.
        columns: the N tiles' numbers.
        source: (N,) number of each tile's source.
        footprints: gives the N tiles' areas (`tiles.polygons`); called only when tiles of
            different sources meet, because it costs the import of shapely.
        top: hits to keep at most, for each query.

    Returns:
        (Q, K) mask of the kept.
    """
    count = len(columns.lon)
    first, second = _overlapping(columns, source, footprints)
    # The others that a tile overlaps: others[start[tile] : start[tile + 1]].
    owner, others = np.concatenate([first, second]), np.concatenate([second, first])
    others = others[np.argsort(owner, kind="stable")]
    start = np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=count))]).tolist()
    kept = np.zeros(tile.shape, bool)
    for query, ranking in enumerate(tile.tolist()):
        taken = np.zeros(count, bool)
        left = top
        for rank, candidate in enumerate(ranking):
            if left == 0 or candidate < 0:
                break
            if not taken[candidate]:
                kept[query, rank] = True
                left -= 1
                taken[others[start[candidate] : start[candidate + 1]]] = True
    return kept


def _overlapping(
    columns: TileColumns, source: Ints, footprints: Callable[[], Shapes]
) -> tuple[Ints, Ints]:
    """The pairs of tiles that share more than half of the smaller one, each pair once."""
    found = [np.empty((2, 0), np.int64)]
    for a, b in _meeting(columns.bbox):
        same = source[a] == source[b]
        over = np.zeros(len(a), bool)
        over[same] = _windows_overlap(columns.window[a[same]], columns.window[b[same]])
        if not same.all():
            apart = ~same
            over[apart] = _footprints_overlap(footprints(), columns.lon, a[apart], b[apart])
        found.append(np.stack([a[over], b[over]]))
    first, second = np.concatenate(found, axis=1)
    return first, second


def _meeting(bbox: Floats) -> list[tuple[Ints, Ints]]:
    """Pairs of tiles whose boxes touch, each pair once, in blocks."""
    count = len(bbox)
    if count <= _ALL_PAIRS:
        a, b = np.triu_indices(count, 1)
        meet = _boxes_meet(bbox[a], bbox[b])
        return [(a[meet], b[meet])]
    import shapely

    west, south, east, north = bbox.T
    east = np.where(east < west, east + 360, east)
    boxes = shapely.box(west, south, east, north)
    # A second time a turn further west, so that boxes meet around the antimeridian too.
    tree = shapely.STRtree(
        np.concatenate([boxes, shapely.box(west - 360, south, east - 360, north)])
    )
    blocks = []
    for begin in range(0, count, _LOOKUPS):
        a, b = tree.query(boxes[begin : begin + _LOOKUPS])
        a, b = a + begin, b % count
        pairs = np.unique(np.stack([np.minimum(a, b), np.maximum(a, b)])[:, a != b], axis=1)
        blocks.append((pairs[0], pairs[1]))
    return blocks


def _boxes_meet(a: Floats, b: Floats) -> Mask:
    # From the west edge of one, eastward, the other begins before the first ends.
    width_a, width_b = _width(a), _width(b)
    along = ((b[:, 0] - a[:, 0]) % 360 <= width_a) | ((a[:, 0] - b[:, 0]) % 360 <= width_b)
    return along & (a[:, 1] <= b[:, 3]) & (b[:, 1] <= a[:, 3])


def _width(bbox: Floats) -> Floats:
    width = bbox[:, 2] - bbox[:, 0]
    return np.where(width < 0, width + 360, width)


def _windows_overlap(a: Ints, b: Ints) -> Mask:
    begin = np.maximum(a[:, :2], b[:, :2])
    end = np.minimum(a[:, :2] + a[:, 2:], b[:, :2] + b[:, 2:])
    width, height = np.maximum(end - begin, 0).T
    return 2 * width * height > np.minimum(a[:, 2] * a[:, 3], b[:, 2] * b[:, 3])


def _footprints_overlap(shapes: Shapes, lon: Floats, a: Ints, b: Ints) -> Mask:
    # Areas are compared in square degrees: only their ratio counts, and over two tiles that meet
    # a degree of longitude is as good as equally long everywhere.
    import shapely

    first, second = shapes[a], shapes[b]
    turns = np.round((lon[a] - lon[b]) / 360)
    for turn in np.unique(turns[turns != 0]):
        apart = turns == turn
        move = np.array([360 * turn, 0])
        second[apart] = shapely.transform(second[apart], lambda xy, move=move: xy + move)
    shared = shapely.area(shapely.intersection(first, second))
    return 2 * shared > np.minimum(shapely.area(first), shapely.area(second))
