"""What a raster says of its bands before any pixel is read, and what it leaves unsaid."""

from __future__ import annotations

from typing import Any

import numpy as np
from rasterio.enums import MaskFlags

from ngcg_cli.raster import bands
from ngcg_cli.raster.acquired import acquired
from ngcg_cli.raster.opening import coarsest_overview
from ngcg_cli.raster.products import is_true_colour
from ngcg_cli.raster.tiles import TileSize

# Of a raster that declares nothing missing, this share of one extreme value is worth a word.
MUCH_FILL = 0.1
# In a tile of fewer pixels there is little to see; much finer or coarser imagery no model knows.
FEW_PIXELS = 64
FINEST_GSD, COARSEST_GSD = 0.05, 15.0


class Header:
    """Facts of an open dataset, all asked for at once.

    GDAL tells of a failure once only, and the reading has to hear of it: what looks into the parts
    of a mosaic is asked here, before.

    Attributes:
        tags: each band's colour interpretation.
        colours: the bands to show (`bands.choose_bands`); `alpha`: the one that is tagged so.
        unnamed: how many bands there are, where three of them show that nobody has named.
        flags: what kind of mask the colour bands have.
        shrink: how many pixels one of the coarsest overview stands for, along a side.
        inverted: whether 0 is white.
        kind: numpy's name of the type that holds the values of all colour bands.
        mixed: whether they are of several types.
        eight_bit: whether their values are 0 to 255 as they stand.
        nodata: their nodata values.
        acquired: when the picture was taken, ISO 8601, or None.
        pages: pictures in the file, where it has several.
    """

    def __init__(self, path: str, dataset: Any) -> None:
        self.tags = [tag.name for tag in dataset.colorinterp]
        self.colours, self.alpha = bands.choose_bands(self.tags, dataset.descriptions)
        plain = dataset.count - (self.alpha is not None)
        named = bands.called_rgb(self.tags, dataset.descriptions)
        self.unnamed = plain if plain > 3 == len(self.colours) and named is None else 0
        self.flags = set(dataset.mask_flag_enums[self.colours[0] - 1])
        self.shrink = coarsest_overview(dataset)
        structure = [dataset.tags(band, ns="IMAGE_STRUCTURE") for band in (0, *self.colours)]
        self.inverted = any(tags.get("MINISWHITE") == "YES" for tags in structure)
        self.bits = {tags.get("NBITS", "8") for tags in structure[1:]}
        types = [_numpy_type(dataset.dtypes[band - 1]) for band in self.colours]
        self.mixed = len(set(types)) > 1
        self.kind: str = np.result_type(*types).name if self.mixed else types[0]
        self.eight_bit = set(types) == {"uint8"} and self.bits == {"8"}
        self.nodata: list[float | None] = [dataset.nodatavals[band - 1] for band in self.colours]
        if is_true_colour(path) and self.nodata == [None] * 3:
            self.nodata = [0.0] * 3
        domains = [dataset.tags(ns=ns) for ns in (None, "IMAGERY", "EXIF")]
        self.acquired = acquired(path, domains)
        self.pages = len(dataset.subdatasets)


def _numpy_type(dtype: str) -> str:
    """The type that holds values of one of GDAL's: numpy has no complex integers (radar)."""
    return "complex64" if dtype == "complex_int16" else dtype


class Fill:
    """Counts pixels that look like fill: in all bands 0, the greatest of their type, -9999."""

    def __init__(self, header: Header) -> None:
        undeclared = all(missing is None for missing in header.nodata)
        unmasked = header.alpha is None and MaskFlags.all_valid in header.flags
        self._asked = undeclared and unmasked and "1" not in header.bits
        self._counts: dict[float, int] = {}
        self._looked = 0

    def add(self, values: bands.Values) -> None:
        """Counts those of a window: values (bands, h, w)."""
        if not self._asked:
            return
        integral = np.issubdtype(values.dtype, np.integer)
        most = int(np.iinfo(values.dtype).max) if integral else np.inf
        self._looked += values[0].size
        for fill in (0, most) if values.dtype.kind == "u" else (0, most, -9999, -32768):
            found = values[0] == fill
            for band in values[1:]:
                if not found.any():
                    break
                found &= band == fill
            self._counts[fill] = self._counts.get(fill, 0) + int(np.count_nonzero(found))

    def told(self) -> str | None:
        """A word on it, where it is more than a tenth."""
        value, count = max(self._counts.items(), key=lambda item: item[1], default=(0, 0))
        if count <= MUCH_FILL * self._looked:
            return None
        return (
            f"{count / self._looked:.0%} of its pixels are {value:g} in every band, which is not "
            "declared as nodata; if there is no picture there, declare it: "
            f"gdal_edit.py -a_nodata {value:g} FILE"
        )


def doubts(
    header: Header, size: tuple[int, int], gsd: tuple[float, float], tile: TileSize
) -> list[str]:
    """What speaks against tiles of a size, or against this imagery, before it is read.

    Args:
        header: of the raster.
        size: of the raster, pixels.
        gsd: of a pixel, metres.
        tile: as it is to be cut.
    """
    told = []
    width, height = tile.pixels(gsd)
    if min(width, height) < FEW_PIXELS and max(width, height) <= max(size):
        told.append(
            f"a tile is {width} x {height} of its pixels, in which there is little to see; give a "
            f"--tile of {FEW_PIXELS}px or more"
        )
    if not FINEST_GSD <= max(gsd) <= COARSEST_GSD:
        told.append(
            f"a pixel is {max(gsd):.3g} m of ground; models are made for imagery of "
            f"{FINEST_GSD:g} to {COARSEST_GSD:g} m"
        )
    if header.unnamed:
        told.append(
            f"nothing in it says which of its {header.unnamed} bands are red, green and blue; the "
            "first three are shown as these; to choose others: "
            "gdal_translate -b 4 -b 3 -b 2 FILE OUT.tif"
        )
    return told
