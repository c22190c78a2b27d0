"""What the file system knows of a source: is it still the file that was indexed?"""

from __future__ import annotations

import hashlib
import os
import threading
from dataclasses import replace
from urllib.parse import unquote, urlsplit

from ngcg_cli.search import SourceRecord
from ngcg_cli.search.match import file_of

_BLOCK = 1 << 20
# Bytes of a world file, an .aux.xml: read as quickly as its time is asked for.
_SHORT = 1 << 14


def is_local(source: str) -> bool:
    """Whether a SOURCE is a path of this file system rather than a URL, `/vsi` path or the like.

    Of those GDAL alone can tell what they are, so they are passed on as they stand.
    """
    if os.path.exists(source):
        return True
    scheme, colon, _ = source.partition(":")
    return not source.startswith("/vsi") and not (colon and len(scheme) > 1 and "/" not in scheme)


def from_root(source: str) -> str:
    """A SOURCE by the name that it has from every folder: of a path, an archive, a `file:` URL.

    A URL stays, and so does what GDAL alone can read.
    """
    from ngcg_cli.raster.files import archive_of

    if source.startswith("file://"):
        source = unquote(urlsplit(source).path)
    if is_local(source):
        return os.path.abspath(source)
    archive = archive_of(source)
    if not archive or not is_local(archive):
        return source
    at = source.index(archive, source.index("/", 1))
    return source[:at] + os.path.abspath(archive) + source[at + len(archive) :]


def is_gone(path: str) -> bool:
    """Whether a source of an index is a local path, or in an archive, that is there no more."""
    file = file_of(path)
    return is_local(file) and not os.path.lexists(file)


def with_facts(record: SourceRecord) -> SourceRecord:
    """The record with the size and time of last change that its files have now.

    Into the time is mixed what is known of each further file that the raster is read from, a world
    file, a mask, the parts of a VRT: so it is good for comparing only. Of a raster in one file it
    is that file's. What is remote, or missing, has neither.
    """
    from ngcg_cli.raster.files import raster_files

    try:
        own, *others = raster_files(record.path) or [record.path]
        fact = os.stat(own)
        mixed = sum(_sign(name) for name in others)
    except (OSError, ValueError):
        return replace(record, size=None, mtime_ns=None)
    return replace(record, size=fact.st_size, mtime_ns=(fact.st_mtime_ns + mixed) % 2**63)


def _sign(path: str) -> int:
    """A number for a file: by its content where that is short, else by its size and time."""
    fact = os.stat(path)
    digest = hashlib.sha256(os.fsencode(os.path.basename(path)))
    if fact.st_size <= _SHORT:
        with open(path, "rb") as file:
            digest.update(file.read(_SHORT))
    else:
        digest.update(f":{fact.st_size}:{fact.st_mtime_ns}".encode())
    return int.from_bytes(digest.digest()[:7], "big")


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
    from ngcg_cli.raster.vrt import is_vrt

    return is_vrt(path)
