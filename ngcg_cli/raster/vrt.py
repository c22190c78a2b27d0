"""What a VRT names, read before GDAL follows it.

A VRT is a recipe, in XML, of what GDAL can open: other files, web addresses, devices, and of code.
From a stranger it may name plain files, which allowed drivers then open, and nothing else.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from xml.etree import ElementTree

from ngcg_cli.errors import RasterError

MARK = b"<VRTDataset"
# GDAL looks for the mark in the first bytes, a thousand unless another driver has asked for more.
_HEAD = 2**16
# A mosaic of 100,000 parts takes a tenth of it.
MAX_BYTES = 512 * 2**20
MAX_FILES = 1_000_000

# Elements, attributes and keys whose value GDAL takes for something to open, whatever the case.
_NAMES_FILE = re.compile(r"file|dataset|datasource|dem$|^input$", re.IGNORECASE)
_SCHEME = re.compile(r"[A-Za-z][\w+.-]+:")
_HINT = "If you trust it, give --driver VRT."


def is_vrt(path: str) -> bool:
    """Whether a local file, or a text given in place of a path, is a VRT."""
    if path.lstrip().startswith(MARK.decode()):
        return True
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return False
        with open(path, "rb") as file:
            return MARK.lower() in file.read(_HEAD).lower()
    except (OSError, ValueError):
        return False


def plain_parts(path: str) -> list[str]:
    """The files that a local VRT names, and those that the VRTs among them name; each once.

    Files that are not there are among them: reading tells which windows lack them.

    Raises:
        RasterError: it names something that is no plain file, or holds code, or is no XML.
    """
    found: dict[str, None] = {}
    todo = [path]
    while todo:
        name = todo.pop()
        for part in _parts(name):
            if part not in found:
                found[part] = None
                if is_vrt(part):
                    todo.append(part)
        if len(found) > MAX_FILES:
            raise _refused(path, f"it names over {MAX_FILES:,} files")
    return list(found)


def check_remote(path: str, xml: str) -> None:
    """Sees that a VRT behind a URL or in an archive names only what lies beside it.

    Raises:
        RasterError: it names something else.
    """
    for value, relative in _values(path, xml.encode()):
        if not relative or value.startswith("/") or _SCHEME.match(value) or "<" in value:
            raise _refused(path, f"it names {value[:200]!r}, which does not lie beside it")


def _parts(path: str) -> Iterator[str]:
    if path.lstrip().startswith(MARK.decode()):
        folder, data = os.getcwd(), path.encode()
    else:
        folder = os.path.dirname(os.path.abspath(path))
        try:
            with open(path, "rb") as file:
                data = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise RasterError(f"cannot be read: {error.strerror}", where=path) from error
    if len(data) > MAX_BYTES:
        raise _refused(path, f"a VRT of over {MAX_BYTES // 2**20} MiB")
    for value, _ in _values(path, data):
        if value.startswith("/vsi") or "<" in value or _SCHEME.match(value):
            raise _refused(path, f"it names {value[:200]!r}, which is no plain file")
        # Which folder GDAL starts from depends on an attribute: neither may hold a device or pipe.
        for start in (folder, os.getcwd()):
            part = os.path.join(start, value)
            if os.path.exists(part) and not stat.S_ISREG(os.stat(part).st_mode):
                raise _refused(path, f"it names {value[:200]!r}, which is no plain file")
        yield os.path.join(folder, value)


def _values(path: str, data: bytes) -> Iterator[tuple[str, bool]]:
    """Each value that names something to open, and whether it is relative to the VRT."""
    if b"<!doctype" in data.lower():
        raise _refused(path, "a VRT with a document type, which may hide what it names")
    try:
        root = ElementTree.fromstring(data)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise RasterError(
            f"no well-formed VRT: {error}", where=path, hint="Check it with gdalinfo."
        ) from error
    for element in root.iter():
        tag = element.tag.lower()
        own = {name.lower(): value for name, value in element.attrib.items()}
        if tag == "pixelfunctioncode" or own.get("subclass", "").lower() == "vrtrawrasterband":
            raise RasterError(
                "is not read: it holds code, or takes any file for pixels",
                where=path,
                hint="If you trust it, write it out first: gdal_translate FILE OUT.tif.",
            )
        relative = own.get("relativetovrt", element.findtext("relativeToVRT", "0")).strip() == "1"
        text = (element.text or "").strip()
        key = own.get("name", own.get("key", tag))
        # Of metadata, which may speak of files, GDAL follows one item alone.
        names_file = key.upper() == "OVERVIEW_FILE" if tag == "mdi" else _NAMES_FILE.search(key)
        if text and names_file:
            yield text, relative
        for name, value in own.items():
            if _NAMES_FILE.search(name) and value.strip():
                yield value.strip(), relative


def _refused(path: str, what: str) -> RasterError:
    return RasterError(f"is not read: {what}", where=path, hint=_HINT)
