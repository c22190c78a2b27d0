"""Why a search found nothing: what the filters ask for, what there is, and a likely slip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from difflib import SequenceMatcher
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from ngcg_cli.plain import harmless
from ngcg_cli.search import SourceRecord, Store
from ngcg_cli.search.extent import Box
from ngcg_cli.search.filters import Filters
from ngcg_cli.search.records import span

# Sources that are named where none is as asked, and those that they are chosen from.
_NAMED = 5
_COMPARED = 10_000


def why_nothing(index: Store, filters: Filters) -> str:
    """One line for a person, after a search of `index` with `filters` came back empty."""
    if not index.tile_count:
        return f"no hit: {index.path} has no tiles"
    asked = {field.name: getattr(filters, field.name) for field in fields(filters)}
    asked = {name: value for name, value in asked.items() if value not in (None, ())}
    told = f"no hit: none of {index.tile_count:,} tiles passes {_options(asked)}"
    if asked.keys() & {"bbox", "near", "areas"} and (box := index.describe()["bbox"]):
        told += f"; the index covers {_box(box)} (W,S,E,N)"
    told += _sources_there_are(index, filters)
    if unknown := undated(index, filters):
        told += f"; {unknown}"
    slip = _swapped(filters)
    if slip and _any(index, replace(filters, **slip)):
        told += f"; {_options(slip)} would match: were latitude and longitude swapped?"
    return told


def _sources_there_are(index: Store, filters: Filters) -> str:
    """What sources there are, or of what dates, where none is as the filters say."""
    sources = index.sources()
    by_name = Filters(source=filters.source)
    named = [source for source in sources if by_name.takes(source)]
    if not named:
        there = _nearest(filters.source or "", sources)
        return f"; sources of the index ({len(sources):,}): {there}"
    if not (filters.after or filters.before) or any(map(filters.takes, named)):
        return ""
    if not (dated := [source.acquired for source in named if source.acquired]):
        return ""
    spans = [span(acquired) for acquired in dated]
    first, last = min(start for start, _ in spans), max(end for _, end in spans)
    known = f"times of acquisition are known of {len(dated):,} of {len(named):,} sources"
    return f"; {known}, {first:%Y-%m-%d} to {last:%Y-%m-%d}"


def _nearest(glob: str, sources: Sequence[SourceRecord]) -> str:
    """A few names of sources, those most like a glob first."""
    names = list(dict.fromkeys(PurePosixPath(source.path).name for source in sources))
    wanted = PurePosixPath(glob).name.lower()

    def unlike(name: str) -> float:
        return -SequenceMatcher(None, wanted, name.lower(), autojunk=False).ratio()

    # Comparing a great many names takes long, and a person reads a few.
    named = sorted(names[:_COMPARED], key=unlike)[:_NAMED]
    more = f" and {len(names) - len(named):,} more" if len(names) > len(named) else ""
    return ", ".join(harmless(name) for name in named) + more


def undated(index: Store, filters: Filters) -> str:
    """Says of how many sources a date cannot know whether it takes them; "" where of none."""
    if not (filters.after or filters.before):
        return ""
    others = replace(filters, after=None, before=None)
    sources = [source for source in index.sources() if others.takes(source)]
    unknown = sum(source.acquired is None for source in sources)
    if not unknown:
        return ""
    return f"{unknown:,} of {len(sources):,} sources are left out: no time of acquisition is known"


def _any(index: Store, filters: Filters) -> bool:
    """Whether any tile passes: what is asked for does not matter then."""
    question = np.zeros((1, index.model.dim), np.float32)
    question[0, 0] = 1
    return any(index.search(question, 1, filters))


def _swapped(filters: Filters) -> dict[str, Any]:
    """The places asked for with latitude and longitude exchanged, where that is a place."""
    slip: dict[str, Any] = {}
    if (near := filters.near) is not None and abs(near[1]) <= 90:
        slip["near"] = (near[1], near[0], near[2])
    if filters.bbox is not None:
        south, west, north, east = filters.bbox
        if -90 <= south <= north <= 90:
            slip["bbox"] = (west, south, east, north)
    if filters.areas:
        import shapely

        west, south, east, north = shapely.total_bounds(list(filters.areas))
        if -90 <= west <= east <= 90:
            slip["areas"] = tuple(
                shapely.transform(area, lambda x, y: (y, x), interleaved=False)
                for area in filters.areas
            )
    return slip


def _options(asked: Mapping[str, Any]) -> str:
    return " ".join(_option(name, value) for name, value in asked.items()) or "the filters"


def _option(name: str, value: Any) -> str:
    if name == "near":
        lat, lon, metres = value
        return f"--near {lat:g},{lon:g} --within {metres:g}"
    if name == "bbox":
        return f"--bbox {_box(value)}"
    return "--area" if name == "areas" else f"--{name} {value}"


def _box(box: Box) -> str:
    return ",".join(f"{edge:.7g}" for edge in box)
