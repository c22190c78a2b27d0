"""Which of GDAL's drivers may touch a file: an allow-list, for the whole process.

GDAL recognises a file by its content, not by its name, and opens more files on its own: parts of a
VRT, masks, overviews, whatever a tag names. A list given to a single opening does not reach those,
so what is not allowed is taken out of GDAL's own register.
"""

from __future__ import annotations

import ctypes
import logging
import os
import threading
from collections.abc import Iterable
from functools import cache

import rasterio
import rasterio._env

from ngcg_cli.errors import UsageError

logger = logging.getLogger(__name__)

#: Imagery in one file, or a header with its data, and nothing that these formats could be told to
#: write, run or fetch. docs/rasters.md says why others are not among them.
ALLOWED = frozenset(
    ("BIGGIF", "BMP", "COG", "EHdr", "ENVI", "GIF", "GTiff", "HFA", "JP2OpenJPEG", "JPEG", "PNG",
     "VRT", "WEBP")
)  # fmt: skip
# Of rasterio's own: rasters and shapes in memory. They open nothing (`GDAL_MEM_ENABLE_OPEN`).
_WITHIN = frozenset(("MEM", "Memory"))

#: A VRT that the user has allowed by name may read anything that an allowed driver opens, from
#: anywhere; others read plain files only.
TRUSTED_VRT = "VRT"

_lock = threading.Lock()
_extra: dict[str, str] = {}


def allow(names: Iterable[str]) -> None:
    """Allows more drivers from now on, in this process.

    Args:
        names: as `gdalinfo --formats` has them, in any case.

    Raises:
        UsageError: GDAL has no driver of that name.
    """
    known = {name.lower(): name for name in _register().all}
    for name in names:
        if name.lower() not in known:
            raise UsageError(
                f"GDAL has no driver {name!r}",
                hint="`gdalinfo --formats` names those of a GDAL; this one has "
                f"{len(known)}, such as netCDF, GPKG or NITF.",
            )
        _extra[known[name.lower()]] = ""
    limit()


def allowed() -> frozenset[str]:
    """The drivers that may open a raster here: those of `ALLOWED` that GDAL has, and the user's."""
    _from_environment()
    return (ALLOWED | _extra.keys()) & _register().all.keys()


def trusts_vrt() -> bool:
    """Whether the user has allowed VRTs to read more than plain files."""
    _from_environment()
    return TRUSTED_VRT in _extra


def limit() -> bool:
    """Leaves GDAL the allowed drivers; whether that could be done.

    It cannot where GDAL's functions are out of reach; then VRTs are refused.
    """
    register = _register()
    if register.gdal is None:
        return False
    keep = allowed() | _WITHIN
    with _lock:
        if register.kept != keep:
            for name, driver in register.all.items():
                if name in keep and name not in register.kept:
                    register.gdal.GDALRegisterDriver(driver)
                elif name not in keep and name in register.kept:
                    register.gdal.GDALDeregisterDriver(driver)
            register.kept = keep
    return True


class _Register:
    """GDAL's drivers by name, as they were found; `kept` are those that are registered now."""

    def __init__(self) -> None:
        self.gdal: ctypes.CDLL | None = None
        with rasterio.Env() as env:
            self.all: dict[str, int | None] = dict.fromkeys(env.drivers())
        self.kept = frozenset(self.all)
        try:
            gdal = ctypes.CDLL(rasterio._env.__file__)
            gdal.GDALGetDriverByName.restype = ctypes.c_void_p
            gdal.GDALGetDriverByName.argtypes = [ctypes.c_char_p]
            for function in (gdal.GDALRegisterDriver, gdal.GDALDeregisterDriver):
                function.argtypes = [ctypes.c_void_p]
                function.restype = None
        except (OSError, AttributeError) as error:
            logger.debug("GDAL's drivers cannot be limited: %s", error)
            return
        self.all = {name: gdal.GDALGetDriverByName(name.encode()) for name in self.all}
        self.gdal = gdal


@cache
def _register() -> _Register:
    return _Register()


@cache
def _from_environment() -> None:
    """`NGCG_DRIVER` holds what `--driver` says, for every command and for programs that import."""
    known = {name.lower(): name for name in _register().all}
    for name in os.environ.get("NGCG_DRIVER", "").split():
        if name.lower() in known:
            _extra[known[name.lower()]] = ""
        else:
            logger.warning("NGCG_DRIVER: GDAL has no driver %r", name)
