"""The files that a raster on this file system is made of."""

from __future__ import annotations

import os
from contextlib import suppress


def raster_files(path: str) -> list[str]:
    """`path` and what GDAL reads with it: world files, side files, the rasters that a VRT joins.

    Only `path` itself where GDAL cannot open it. Overviews are left out: they repeat what is there.
    """
    import rasterio

    from ngcg_cli.errors import RasterError
    from ngcg_cli.raster.find import refuse_special
    from ngcg_cli.raster.gdal import telling

    names: list[str] = []
    with suppress(RasterError), telling(path, "cannot be opened"):
        refuse_special(path)
        with rasterio.open(path) as dataset:
            names = dataset.files
    found = {path: None, **dict.fromkeys(names)}
    return [name for name in found if os.path.isfile(name) and not name.lower().endswith(".ovr")]
