"""Rasters in, tiles out: uint8 RGB pixels and where on the Earth they lie.

`Raster` opens anything GDAL opens; `TileSize` and `Window` cut it; `find_rasters` searches folders.
The names are resolved on first use, so that parsing a tile size does not load GDAL.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ngcg_cli.raster.find import find_rasters
from ngcg_cli.raster.tiles import TileSize, Window

if TYPE_CHECKING:
    from ngcg_cli.raster.footprint import Footprints
    from ngcg_cli.raster.source import Raster

__all__ = ["Footprints", "Raster", "TileSize", "Window", "find_rasters"]

_LAZY = {"Raster": "ngcg_cli.raster.source", "Footprints": "ngcg_cli.raster.footprint"}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
