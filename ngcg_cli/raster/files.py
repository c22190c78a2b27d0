"""The files on this file system that a raster's pixels and place are read from."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress

from ngcg_cli.errors import RasterError
from ngcg_cli.raster import vrt

# What GDAL looks for beside a raster, under its name (a.tif.msk) or its stem (a.tab), any case:
# masks, overviews, georeference, nodata and colours. World files (a.tfw, a.tifw, a.wld) besides.
_SIDE = (".aux.xml", ".aux", ".msk", ".ovr", ".wld", ".tab", ".prj", ".hdr", ".clr", ".rrd",
         ".ige", ".rde", ".rpb", ".rpb.xml", "_rpc.txt", ".imd")  # fmt: skip
_ARCHIVES = ("/vsizip/", "/vsitar/", "/vsigzip/", "/vsi7z/", "/vsirar/")


def raster_files(path: str) -> list[str]:
    """`path` and what is read with it: side files, and the parts of a VRT with theirs.

    Of a raster in an archive, the archive. Nothing is opened but VRTs. What is remote, or is not
    there, has none.
    """
    found: dict[str, None] = {}
    listed: dict[str, list[str]] = {}
    names = [_archive(path) if path.startswith(_ARCHIVES) else path]
    if vrt.is_vrt(path):
        with suppress(RasterError):  # opening it tells
            names += vrt.plain_parts(path)
    for name in names:
        if os.path.isfile(name):
            found[name] = None
            found.update(dict.fromkeys(_beside(name, listed)))
    return list(found)


def _beside(path: str, listed: dict[str, list[str]]) -> Iterator[str]:
    """The side files of a raster; `listed` keeps the names of folders that were looked through."""
    folder, own = os.path.split(path)
    if folder not in listed:
        try:
            listed[folder] = sorted(os.listdir(folder or "."))
        except OSError:
            listed[folder] = []
    whole = own.lower()
    stem, suffix = os.path.splitext(whole)
    wanted = {start + end for start in (whole, stem) for end in _SIDE} | {f"{stem}{suffix}w"}
    if len(suffix) > 2:
        wanted.add(f"{stem}.{suffix[1]}{suffix[-1]}w")
    wanted |= {f"{whole}.ovr.msk", f"{whole}.msk.ovr", f"{whole}.ovr.ovr"}
    for name in listed[folder]:
        full = os.path.join(folder, name)
        if name.lower() in wanted and name != own and os.path.isfile(full):
            yield full


def _archive(path: str) -> str:
    """The archive of `/vsizip/ARCHIVE/INSIDE`, also of `/vsizip/{ARCHIVE}/INSIDE`."""
    name = path.split("/", 2)[2]
    if name.startswith("{"):
        return name[1:].partition("}")[0]
    while name and not os.path.isfile(name):
        name, _, _ = name.rpartition("/")
    return name
