"""GDAL's settings, and its complaints: told once, as a RasterError, and nowhere else."""

from __future__ import annotations

import ctypes
import logging
import os
import sys
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any

import rasterio
import rasterio._env
import rasterio.env
from rasterio._env import GDALDataFinder, PROJDataFinder
from rasterio._err import CPLE_BaseError
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from ngcg_cli.errors import RasterError
from ngcg_cli.raster import drivers, signed

# Defaults that the environment may overrule.
OPTIONS: dict[str, int | str] = {
    # Bytes, for all open rasters: a row of blocks of a wide raster, whatever the machine has.
    "GDAL_CACHEMAX": 192 * 2**20,
    # A remote raster is read for hours: one dropped connection must not end it.
    "GDAL_HTTP_MAX_RETRY": "3",
    "GDAL_HTTP_RETRY_DELAY": "1",
    "GDAL_HTTP_CONNECTTIMEOUT": "20",
    # Bytes a second and seconds: a server that falls silent is not waited for.
    "GDAL_HTTP_LOW_SPEED_LIMIT": "100",
    "GDAL_HTTP_LOW_SPEED_TIME": "60",
}
# What no environment may change: no code of a VRT is run, no memory is opened by its address.
FORCED: dict[str, int | str] = {"GDAL_VRT_ENABLE_PYTHON": "NO", "GDAL_MEM_ENABLE_OPEN": "NO"}
# For rasters on this file system: whatever in them names a web address gets nothing from there. The
# proxy is none: GDAL also fetches, past its file systems, a CRS that is given as an address.
LOCAL_OPTIONS = {
    "CPL_VSIL_CURL_ALLOWED_FILENAME": "none",
    "GDAL_HTTP_PROXY": "http://0.0.0.0:1",
    "GDAL_HTTPS_PROXY": "http://0.0.0.0:1",
}
# A server is not asked for the list of a raster's neighbours: it may be long, or a web page.
REMOTE_OPTIONS = {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR"}

# What to do, by a clue in GDAL's words.
HINTS = {
    "No such file": "Check the path.",
    "Too many open files": "Allow more, e.g. ulimit -n 1024.",
    "does not exist": "Check the path.",
    "GCP transform": "Give it more ground control points, spread over it: gdal_edit.py -gcp COLUMN "
    "ROW EASTING NORTHING FILE.",
    "not recognized": "Name a raster of an allowed format, or a folder of rasters; --driver "
    "NAME allows another (gdalinfo names it).",
    "AWS_": "Set the credentials, or AWS_NO_SIGN_REQUEST=YES for a public bucket.",
    "HTTP response code": "Check the address, and that you may read it.",
    "CURL error": "Check the address, and that its server answers.",
    "Range downloading": "Download the whole file, and index that.",
}
_SYSTEMS = {".zip": "/vsizip/", ".tar": "/vsitar/", ".tgz": "/vsitar/", ".tar.gz": "/vsitar/"}
DAMAGED = "Check the file with gdalinfo -checksum, or fetch it again."

# rasterio lets some of GDAL's own errors (CPLE) through.
FAILURES = (RasterioError, CPLE_BaseError, OSError, ValueError, MemoryError)

_REMOTE = ("/vsicurl", "/vsis3", "/vsigs", "/vsiaz", "/vsiadls", "/vsioss", "/vsiswift", "/vsihdfs")


@contextmanager
def telling(path: str, what: str) -> Iterator[None]:
    """Runs GDAL quietly, and turns its failures into a RasterError."""
    try:
        with settings(path):
            yield
    except FAILURES as error:
        root: BaseException = error
        while root.__cause__ is not None:
            root = root.__cause__
        reason = (
            signed.hidden(_words(root), path)
            .removeprefix(f"{path}: ")
            .removeprefix(f"'{path}' ")
            .rstrip(".!")
        )
        hint = next((hint for clue, hint in HINTS.items() if clue in reason), DAMAGED)
        if "not recognized" in reason and (system := _archive_system(path)):
            hint = f"Name a raster in the archive: {system}{path.removeprefix(system)}/NAME.tif."
            if system == "/vsizip/" and os.path.isfile(path) and not zipfile.is_zipfile(path):
                hint = "It is no zip archive, or cut short: fetch it again."
        raise RasterError(
            f"{what}: {reason or type(root).__name__}", where=path, hint=hint
        ) from error


def settings(path: str) -> AbstractContextManager[object]:
    """What GDAL runs with while it works on `path`.

    It costs a tenth of a millisecond to enter, and nothing inside of itself: who reads many windows
    of a raster enters it around them.
    """
    remote = is_remote(path)
    wanted = {**OPTIONS, **(REMOTE_OPTIONS if remote else {})}
    wanted = {name: value for name, value in wanted.items() if name not in os.environ}
    wanted |= FORCED if remote or drivers.trusts_vrt() else {**FORCED, **LOCAL_OPTIONS}
    if rasterio.env.hasenv() and wanted.items() <= rasterio.env.getenv().items():
        return nullcontext()
    return rasterio.Env(**wanted)


def is_remote(path: str) -> bool:
    """Whether a path leads to a server."""
    scheme, colon, _ = path.partition("://")
    return (bool(colon) and not scheme.startswith("file")) or any(at in path for at in _REMOTE)


def _archive_system(path: str) -> str | None:
    """By which of GDAL's file systems the inside of an archive is named."""
    return next((system for end, system in _SYSTEMS.items() if path.lower().endswith(end)), None)


def _words(error: BaseException) -> str:
    """GDAL's message; where it quotes a damaged file, there may be bytes in it that are no text."""
    if isinstance(error, UnicodeDecodeError):
        return error.object.decode("utf-8", "replace")
    return str(error)


def _be_quiet() -> None:
    """What GDAL reports reaches the user as a RasterError; a second telling helps nobody."""
    logging.getLogger("rasterio").addHandler(logging.NullHandler())
    warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)
    _drop_undecodable_messages()
    # libtiff writes some of its errors to file descriptor 2 itself: GDAL hears of most of them
    # through handlers of each file, of seeks to nowhere it does not. Where its library was built
    # into GDAL's, it cannot be reached like this, and such a line may show.
    with suppress(OSError, AttributeError):
        ctypes.CDLL(rasterio._env.__file__).TIFFSetErrorHandler(None)


