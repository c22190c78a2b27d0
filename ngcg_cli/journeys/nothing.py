"""Why a search found nothing: what the filters ask for, what there is, and a likely slip."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import numpy as np

from ngcg_cli.search import Store
from ngcg_cli.search.extent import Box
from ngcg_cli.search.filters import Filters


def why_nothing(index: Store, filters: Filters) -> str:
    """One line for a person, after a search of `index` with `filters` came back empty."""
    if not index.tile_count:
        return f"no hit: {index.path} has no tiles"
    asked = {field.name: getattr(filters, field.name) for field in fields(filters)}
    asked = {name: value for name, value in asked.items() if value not in (None, ())}
    told = f"no hit: none of {index.tile_count:,} tiles passes {_options(asked)}"
    if asked.keys() & {"bbox", "near", "areas"} and (box := index.describe()["bbox"]):
        told += f"; the index covers {_box(box)} (W,S,E,N)"
    if unknown := undated(index, filters):
        told += f"; {unknown}"
    slip = _swapped(filters)
    if slip and _any(index, replace(filters, **slip)):
        told += f"; {_options(slip)} would match: were latitude and longitude swapped?"
    return told


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
    """`near` and `bbox` with latitude and longitude the other way round, where that is a place."""
    slip: dict[str, Any] = {}
    if (near := filters.near) is not None and abs(near[1]) <= 90:
        slip["near"] = (near[1], near[0], near[2])
    if filters.bbox is not None:
        south, west, north, east = filters.bbox
        if -90 <= south <= north <= 90:
            slip["bbox"] = (west, south, east, north)
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
