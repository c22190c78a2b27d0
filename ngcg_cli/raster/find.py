"""Which rasters a SOURCE argument names."""

from __future__ import annotations

import logging
import os
import stat

from ngcg_cli.errors import RasterError

logger = logging.getLogger(__name__)

SUFFIXES = (".tif", ".tiff", ".vrt", ".jp2")


def find_rasters(source: str) -> list[str]:
    """The rasters that `source` names, sorted.

    A folder is searched with everything below it for `SUFFIXES`, in any case. Links are followed,
    each folder is entered once, and names that start with a dot are left out, as a shell does.
    Any other string (a file, a URL, a `/vsi` path, a GDAL connection string) is returned as is.

    Raises:
        RasterError: the folder holds no raster.
    """
    if not os.path.isdir(source):
        return [source]
    found: list[str] = []
    entered = {os.path.realpath(source)}
    for folder, subfolders, files in os.walk(source, followlinks=True, onerror=_tell):
        keep = []
        for name in sorted(subfolders):
            real = os.path.realpath(os.path.join(folder, name))
            if not name.startswith(".") and real not in entered:
                entered.add(real)
                keep.append(name)
        subfolders[:] = keep
        found += [
            os.path.join(folder, name)
            for name in files
            if name.lower().endswith(SUFFIXES) and not name.startswith(".")
        ]
    if not found:
        wanted = ", ".join(f"*{suffix}" for suffix in SUFFIXES)
        raise RasterError(
            f"the folder holds no raster ({wanted})",
            where=source,
            hint="Name a folder with rasters in it, or the file itself.",
        )
    return sorted(found)


def refuse_special(path: str) -> None:
    """Refuses pipes, sockets and devices: opening one may wait for ever.

    Raises:
        RasterError: `path` is one of these.
    """
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return  # not a path, or GDAL tells better
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise RasterError(
            "it is a pipe, socket or device, not a file",
            where=path,
            hint="Write it to a file first.",
        )


def _tell(error: OSError) -> None:
    logger.warning("%s: left out, the folder cannot be read: %s", error.filename, error.strerror)
