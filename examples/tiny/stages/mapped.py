"""Names of mapped features: OpenStreetMap's tagging schema as the iD editor ships it.

npm's `@openstreetmap/id-tagging-schema` (ISC licence), unpacked: `dist/presets.json` says what a
feature is, `dist/translations/en.json` what people call it (name, aliases, search terms).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

# Kinds of features that show from above, or name a part of the ground.
VISIBLE = frozenset({
    "aerialway", "aeroway", "allotments", "amenity", "area", "attraction", "barrier", "bridge",
    "building", "cemetery", "embankment", "ford", "golf", "highway", "historic", "junction",
    "landuse", "leisure", "man_made", "military", "natural", "piste", "pipeline", "place",
    "playground", "power", "public_transport", "railway", "roller_coaster", "seamark", "tourism",
    "waterway",
})  # fmt: skip
# Tags without a meaning of their own, and what is inside a building or on a sign.
_SKIPPED = frozenset({"@templates", "addr", "network", "noexit", "point", "line", "relation"})


class Mapped(NamedTuple):
    """A mapped feature: its key (`leisure/pitch/soccer`), names, and words to search for it."""

    key: str
    names: tuple[str, ...]  # the usual one first
    terms: tuple[str, ...]
    visible: bool


def mapped(osm: Path) -> list[Mapped]:
    """Every feature of the unpacked package in `osm`, in the schema's order.

    Raises FileNotFoundError when the package is not there.
    """
    presets = json.loads((osm / "dist/presets.json").read_text())
    spoken = [_names(osm, language) for language in ("en", "en-GB", "en-AU")]
    out = []
    for key in presets:
        top = key.split("/")[0]
        names = [name for words in spoken for name in _called(words.get(key, {}), "\n")]
        terms = [term for words in spoken for term in _called(words.get(key, {}), ",")]
        if names and top not in _SKIPPED:
            # An indoor or point-like amenity is still a word to know; only templates must be seen.
            seen = top in VISIBLE and "area" in presets[key].get("geometry", [])
            seen = seen or top in {"highway", "railway", "waterway", "power", "man_made", "barrier"}
            # Of amenities the broad ones: a restaurant of each cuisine looks alike from above.
            seen = seen and (top != "amenity" or key.count("/") == 1)
            others = dict.fromkeys(term for term in terms if term not in names)
            out.append(Mapped(key, tuple(dict.fromkeys(names)), tuple(others), seen))
    return out


def options(osm: Path) -> Iterator[str]:
    """What the fields of a feature may say: surfaces, materials, crops, sports, kinds of trees."""
    fields = _language(osm, "en")["fields"]
    for spoken in fields.values():
        for option in spoken.get("options", {}).values():
            text = option.get("title", "") if isinstance(option, dict) else option
            about = option.get("description", "") if isinstance(option, dict) else ""
            for said in (text, about):
                clean = _clean(said)
                if clean and re.search(r"[a-z]{3}", clean):
                    yield clean


def _language(osm: Path, language: str) -> Any:
    text = (osm / f"dist/translations/{language}.json").read_text()
    return json.loads(text)[language]["presets"]


def _names(osm: Path, language: str) -> Any:
    return _language(osm, language)["presets"]


def _called(spoken: dict[str, str], comma: str) -> Iterator[str]:
    """Names (one a line) or search terms (between commas), lower case; of `Grass / Lawn` both."""
    kinds = ("name", "aliases") if comma == "\n" else ("terms",)
    for said in comma.join(spoken.get(kind, "") for kind in kinds).split(comma):
        for part in said.split(" / "):
            clean = _clean(part)
            if len(clean) > 2 and "{" not in clean:
                yield clean


def _clean(text: str) -> str:
    """Lower case, without what stands in brackets."""
    return " ".join(re.sub(r"\(.*?(\)|$)|\)", " ", text).lower().split()).strip(" .")