def _drop_undecodable_messages() -> None:
    """Lets rasterio's log handler fail silently on messages that are not UTF-8.

    It runs inside GDAL, so its exceptions cannot be raised; they are printed, once by way of
    `sys.excepthook`, without any traceback, and once by way of `sys.unraisablehook`.
    """
    tell, tell_unraisable = sys.excepthook, sys.unraisablehook

    def excepthook(kind: Any, error: Any, trace: Any) -> None:
        if not (kind is UnicodeDecodeError and trace is None):
            tell(kind, error, trace)

    def unraisablehook(unraisable: Any) -> None:
        undecodable = unraisable.exc_type is UnicodeDecodeError
        if not (undecodable and unraisable.object == "rasterio._env.log_error"):
            tell_unraisable(unraisable)

    sys.excepthook, sys.unraisablehook = excepthook, unraisablehook


def _use_own_data() -> None:
    """Lets the GDAL and PROJ of rasterio's wheel read the data that come with them.

    Another installation (conda, QGIS, PostGIS) may have left a variable that points to its own: a
    PROJ that finds no database of its version takes most reference systems for local ones.
    """
    own = {
        "PROJ_DATA": PROJDataFinder(),
        "PROJ_LIB": PROJDataFinder(),
        "GDAL_DATA": GDALDataFinder(),
    }
    for name, finder in own.items():
        if finder.search_wheel() is not None:
            os.environ.pop(name, None)


_be_quiet()
_use_own_data()
