"""What the tests of the commands share: a small raster, and what a command line left behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.transform import from_origin

TILE = 32
SIDE = 128  # so a raster has 4 x 4 tiles without overlap


def write_raster(path: Path, seed: int, west: float = 583_000.0, **changes: Any) -> Path:
    """A small georeferenced RGB GeoTIFF: UTM 18N, 1 m, blocks of random colours."""
    colours = np.random.default_rng(seed).integers(0, 256, (3, 4, 4), np.uint8)
    pixels = np.kron(colours, np.ones((1, SIDE // 4, SIDE // 4), np.uint8))
    profile = {
        "driver": "GTiff",
        "width": SIDE,
        "height": SIDE,
        "count": 3,
        "dtype": "uint8",
        "crs": "EPSG:32618",
        "transform": from_origin(west, 4_507_000.0, 1, 1),
        **changes,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(path, "w", **profile) as dataset:
        dataset.write(pixels)
    return path


@dataclass
class Outcome:
    status: int
    out: str
    err: str

    @property
    def rows(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


Ngcg = Callable[..., Outcome]
