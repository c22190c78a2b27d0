"""How large a tile is, and the grid of windows that covers a raster."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Literal, NamedTuple, overload

from ngcg_cli.errors import RasterError, UsageError

MAX_WINDOWS = 2_000_000
MAX_OVERLAP = 0.9

#: What `auto` stands for: what people ask for lies within so many metres, or three or nine times
#: as many, and of a tile of fewer pixels there is little to see (measured, see docs/tiny.md).
AUTO_METRES = (100.0, 300.0, 900.0)
AUTO_PIXELS = 100
#: All coarser tiles together are at most this share of the finest ones.
AUTO_MORE = 0.15

_SIZE = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(px|m)\s*", re.IGNORECASE | re.ASCII)


class Window(NamedTuple):
    """A rectangle of pixels: its upper left corner, and its size."""

    column: int
    row: int
    width: int
    height: int


@dataclass(frozen=True)
class TileSize:
    """The side of a square tile, in pixels ("224px") or in metres on the ground ("100m").

    Attributes:
        value: of the side.
        unit: of the value.
        least: pixels that a side in metres has at least; `auto` is 100 m with this, and coarser
            tiles besides.
    """

    value: float
    unit: Literal["px", "m"]
    least: int = 0

    def __post_init__(self) -> None:
        whole = self.unit == "m" or float(self.value).is_integer()
        if self.unit not in ("px", "m") or not 0 < self.value < math.inf or not whole:
            raise _bad_size(f"{self.value}{self.unit}")

    @classmethod
    def parse(cls, text: str) -> TileSize:
        """Read "224px", "100m", or "auto": 100 m on the ground, and at least 100 pixels; and tiles
        of 300 m and 900 m besides.

        Raises:
            UsageError: no unit, an unknown one, no positive number, or part of a pixel.
        """
        if text.strip().lower() == "auto":
            return cls(AUTO_METRES[0], "m", AUTO_PIXELS)
        match = _SIZE.fullmatch(text)
        if match is None:
            raise _bad_size(text)
        try:
            return cls(float(match[1]), "m" if match[2].lower() == "m" else "px")
        except UsageError:
            raise _bad_size(text) from None

    def __str__(self) -> str:
        if self.least:
            return "auto"
        number = Decimal(repr(self.value))
        text = int(number) if number == int(number) else format(number, "f")
        return f"{text}{self.unit}"

    def pixels(self, gsd: tuple[float, float]) -> tuple[int, int]:
        """Width and height in pixels, where a pixel is `gsd` metres wide and high.

        Of `auto`, those of the finest tiles.

        Raises:
            RasterError: the tile is smaller than a pixel.
        """
        if self.unit == "px":
            return int(self.value), int(self.value)
        if self.least:
            # A side of a billion pixels is as good as any larger one: the raster ends before.
            width, height = (max(self.least, round(self.value / max(side, 1e-7))) for side in gsd)
            return width, height
        if self.value < max(gsd):
            raise RasterError(
                f"a tile of {self} is smaller than a pixel, which is {gsd[0]:.4g} x {gsd[1]:.4g} m",
                hint="Give a larger tile, or one in pixels such as --tile 224px.",
            )
        return round(self.value / gsd[0]), round(self.value / gsd[1])

    def coarser(self, gsd: tuple[float, float]) -> list[tuple[int, int]]:
        """Sizes in pixels of the coarser tiles of `auto`, finest first; none of others."""
        if not self.least:
            return []
        sizes = [replace(self, value=metres).pixels(gsd) for metres in AUTO_METRES]
        # Of coarse imagery several sizes come out as the least number of pixels.
        return [
            size for size, finer in zip(sizes[1:], sizes, strict=False) if min(size) > max(finer)
        ]


def _bad_size(text: str) -> UsageError:
    return UsageError(
        f"{text!r} is not a tile size",
        hint="Give a positive number with a unit: whole pixels such as 224px, or metres on the "
        "ground such as 100m; or auto.",
    )


class Grid(Sequence[Window]):
    """Windows of `tile` (width, height) pixels that cover a raster, row by row.

    Neighbours share `overlap` of their side. Where the last window of a row or column would stick
    out it is moved inward; a raster smaller than a tile is cut to one window. Windows are made
    when asked for: a header that claims a billion rows costs nothing here.

    Raises:
        UsageError: `overlap` is not within [0, 0.9].
        RasterError: more than `MAX_WINDOWS` windows.
    """

    def __init__(
        self, width: int, height: int, tile: tuple[int, int], overlap: float = 0.0
    ) -> None:
        if not 0 <= overlap <= MAX_OVERLAP:
            raise UsageError(
                f"an overlap of {overlap} is out of range",
                hint=f"Give a fraction of the tile from 0 to {MAX_OVERLAP}, such as "
                "--overlap 0.25.",
            )
        self._lefts, self._width = _steps(width, tile[0], overlap)
        self._tops, self._height = _steps(height, tile[1], overlap)
        self._last = Window(width - self._width, height - self._height, self._width, self._height)
        count = (len(self._lefts) + 1) * (len(self._tops) + 1)
        if count > MAX_WINDOWS:
            raise RasterError(
                f"{width} x {height} pixels make {count:,} tiles, more than {MAX_WINDOWS:,}",
                hint="Give a larger --tile or a smaller --overlap, or index parts of the raster.",
            )

    def __len__(self) -> int:
        return (len(self._lefts) + 1) * (len(self._tops) + 1)

    @overload
    def __getitem__(self, place: int) -> Window: ...

    @overload
    def __getitem__(self, place: slice) -> list[Window]: ...

    def __getitem__(self, place: int | slice) -> Window | list[Window]:
        """The window at a place in the order of the grid, or a list of those of a slice."""
        if isinstance(place, slice):
            return [self[number] for number in range(*place.indices(len(self)))]
        if not -len(self) <= place < len(self):
            raise IndexError(f"window {place} of {len(self)}")
        row, column = divmod(place % len(self), len(self._lefts) + 1)
        left = self._lefts[column] if column < len(self._lefts) else self._last.column
        top = self._tops[row] if row < len(self._tops) else self._last.row
        return Window(left, top, self._width, self._height)


class Pyramid(Sequence[Window]):
    """Windows of several sizes that each cover a raster: those of the finest first.

    A coarser size is taken only as far as all of them together add at most `AUTO_MORE` to the
    number of the finest; its windows overlap less where that makes it fit.
    """

    def __init__(
        self,
        width: int,
        height: int,
        finest: tuple[int, int],
        coarser: Sequence[tuple[int, int]],
        overlap: float = 0.0,
    ) -> None:
        self._grids = [Grid(width, height, finest, overlap)]
        left = int(AUTO_MORE * len(self._grids[0]))
        for size in coarser:
            if size[0] >= 2 * width or size[1] >= 2 * height:
                break  # no more than the one before would show
            for share in sorted({overlap, min(overlap, 0.1), 0.0}, reverse=True):
                grid = Grid(width, height, size, share)
                if len(grid) <= left:
                    self._grids.append(grid)
                    left -= len(grid)
                    break

    def __len__(self) -> int:
        return sum(map(len, self._grids))

    @overload
    def __getitem__(self, place: int) -> Window: ...

    @overload
    def __getitem__(self, place: slice) -> list[Window]: ...

    def __getitem__(self, place: int | slice) -> Window | list[Window]:
        """The window at a place, or a list of those of a slice."""
        if isinstance(place, slice):
            return [self[number] for number in range(*place.indices(len(self)))]
        at = place + len(self) if place < 0 else place
        for grid in self._grids:
            if 0 <= at < len(grid):
                return grid[at]
            at -= len(grid)
        raise IndexError(f"window {place} of {len(self)}")


def _steps(size: int, tile: int, overlap: float) -> tuple[range, int]:
    """Where windows start along an axis, but for the last one, which ends with the axis."""
    tile = min(tile, size)
    stride = max(1, round(tile * (1 - overlap)))
    return range(0, size - tile, stride), tile
