"""Walks a STAC file, whatever it is, to its items: within bounds, and each document once."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ngcg_cli.errors import NgcgError, RasterError
from ngcg_cli.progress import Progress
from ngcg_cli.raster import find, signed
from ngcg_cli.stac.door import Door, is_web, require_plain
from ngcg_cli.stac.items import Item, made, pick
from ngcg_cli.stac.table import items_of_table

MAX_DOCUMENTS = 100_000
MAX_ITEMS = 1_000_000
MAX_DEPTH = 32

_JSON = (".json", ".geojson")
_TABLE = (".parquet", ".geoparquet")
_RASTERS = (*find.SUFFIXES, *find.OTHERS, *find.PICTURES, ".gtif")
# What pystac reads, and brings up to today's version.
_VERSIONS = re.compile(r"(0\.[6-9]|1)\.\d+([.-].*)?")
_INSTALL = "Install it: pip install 'ngcg[stac]'."


@dataclass(frozen=True)
class Failure:
    """What of a STAC file gives no raster: which part of it, and why."""

    where: str
    error: NgcgError


@dataclass(frozen=True)
class Picked:
    """A raster that an item names.

    Attributes:
        path: absolute path, or address without credentials (`raster.signed`).
        item: the item's id.
        catalog: the SOURCE, likewise without credentials.
        acquired: see `Item`.
        revision: what changes when a remote asset does: its checksum, else when the item changed.
    """

    path: str
    item: str
    catalog: str
    acquired: str | None
    revision: str | None


def is_stac(source: str) -> bool | None:
    """Whether a SOURCE that is no folder is STAC, by its name; None for a URL that may be."""
    if source.startswith("/vsi"):
        return False
    web = is_web(source)
    name = (urlsplit(source).path if web or "://" in source else source).lower()
    if name.endswith((*_JSON, *_TABLE)):
        return True
    return None if web and not name.endswith(_RASTERS) else False


def rasters_of(
    source: str,
    asset: str | None,
    named: frozenset[str],
    fetch: bool,
    progress: Progress | None = None,
) -> Iterator[Picked | Failure] | None:
    """The rasters of a STAC file, and what of it gives none, in the order of its links.

    Args:
        source: an item, collection, catalog or collection of items as JSON, or a table of items as
            GeoParquet: an absolute path or a URL.
        asset: which asset of each item; see `items.pick`.
        named: servers that the user named; see `Door`.
        fetch: whether all servers may be asked.
        progress: is told of each document before it is read.

    Returns:
        None where it is no STAC file: another file, or a URL that does not lead to JSON.
    """
    kind = is_stac(source)
    if kind is False:
        return None
    door = Door(source, named, fetch)
    data = None if kind else door.probe(source)
    if not kind and data is None:
        return None
    documents = _walk(source, door, data, progress or Progress())
    return _picked(documents, signed.unsigned(source), asset, door)


def _picked(
    entries: Iterator[Item | Failure], catalog: str, wanted: str | None, door: Door
) -> Iterator[Picked | Failure]:
    for entry in entries:
        if isinstance(entry, Failure):
            yield entry
            continue
        try:
            asset = pick(entry, wanted)
            address = door.asset(entry.base, asset.href)
        except NgcgError as error:
            yield Failure(signed.unsigned(entry.where), error)
            continue
        web = "://" in address  # a file tells by itself whether it has changed
        revision = (asset.checksum or entry.updated) if web else None
        yield Picked(signed.remember(address), entry.id, catalog, entry.acquired, revision)


def _walk(
    root: str, door: Door, data: bytes | None, progress: Progress
) -> Iterator[Item | Failure]:
    """Depth first, in the order of the links."""
    todo = [(root, 0)]
    seen = {signed.unsigned(root)}
    items = documents = 0
    while todo:
        address, depth = todo.pop()
        documents += 1
        progress.at(signed.unsigned(address))
        links: list[str] = []
        try:
            for found in _read(address, door, data):
                if isinstance(found, str):
                    links.append(found)
                    continue
                items += 1
                if items > MAX_ITEMS:
                    break
                yield found
        except NgcgError as error:
            yield Failure(signed.unsigned(address), error)
        data = None
        following = []
        for href in links:
            try:
                if target := _new_target(address, href, depth, seen, door):
                    following.append((target, depth + 1))
            except NgcgError as error:
                yield Failure(signed.unsigned(error.where or address), error)
        todo += reversed(following)
        if items > MAX_ITEMS or documents + len(todo) > MAX_DOCUMENTS:
            what = f"names over {MAX_DOCUMENTS:,} documents or {MAX_ITEMS:,} items"
            yield Failure(root, RasterError(what, where=root, hint="Name a part of it."))
            return
    if documents and not items:
        hint = f"Check the links in {os.path.basename(urlsplit(root).path)}, or name an item."
        yield Failure(root, RasterError("names no item that can be read", where=root, hint=hint))


def _new_target(address: str, href: str, depth: int, seen: set[str], door: Door) -> str | None:
    """Where a document's link leads; None for what is in `seen`, where it is noted.

    Raises:
        RasterError: it may not lead there, or not so deep.
    """
    target = door.link(address, href)
    name = signed.unsigned(target)
    if name in seen:  # a circle, or named twice
        return None
    seen.add(name)
    if depth == MAX_DEPTH:
        raise RasterError(f"lies deeper than {MAX_DEPTH} catalogs", where=name)
    return target


def _read(address: str, door: Door, data: bytes | None) -> Iterator[Item | Failure | str]:
    """What a document holds: items, or the hrefs of further documents."""
    name = urlsplit(address).path if is_web(address) else address
    if name.lower().endswith(_TABLE):
        if "://" in address:
            data = door.read(address)
        else:
            require_plain(address)
        for row in items_of_table(address, data):
            yield row if isinstance(row, Item) else Failure(*row)
        return
    document = _document(address, door.read(address) if data is None else data)
    features = document.get("features")
    if document.get("type") == "FeatureCollection" and isinstance(features, list):
        if features and not any(isinstance(f, dict) and "stac_version" in f for f in features):
            raise _not_stac(address, "GeoJSON")
        for number, feature in enumerate(features):
            try:
                yield _item(feature, address, alone=False)
            except NgcgError as error:
                known = isinstance(feature, dict) and isinstance(feature.get("id"), str)
                which = feature["id"][:200] if known else number
                yield Failure(f"{signed.unsigned(address)}#{which}", error)
        yield from _links(document, ("next",))
    elif _kind(document, address) == "Feature":
        yield _item(document, address, alone=True)
    else:
        links = list(_links(document, ("child", "item")))
        if not links and any(_links(document, ("items", "search"))):
            raise RasterError(
                "is a STAC API, which is not walked",
                where=address,
                hint="Search it, and give the answer: a URL such as .../search?collections=..., or "
                "the items saved as JSON.",
            )
        yield from links


def _document(address: str, data: bytes) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise RasterError(
            f"is no JSON: {error}"[:300], where=address, hint="Check that it is whole."
        ) from None
    if not isinstance(document, dict):
        raise _not_stac(address, "JSON")
    return document


def _kind(document: dict[str, Any], address: str) -> str:
    """`Feature`, `Collection` or `Catalog`."""
    version, kind = document.get("stac_version"), document.get("type")
    if not isinstance(version, str):
        geojson = kind in ("Feature", "FeatureCollection") or "coordinates" in document
        raise _not_stac(address, "GeoJSON" if geojson else "JSON")
    if not _VERSIONS.fullmatch(version):
        raise RasterError(
            f"is STAC of version {version[:20]!r}; versions 0.6 to 1 are read", where=address
        )
    if kind in ("Feature", "Collection", "Catalog"):
        return str(kind)
    if kind is None and not version.startswith("1"):  # it did not tell before 1.0
        return "Collection"
    raise _not_stac(address, f"of type {str(kind)[:40]!r}")


def _not_stac(address: str, what: str) -> RasterError:
    return RasterError(
        f"is {what}, but no STAC item, collection or catalog",
        where=address,
        hint="Give one, or a raster.",
    )


def _item(data: Any, base: str, alone: bool) -> Item:
    """An item by pystac, which brings older versions up to date.

    Raises:
        RasterError: pystac is missing, or it is no item.
    """
    if not isinstance(data, dict) or _kind(data, base) != "Feature":
        raise _not_stac(base, "JSON")
    try:
        import pystac
    except ImportError as error:
        raise RasterError("reading STAC needs pystac", where=base, hint=_INSTALL) from error
    try:
        item = pystac.Item.from_dict(data, preserve_dict=False)
        when = item.common_metadata
        assets = {
            key: {"href": asset.href, "type": asset.media_type, "roles": asset.roles,
                  **asset.extra_fields}
            for key, asset in item.assets.items()
        }  # fmt: skip
        dates = (item.datetime, when.start_datetime, when.end_datetime)
        return made(item.id, base, alone, dates, item.properties.get("updated"), assets)
    except NgcgError:
        raise
    except Exception as error:  # of a document that is no item it may be any
        reason = f"{type(error).__name__}: {error}"
        raise RasterError(f"is no valid STAC item: {reason[:200]}", where=base) from error


def _links(document: dict[str, Any], kinds: tuple[str, ...]) -> Iterator[str]:
    links = document.get("links")
    for link in links if isinstance(links, list) else ():
        if isinstance(link, dict) and link.get("rel") in kinds and link.get("method") != "POST":
            href = link.get("href")
            if isinstance(href, str):
                yield href
