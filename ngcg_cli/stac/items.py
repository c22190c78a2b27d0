"""A STAC item, as far as an index needs it, and which of its assets is indexed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import urlsplit

from ngcg_cli.errors import RasterError

MAX_ID = 500
# What shows the picture at a glance or only tells of it is not what was taken.
_BESIDE = frozenset(("thumbnail", "overview", "metadata", "data-mask", "cloud", "snow-ice"))
_JPEG2000 = ("image/jp2", "image/jpx", "image/jpm", "image/x-jp2")
# Assets that a message names.
_NAMED = 12


@dataclass(frozen=True)
class Asset:
    """A file of an item.

    Attributes:
        media: its media type.
        checksum: `file:checksum`.
    """

    name: str
    href: str
    media: str | None = None
    roles: tuple[str, ...] = ()
    checksum: str | None = None


@dataclass(frozen=True)
class Item:
    """An item.

    Attributes:
        base: absolute path or URL of the document that it stands in; hrefs start from there.
        where: what it is called in messages.
        acquired: `datetime`, or `start_datetime/end_datetime`, ISO 8601.
        updated: when the item was last changed.
    """

    id: str
    base: str
    where: str
    acquired: str | None
    updated: str | None
    assets: tuple[Asset, ...]


def made(
    name: object,
    base: str,
    alone: bool,
    when: tuple[datetime | None, datetime | None, datetime | None],
    updated: object,
    assets: Mapping[str, Mapping[str, Any]],
) -> Item:
    """An item from what a document or a table says.

    Args:
        name: its id.
        base: see `Item`.
        alone: whether it is all of the document.
        when: `datetime`, `start_datetime`, `end_datetime`.
        updated: likewise.
        assets: name to `href`, `type`, `roles`, `file:checksum`.

    Raises:
        RasterError: it makes no sense.
    """
    text = str(name).encode("utf-8", "replace").decode()
    if not text or len(text) > MAX_ID:
        raise RasterError(f"the item {text[:40]!r} has an id of {len(text):,} characters")
    return Item(
        id=text,
        base=base,
        where=base if alone else f"{base}#{text}",
        acquired=_acquired(*when),
        updated=_text(updated),
        assets=tuple(
            Asset(
                str(key),
                str(asset["href"]),
                _text(asset.get("type")),
                tuple(str(role).lower() for role in asset.get("roles") or ()),
                _text(asset.get("file:checksum")),
            )
            for key, asset in assets.items()
            if asset and asset.get("href")
        ),
    )


def pick(item: Item, wanted: str | None) -> Asset:
    """The asset to be indexed.

    Of the GeoTIFFs and JPEG 2000 files: that of the role `visual`, else `data`, else the only one
    there is; a COG before other GeoTIFFs before JPEG 2000.

    Args:
        item: the item.
        wanted: its name, or a pattern with `*` that fits one.

    Raises:
        RasterError: there is none, or several would do.
    """
    return _best(item) if wanted is None else _named(item, wanted)


def _named(item: Item, wanted: str) -> Asset:
    found = [asset for asset in item.assets if asset.name == wanted]
    found = found or [asset for asset in item.assets if fnmatchcase(asset.name, wanted)]
    if len(found) == 1:
        return found[0]
    has = f"{len(found)} assets" if found else "no asset"
    raise RasterError(
        f"has {has} {wanted!r} (it has {_listed(found or item.assets)})",
        hint="Name one with --asset.",
    )


def _best(item: Item) -> Asset:
    ranks = {asset.name: _rank(asset) for asset in item.assets}
    usable = [
        asset
        for asset in item.assets
        if ranks[asset.name] is not None and not _BESIDE & set(asset.roles)
    ]
    if not usable:
        raise RasterError(
            f"has no asset that is a GeoTIFF or JPEG 2000 (it has {_listed(item.assets)})",
            hint="--asset NAME takes another one." if item.assets else "Name another item.",
        )
    best = usable
    for role in ("visual", "data"):
        if group := [asset for asset in usable if role in asset.roles]:
            best = group
            break
    first = min(ranks[asset.name] or 0 for asset in best)
    best = [asset for asset in best if ranks[asset.name] == first]
    if len(best) > 1:
        best = [asset for asset in best if asset.name == "visual"] or best
    if len(best) > 1:
        raise RasterError(
            f"has {len(best)} assets that would do: {_listed(best)}",
            hint="Name one with --asset; a pattern such as '*_0.1_*' may fit those of many items.",
        )
    return best[0]


def _rank(asset: Asset) -> int | None:
    """0 for a COG, 1 for another GeoTIFF, 2 for JPEG 2000, None for anything else."""
    media = (asset.media or "").lower()
    if media.startswith(("image/tiff", "image/vnd.stac.geotiff", "image/geotiff")):
        return 0 if "cloud-optimized" in media else 1
    if media.startswith(_JPEG2000):
        return 2
    suffix = os.path.splitext(urlsplit(asset.href).path)[1].lower()
    return None if media else {".tif": 1, ".tiff": 1, ".jp2": 2}.get(suffix)


def _listed(assets: Iterable[Asset]) -> str:
    names = [asset.name for asset in assets]
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more if names else "none"


def _acquired(at: datetime | None, start: datetime | None, end: datetime | None) -> str | None:
    """A moment; of an interval both ends, or the one that is known."""
    if at is not None:
        return _iso(at)
    if start is not None and end is not None and start != end:
        if _utc(start) > _utc(end):
            raise RasterError(f"it ends, {_iso(end)}, before it starts, {_iso(start)}")
        return f"{_iso(start)}/{_iso(end)}"
    known = start or end
    return None if known is None else _iso(known)


def _iso(moment: datetime) -> str:
    return _utc(moment).isoformat().removesuffix("+00:00") + "Z"


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _text(value: object) -> str | None:
    if value is None or value == "":
        return None
    return str(value).encode("utf-8", "replace").decode()[:MAX_ID]
