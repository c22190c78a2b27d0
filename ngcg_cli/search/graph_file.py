"""The graph's file as hnswlib writes it, read through before hnswlib does.

hnswlib takes offsets, counts, levels and numbers of neighbours from its file as they stand: a
crafted one reads and writes wherever its author likes. So each number that it will follow is looked
at first, and a graph need not be built anew where the index was not written here.
"""

from __future__ import annotations

import math
import struct
from typing import IO

import numpy as np

# Neighbours of a vector on the levels above the lowest, which has twice as many; and the breadth of
# search when one is added. A sparser graph (16, 64) is built in half the time, but levels off at
# 0.976 of what captions ask of a million vectors grown from real ones, however broad the search
# (docs/performance.md).
M = 24
EF_CONSTRUCTION = 200

# Offset of the links, room, count, bytes of an element, offsets of label and vector, highest level,
# entry point, three bounds of neighbours, factor of levels, breadth of adding.
_HEADER = struct.Struct("<6QiI3QdQ")
_MAX_LEVEL = 64
_BLOCK = 16_384


def check_graph(file: IO[bytes], dim: int, count: int) -> None:
    """See that a file holds a graph of `count` unit vectors, labelled from 0, as hnswlib needs it.

    Raises:
        ValueError: it does not, and why.
    """
    element = np.dtype(
        [
            ("links", "<u2"),
            ("deleted", "u1"),
            ("unused", "u1"),
            ("to", "<u4", (2 * M,)),
            ("vector", "<f4", (dim,)),
            ("label", "<u8"),
        ]
    )
    start = file.read(_HEADER.size)
    if len(start) != _HEADER.size:
        raise ValueError("cut short")
    first, _, held, size, label_at, vector_at, top, entry, m, m0, m_, factor, breadth = (
        _HEADER.unpack(start)
    )
    due = (0, count, element.itemsize, element.itemsize - 8, 4 + 8 * M, M, 2 * M, M)
    if (first, held, size, label_at, vector_at, m, m0, m_) != due:
        raise ValueError("of another shape")
    if breadth != EF_CONSTRUCTION or not math.isclose(factor, 1 / math.log(M)):
        raise ValueError("built otherwise")
    if not (0 <= top <= _MAX_LEVEL and entry < count):
        raise ValueError("without an entry point")
    seen, lowest = np.zeros(count, bool), np.zeros(count, np.uint8)
    for begin in range(0, count, _BLOCK):
        part = np.fromfile(file, element, min(_BLOCK, count - begin))
        if len(part) != min(_BLOCK, count - begin):
            raise ValueError("cut short")
        _check_links(part["links"], part["to"], lowest, 0)
        if (part["label"] >= count).any() or (part["deleted"] > 1).any():
            raise ValueError("with a label out of range")
        seen[part["label"]] = True
        lengths = np.einsum("ij,ij->i", part["vector"], part["vector"])
        if not (np.abs(lengths - 1) < 0.01).all():  # so that NaN fails too
            raise ValueError("with vectors that are not of unit length")
    if not seen.all():
        raise ValueError("with a label twice")
    _check_levels(np.fromfile(file, "<u4"), count, top, entry)


def _check_levels(tail: np.ndarray, count: int, top: int, entry: int) -> None:
    """The lists above the lowest level: for each vector how many bytes, and then so many lists."""
    width = 1 + M
    levels = np.zeros(count, np.uint8)
    starts = np.zeros(count, np.int64)
    filled = np.flatnonzero(tail)
    at = vector = 0
    while vector < count:
        # Most have none: on to the next that has.
        next_filled = np.searchsorted(filled, at)
        skipped = (filled[next_filled] if next_filled < len(filled) else len(tail)) - at
        if vector + skipped >= count:
            at += count - vector
            break
        at, vector = at + skipped, vector + skipped
        if at >= len(tail):
            raise ValueError("cut short")
        height, rest = divmod(int(tail[at]), 4 * width)
        if rest or height > top:
            raise ValueError("with an odd level")
        levels[vector], starts[vector] = height, at + 1
        at, vector = at + 1 + height * width, vector + 1
    if at != len(tail):
        raise ValueError("with something behind it, or cut short")
    if levels[entry] != top:
        raise ValueError("whose entry point is not at its top")
    for level in range(1, top + 1):
        begins = starts[levels >= level] + (level - 1) * width
        lists = tail[begins[:, None] + np.arange(width)]
        _check_links(lists[:, 0], lists[:, 1:], levels, level)


def _check_links(links: np.ndarray, to: np.ndarray, levels: np.ndarray, level: int) -> None:
    """Each vector's `links` first neighbours `to` have to be there, on this level too."""
    if (links > to.shape[1]).any():
        raise ValueError("with too many neighbours")
    used = to[np.arange(to.shape[1]) < links[:, None]]
    if (used >= len(levels)).any() or (levels[used] < level).any():
        raise ValueError("with a neighbour that is not there")
