"""What a VRT names, read before GDAL follows it.

A VRT is a recipe, in XML, of what GDAL can open: other files, web addresses, devices, and of code.
From a stranger it may name plain files, which allowed drivers then open, and nothing else.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

from ngcg_cli.errors import RasterError

MARK = b"<VRTDataset"
# GDAL looks for the mark in the first bytes, a thousand unless another driver has asked for more.
_HEAD = 2**16
# A mosaic of 100,000 parts takes a tenth of it.
MAX_BYTES = 512 * 2**20
MAX_FILES = 1_000_000

# Elements, attributes and keys whose value GDAL takes for a dataset to open, whatever the case.
_NAMES_FILE = re.compile(r"file|dataset|datasource|dem(path)?$|^input$", re.IGNORECASE)
# Of metadata, which may speak of files, GDAL follows these items alone.
_FOLLOWED = frozenset(("overview_file", "x_dataset", "y_dataset"))
_SCHEME = re.compile(r"[A-Za-z][\w+.-]+:")
# Anywhere else GDAL may still take a text for an address or a file, as where a CRS is due.
_ADDRESS = re.compile(r"://|/vsi")
# GDAL takes each for a text of its own, an XML library joins it to the text beside it.
_SPLIT_TEXT = re.compile(rb"[^>\s]\s*<!\[CDATA\[|\]\]>\s*(?:[^<\s]|<!\[CDATA\[)")
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
    for value, named in _values(path, data):
        remote = value.startswith("/vsi") or "<" in value or _SCHEME.match(value)
        if remote if named else _ADDRESS.search(value):
            raise _refused(path, f"it names {value[:200]!r}, which is no plain file")
        # Which folder GDAL starts from depends on an attribute: neither may hold a device or pipe.
        for start in (folder, os.getcwd()):
            if not is_plain(os.path.join(start, value), folders=not named):
                raise _refused(path, f"it names {value[:200]!r}, which is no plain file")
        if named:
            yield os.path.join(folder, value)


def is_plain(path: str, folders: bool) -> bool:
    """Whether a file is a regular one, or is not there."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return True
    return stat.S_ISREG(mode) or (folders and stat.S_ISDIR(mode))


class _Tree(ElementTree.TreeBuilder):
    """Keeps comments, which end a text for GDAL, and refuses what GDAL may take for elements."""

    def __init__(self) -> None:
        super().__init__(insert_comments=True, insert_pis=True)

    def pi(self, target: str, text: str | None = None) -> Any:
        if set("<>") & set(text or ""):
            raise ValueError("elements inside a processing instruction")
        return super().pi(target, text)


def _values(path: str, data: bytes) -> Iterator[tuple[str, bool]]:
    """Each text of a VRT once, and whether it names a dataset.

    Numbers, descriptions and metadata that GDAL does not follow are left out.
    """
    seen = set()
    todo = [_parsed(path, data)]
    while todo:
        element = todo.pop()
        tag = _name(element)
        # A description is shown; XML among the metadata, such as XMP, is handed on.
        inner = [part for part in element if isinstance(part.tag, str)]  # no comments
        if tag == "metadata":
            inner = [part for part in inner if _name(part) == "mdi"]
        todo += [part for part in inner if _name(part) != "description"]
        own = {name.rpartition("}")[2].lower(): value for name, value in element.attrib.items()}
        if tag == "pixelfunctioncode" or own.get("subclass", "").lower() == "vrtrawrasterband":
            raise RasterError(
                "is not read: it holds code, or takes any file for pixels",
                where=path,
                hint="If you trust it, write it out first: gdal_translate FILE OUT.tif.",
            )
        for one in _texts(element, tag, own):
            if one not in seen and not _is_number(one[0]):
                seen.add(one)
                yield one


def _parsed(path: str, data: bytes) -> ElementTree.Element:
    """A VRT's root; what an XML reader may take otherwise than GDAL does is refused."""
    if b"<!doctype" in data.lower():
        raise _refused(path, "a VRT with a document type, which may hide what it names")
    if _SPLIT_TEXT.search(data):
        raise _refused(path, "a VRT with a text in pieces, which may hide what it names")
    try:
        return ElementTree.fromstring(data, ElementTree.XMLParser(target=_Tree()))
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise RasterError(
            f"no well-formed VRT: {error}", where=path, hint="Check it with gdalinfo."
        ) from error


def _texts(
    element: ElementTree.Element, tag: str, own: dict[str, str]
) -> Iterator[tuple[str, bool]]:
    """The texts of an element and of its attributes `own`, and whether each names a dataset."""
    key = own.get("name", own.get("key", "")).lower()
    named = bool(_NAMES_FILE.search(tag) or _NAMES_FILE.search(key))
    found = [(name, value) for name, value in own.items() if tag != "mdi"]
    if tag != "mdi" or key in _FOLLOWED:
        found += [(tag, text or "") for text in (element.text, *(x.tail for x in element))]
    for name, value in found:
        yield value.strip(), (named and name == tag) or bool(_NAMES_FILE.search(name))


def _name(element: ElementTree.Element) -> str:
    """GDAL knows no namespaces, and no case."""
    return element.tag.rpartition("}")[2].lower()


def _is_number(text: str) -> bool:
    try:
        float(text or "0")
    except ValueError:
        return False
    return True


def _refused(path: str, what: str) -> RasterError:
    return RasterError(f"is not read: {what}", where=path, hint=_HINT)
