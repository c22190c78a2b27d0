"""The files on this file system that a raster's pixels and place are read from."""

from __future__ import annotations

import os
import stat
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import lru_cache

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
    names = [archive_of(path) or path]
    if vrt.is_vrt(path):
        with suppress(RasterError):  # opening it tells
            names += vrt.plain_parts(path)
    for name in names:
        if os.path.isfile(name):
            found[name] = None
            found.update(dict.fromkeys(_beside(name, listed)))
    return list(found)


def refuse_traps(path: str, parts: Iterable[str] = ()) -> None:
    """Refuses a raster beside which something lies that GDAL would wait for, or be led away by.

    GDAL opens side files by itself: a pipe among them is waited for without end, and overviews or a
    mask may be a VRT.

    Args:
        path: the raster.
        parts: those of a VRT.

    Raises:
        RasterError: a pipe or device lies there, or a VRT that names other than plain files.
    """
    for file in (path, *parts):
        folder, own = os.path.split(file)
        folder, own = folder or ".", own.lower()
        try:
            specials, names = _listed(folder, os.stat(folder).st_mtime_ns)
        except (OSError, ValueError):  # opening tells
            continue
        stem = os.path.splitext(own)[0]
        for name in specials:
            if name.lower().startswith(stem) or os.path.splitext(name)[1]:
                raise RasterError(
                    f"is not read: {name!r} beside it is a pipe or device, which GDAL may wait for",
                    where=path,
                    hint="Delete it, or move one of them.",
                )
        for end in (".ovr", ".msk", ".msk.ovr", ".ovr.msk", ".ovr.ovr", ".aux"):
            for name in names.get(own + end, ()):
                beside = os.path.join(folder, name)
                if vrt.is_vrt(beside):
                    vrt.plain_parts(beside)


@lru_cache(maxsize=64)
def _listed(folder: str, changed: int) -> tuple[list[str], dict[str, list[str]]]:
    """Pipes and devices in a folder as it last changed; its files by their names in lower case.

    Sockets are none of them: opening one fails at once.
    """
    specials: list[str] = []
    names: dict[str, list[str]] = defaultdict(list)
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_file():
                names[entry.name.lower()].append(entry.name)
            elif not entry.is_dir() and _is_waited_for(entry.path):
                specials.append(entry.name)
    return sorted(specials), names


def _is_waited_for(path: str) -> bool:
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode) or stat.S_ISBLK(mode)


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


def archive_of(path: str) -> str:
    """The archive of `/vsizip/ARCHIVE/INSIDE`, also of `/vsizip/{ARCHIVE}/INSIDE`; else nothing."""
    if not path.startswith(_ARCHIVES):
        return ""
    name = path.split("/", 2)[2]
    if name.startswith("{"):
        return name[1:].partition("}")[0]
    while name and not os.path.isfile(name):
        name, _, _ = name.rpartition("/")
    return name
