"""Pictures of hits: cut from their rasters, with the tile's outline and some surroundings."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, NamedTuple

from ngcg_cli.raster import Window
from ngcg_cli.raster.kept import KeptOpen

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ngcg_cli.search import Hit

# Around a tile, as a fraction of its side: enough to see where it lies, little enough to see it.
MARGIN = 0.35


class Picture(NamedTuple):
    """A tile with its surroundings.

    Attributes:
        pixels: uint8 RGB, (h, w, 3).
        outline: where the tile lies in it: left, top, width, height as fractions.
    """

    pixels: NDArray[np.uint8]
    outline: tuple[float, float, float, float]


class Pictures(KeptOpen):
    """Cuts pictures from rasters, which it keeps open; see `KeptOpen` for `fetch`.

    Every method raises RasterError where the raster is gone, unreadable, or no longer as large as
    the window says; of a hit also where it lies elsewhere than the index says.
    """

    def of(self, hit: Hit, side: int, margin: float = MARGIN) -> Picture:
        """The picture of a hit.

        Args:
            hit: a tile found.
            side: of the picture, in pixels; smaller tiles are not enlarged.
            margin: surroundings on each side, as a fraction of the tile's, as far as there are any.
        """
        self.holding(hit.source, hit.window, hit.lon, hit.lat)
        return self.cut(hit.source, Window(*hit.window), side, margin)

    def cut(self, path: str, tile: Window, side: int, margin: float = MARGIN) -> Picture:
        """The picture of any window of a raster; see `of`."""
        raster = self.raster(path)
        across, down = round(tile.width * margin), round(tile.height * margin)
        left, top = max(0, tile.column - across), max(0, tile.row - down)
        right = min(raster.width, tile.column + tile.width + across)
        bottom = min(raster.height, tile.row + tile.height + down)
        around = Window(left, top, right - left, bottom - top)
        if not (left <= tile.column < right and top <= tile.row < bottom):
            around = tile  # outside of the raster: reading tells
        pixels, _ = raster.read(around, side)
        return Picture(
            pixels,
            (
                (tile.column - around.column) / around.width,
                (tile.row - around.row) / around.height,
                tile.width / around.width,
                tile.height / around.height,
            ),
        )


def encoded(pixels: NDArray[np.uint8], kind: str = "WEBP") -> bytes:
    """Pixels, (h, w, 3) or (h, w, 4) with opacity, as a WebP or PNG file."""
    from PIL import Image

    file = io.BytesIO()
    options = {"quality": 78, "method": 2} if kind == "WEBP" else {}
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()
