"""What the file system knows of a source: is it still the file that was indexed?"""

from __future__ import annotations

import hashlib
import os
import threading
from dataclasses import replace

from ngcg_cli.search import SourceRecord

_BLOCK = 1 << 20


def is_local(source: str) -> bool:
    """Whether a SOURCE is a path of this file system rather than a URL, `/vsi` path or the like.

    Of those GDAL alone can tell what they are, so they are passed on as they stand.
    """
    if os.path.exists(source):
        return True
    scheme, colon, _ = source.partition(":")
    return not source.startswith("/vsi") and not (colon and len(scheme) > 1 and "/" not in scheme)


def is_gone(path: str) -> bool:
    """Whether a source of an index is a local path with nothing there any more."""
    return is_local(path) and not os.path.lexists(path)


def with_facts(record: SourceRecord) -> SourceRecord:
    """The record with the size and time of last change that its files have now.

    A VRT counts with the rasters that it joins. What is remote, or missing, has neither.
    """
    from ngcg_cli.raster.files import raster_files

    path = record.path
    try:
        facts = [os.stat(name) for name in (raster_files(path) if _is_vrt(path) else [path])]
        size, changed = sum(fact.st_size for fact in facts), max(fact.st_mtime_ns for fact in facts)
    except (OSError, ValueError):
        return replace(record, size=None, mtime_ns=None)
    return replace(record, size=size, mtime_ns=changed)


def content_of(path: str, stopped: threading.Event | None = None) -> str | None:
    """Hex SHA-256 of a local file's bytes; side files, such as a world file, are chained to it.

    None for what is remote, a folder, a VRT (it is others' content), or cannot be read; and when
    `stopped` is set meanwhile.
    """
    from ngcg_cli.raster.files import raster_files

    if _is_vrt(path) or not os.path.isfile(path):
        return None
    try:
        own, *others = (_digest(name, stopped) for name in raster_files(path))
    except (OSError, InterruptedError):
        return None
    return hashlib.sha256(b"".join([own, *others])).hexdigest() if others else own.hex()


def _digest(path: str, stopped: threading.Event | None) -> bytes:
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        while block := file.read(_BLOCK):
            if stopped is not None and stopped.is_set():
                raise InterruptedError
            digest.update(block)
    return digest.digest()


def _is_vrt(path: str) -> bool:
    return path.lower().endswith(".vrt")
