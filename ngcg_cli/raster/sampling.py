"""Where a large raster is looked at to learn what its values mean."""

from __future__ import annotations

from ngcg_cli.raster.tiles import Window

LATTICE = 8
LATTICE_SIDE = 128


def lattice(width: int, height: int) -> list[Window]:
    """Small windows spread evenly over a raster."""
    columns = _spread(width)
    return [
        Window(column, row, min(LATTICE_SIDE, width), min(LATTICE_SIDE, height))
        for row in _spread(height)
        for column in columns
    ]


def _spread(size: int) -> list[int]:
    room = max(0, size - LATTICE_SIDE)
    return sorted({room * (2 * step + 1) // (2 * LATTICE) for step in range(LATTICE)})
