"""Which rasters a SOURCE argument names."""

from __future__ import annotations

import logging
import os
import re
import stat
from collections.abc import Iterator

from ngcg_cli.errors import RasterError

logger = logging.getLogger(__name__)

SUFFIXES = (".tif", ".tiff", ".vrt", ".jp2")
# What a folder is not searched for: other rasters; and pictures, where a side file places them.
OTHERS = (".img", ".j2k", ".jpx", ".bil", ".bip", ".bsq", ".ecw", ".sid", ".nc", ".nc4", ".h5",
          ".hdf", ".he5", ".grib", ".grb", ".grb2", ".mbtiles", ".asc", ".dem", ".ntf", ".nitf",
          ".pix", ".mrf", ".zarr", ".safe", ".btf", ".gtiff", ".geotiff", ".cog")  # fmt: skip
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif")
# A Sentinel-2 product as it is given out.
_PACKED = re.compile(r"S2[A-Z]_(?:(?:OPER|USER)_PRD_)?MSI.*\.zip", re.IGNORECASE)
# Lists the files of such a product, which are searched themselves; of Sentinel-1 it is read.
_MANIFEST = re.compile(r".*/S2[^/]*/manifest\.safe", re.IGNORECASE)


def find_rasters(source: str) -> list[str]:
    """The rasters that `source` names, sorted.

    A folder is searched with everything below it for `SUFFIXES`, in any case. Links are followed,
    each folder is entered once, and names that start with a dot are left out, as a shell does.
    The zip archive of a Sentinel-2 product is searched, too, in a folder or named itself.
    Any other string (a file, a URL, a `/vsi` path, a GDAL connection string) is returned as is.

    Raises:
        RasterError: the folder holds no raster.
    """
    if not os.path.isdir(source):
        inside = _packed(source) if _is_packed(source) else []
        return sorted(inside) or [source]
    found: list[str] = []
    for path in _walk(source):
        if path.lower().endswith(SUFFIXES):
            found.append(path)
        elif _is_packed(path) and not _unpacked(path):
            found += _packed(path)
    if not found:
        wanted = ", ".join(f"*{suffix}" for suffix in SUFFIXES)
        raise RasterError(
            f"the folder holds no raster ({wanted})",
            where=source,
            hint="Name a folder with rasters in it, or the file itself.",
        )
    return sorted(found)


def passed_over(source: str) -> list[str]:
    """Files of a folder that hold rasters by their names, but that `find_rasters` does not take."""
    if not os.path.isdir(source):
        return []
    found = list(_walk(source))
    stems = {os.path.splitext(path)[0] for path in found if path.lower().endswith("w")}
    placed = {path.removesuffix(".aux.xml") for path in found if path.endswith(".aux.xml")}
    return sorted(
        path
        for path in found
        if (path.lower().endswith(OTHERS) and not _MANIFEST.fullmatch(path))
        or (
            path.lower().endswith(PICTURES)
            and (path in placed or os.path.splitext(path)[0] in stems)
        )
    )


def _is_packed(path: str) -> bool:
    return bool(_PACKED.fullmatch(os.path.basename(path)))


def _packed(path: str) -> list[str]:
    """The rasters in the archive of a Sentinel-2 product; of none that opens, the path itself."""
    if not os.path.isfile(path):
        return [path]
    import zipfile

    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except Exception:  # whatever a damaged one provokes: opening it tells
        return [path]
    return [
        f"/vsizip/{path}/{name}"
        for name in names
        if name.lower().endswith(SUFFIXES)
        and not name.startswith("/")
        and not any(part.startswith(".") for part in name.split("/"))
    ]


def _unpacked(path: str) -> bool:
    """Whether the archive of a product lies beside the folder that it was unpacked into."""
    stem = path[: -len(".zip")]
    return os.path.isdir(stem) or os.path.isdir(f"{stem}.SAFE")


def _walk(source: str) -> Iterator[str]:
    """The files of a folder and below it; each folder is entered once, dots are left out."""
    entered = {os.path.realpath(source)}
    for folder, subfolders, files in os.walk(source, followlinks=True, onerror=_tell):
        keep = []
        for name in sorted(subfolders):
            real = os.path.realpath(os.path.join(folder, name))
            if not name.startswith(".") and real not in entered:
                entered.add(real)
                keep.append(name)
        subfolders[:] = keep
        yield from (os.path.join(folder, name) for name in files if not name.startswith("."))


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
