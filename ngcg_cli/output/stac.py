"""The description of an index as a STAC collection, for catalogs and their clients."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from ngcg_cli import __version__
from ngcg_cli.search.milvus.name import is_milvus
from ngcg_cli.search.records import span

VERSION = "1.1.0"
_MEDIA = {".tif": "image/tiff; application=geotiff", ".tiff": "image/tiff; application=geotiff",
          ".jp2": "image/jp2", ".png": "image/png", ".jpg": "image/jpeg"}  # fmt: skip


def collection(report: Mapping[str, Any]) -> dict[str, Any]:
    """A STAC collection (version 1.1) of the index that `Store.describe` tells of.

    Its extent is that of the tiles: the whole first, then that of each source. A link
    `derived_from` leads to each source; one that a STAC item names has the item's id as its title.
    Without tiles the extent is the globe, as a collection must have one.
    """
    sources = report["sources"]
    boxes = [list(source["bbox"]) for source in sources if source["bbox"]]
    whole = [list(report["bbox"])] if report["bbox"] else [[-180.0, -90.0, 180.0, 90.0]]
    place = str(report["index"])
    name = os.path.basename(place.rstrip("/\\")) or place
    described: dict[str, Any] = {
        "type": "Collection",
        "stac_version": VERSION,
        "id": re.sub(r"[^\w.-]+", "-", name).strip("-") or "ngcg-index",
        "title": name,
        "description": f"{report['tiles']:,} tiles of {_rasters(len(sources))}, to be searched by "
        f"description with ngcg and the model {report['model']}.",
        "license": "other",
        "providers": [
            {"name": "ngcg", "description": f"ngcg {__version__}", "roles": ["processor"]}
        ],
        "extent": {
            "spatial": {"bbox": whole + (boxes if len(boxes) > 1 else [])},
            "temporal": {"interval": [_interval(source["acquired"] for source in sources)]},
        },
        "summaries": _summaries(report),
        "links": [_link(source) for source in sources],
    }
    if not is_milvus(place):
        described["assets"] = {
            "tiles": {
                "href": os.path.join(os.path.abspath(place), "tiles"),
                "title": "The tiles: a folder of GeoParquet",
                "type": "application/vnd.apache.parquet",
                "roles": ["data"],
            }
        }
    return described


def _rasters(count: int) -> str:
    return "1 raster" if count == 1 else f"{count:,} rasters"


def _summaries(report: Mapping[str, Any]) -> dict[str, Any]:
    sources = report["sources"]
    sizes = [source["gsd"] for source in sources if source["gsd"]]
    found: dict[str, Any] = {
        "ngcg:model": [report["model"]],
        "ngcg:fingerprint": [report["fingerprint"]],
        "ngcg:dimensions": [report["dim"]],
        "ngcg:precision": [report["precision"]],
    }
    if sizes:
        found["gsd"] = {"minimum": min(sizes), "maximum": max(sizes)}
    if sources:
        found["ngcg:tile"] = sorted({source["tile"] for source in sources})
    return found


def _link(source: Mapping[str, Any]) -> dict[str, Any]:
    path = source["path"]
    link = {"rel": "derived_from", "href": path, "title": source["item"] or os.path.basename(path)}
    media = _MEDIA.get(os.path.splitext(path)[1].lower())
    if media:
        link["type"] = media
    return {**link, "ngcg:tiles": source["tiles"], "ngcg:acquired": source["acquired"]}


def _interval(acquired: Iterable[str | None]) -> list[str | None]:
    """From the first to the last of the moments that are known."""
    spans = [span(text) for text in acquired if text is not None]
    if not spans:
        return [None, None]
    return [_iso(min(first for first, _ in spans)), _iso(max(last for _, last in spans))]


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
