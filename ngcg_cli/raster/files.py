"""The files that a raster on this file system is made of."""

from __future__ import annotations

import os


def raster_files(path: str) -> list[str]:
    """`path` and what GDAL reads with it: world files, side files, the rasters that a VRT joins.

    Only `path` itself where GDAL cannot open it. Overviews are left out: they repeat what is there.
    """
    import rasterio
    from rasterio._err import CPLE_BaseError
    from rasterio.errors import RasterioError

    from ngcg_cli.errors import RasterError
    from ngcg_cli.raster.find import refuse_special

    try:
        refuse_special(path)
        with rasterio.open(path) as dataset:
            names = dataset.files
    except (RasterError, RasterioError, CPLE_BaseError, OSError, ValueError):
        names = []
    found = {path: None, **dict.fromkeys(names)}
    return [name for name in found if os.path.isfile(name) and not name.lower().endswith(".ovr")]
