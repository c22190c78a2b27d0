"""What the tests of rasters share: writing a small GeoTIFF, and reading all of one."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import rasterio
from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from rasterio.transform import from_origin

from ngcg_cli.raster import Raster, Window

UTM = CRS.from_epsg(32618)
# The same place and pixels for a VRT.
GEO = "<SRS>EPSG:32618</SRS><GeoTransform>500000,1,0,4650000,0,-1</GeoTransform>"


def write(path: Path, data: np.ndarray, *, mask=None, colours=None, **profile) -> str:
    """A GeoTIFF of `data` (bands, h, w), 1 m pixels in UTM unless told otherwise."""
    options = {
        "driver": "GTiff",
        "count": data.shape[0],
        "height": data.shape[1],
        "width": data.shape[2],
        "dtype": data.dtype,
        "crs": UTM,
        "transform": from_origin(500_000, 4_650_000, 1, 1),
        **profile,
    }
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "w", **options) as out:
        if colours:
            out.colorinterp = [ColorInterp[name] for name in colours]
        out.write(data)
        if mask is not None:
            out.write_mask(mask)
    return str(path)


def noise(*shape: int, dtype=np.uint8, low=1, high=250, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).integers(low, high, shape).astype(dtype)


def read_all(path: str, max_side: int | None = None) -> tuple[np.ndarray, float]:
    with Raster.open(path) as raster:
        return raster.read(Window(0, 0, raster.width, raster.height), max_side)


@contextlib.contextmanager
def listening() -> Iterator[tuple[int, list[socket.socket]]]:
    """A port on this machine, and the connections that were made to it."""
    asked: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def listen() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                asked.append(connection)
                connection.close()

        threading.Thread(target=listen, daemon=True).start()
        yield server.getsockname()[1], asked
