"""What the tests of STAC share: documents, and what is found in them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ngcg_cli.journeys.finding import Choice, Found, find

COG = "image/tiff; application=geotiff; profile=cloud-optimized"


def asset(href: str, media: str | None = COG, *roles: str, **more: Any) -> dict[str, Any]:
    told = {"href": href, "type": media, "roles": list(roles), **more}
    return {name: value for name, value in told.items() if value}


def item(name: str, when: str | None = "2024-05-17T10:30:00Z", **assets: Any) -> dict[str, Any]:
    """An item without a place, which it may be; `properties` among the assets are its own."""
    properties = {"datetime": when, **assets.pop("properties", {})}
    return {
        "type": "Feature", "stac_version": "1.0.0", "id": name, "geometry": None,
        "properties": properties, "links": [], "assets": assets,
    }  # fmt: skip


def catalog(name: str, *links: str, **more: Any) -> dict[str, Any]:
    return {
        "type": "Catalog", "stac_version": "1.0.0", "id": name, "description": "of a test",
        "links": [{"rel": "item" if "item" in href else "child", "href": href} for href in links],
        **more,
    }  # fmt: skip


def put(path: Path, document: Any) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return str(path)


def found(*sources: str, known: Any = None, **choice: Any) -> Found:
    return find(list(sources), known or {}, Choice(**choice))


def reasons(*sources: str, **choice: Any) -> dict[str, str]:
    return {name: str(error) for name, error in found(*sources, **choice).failed.items()}


def reason(*sources: str, **choice: Any) -> str:
    (told,) = reasons(*sources, **choice).values()
    return told
