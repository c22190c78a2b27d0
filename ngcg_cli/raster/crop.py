"""A window of a raster as a raster of its own: same bands, same values, same place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import rasterio
from rasterio.enums import MaskFlags
from rasterio.windows import Window as Area

from ngcg_cli.raster.tiles import Window

# Values copied at once: bounds memory for a tile of any size.
STRIP_VALUES = 16_000_000


def write_crop(dataset: Any, window: Window, target: Path, crs: Any) -> None:
    """Write a window as a GeoTIFF, band by band as they are stored, with its own transform.

    Colour tables, nodata values, a mask, band names, scales and the meaning of bands come along;
    side files and overviews do not.

    Args:
        dataset: an open rasterio dataset.
        window: within it.
        target: the file to make.
        crs: that of the dataset, which a side file may tell.
    """
    column, row, width, height = window
    profile = {
        "driver": "GTiff",
        "width": width,
        "height": height,
        "count": dataset.count,
        "dtype": dataset.dtypes[0],
        "crs": crs,
        "transform": dataset.window_transform(Area(*window)),
        "nodata": dataset.nodata,
        "compress": "deflate",
        "tiled": min(width, height) >= 256,
    }
    masked = (
        MaskFlags.per_dataset in dataset.mask_flag_enums[0]
        and MaskFlags.alpha not in (dataset.mask_flag_enums[0])
    )
    rows = max(1, STRIP_VALUES // (width * dataset.count))
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(target, "w", **profile) as crop,
    ):
        crop.colorinterp = dataset.colorinterp
        crop.descriptions = dataset.descriptions
        crop.scales, crop.offsets = dataset.scales, dataset.offsets
        if dataset.colorinterp[0].name == "palette":
            crop.write_colormap(1, dataset.colormap(1))
        for top in range(0, height, rows):
            count = min(rows, height - top)
            part = Area(column, row + top, width, count)
            strip = Area(0, top, width, count)
            crop.write(dataset.read(window=part), window=strip)
            if masked:
                crop.write_mask(dataset.read_masks(1, window=part), window=strip)
