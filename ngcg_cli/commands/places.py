"""Options that name a place, from text to numbers."""

from __future__ import annotations

import math
from typing import TypeAlias

import typer

BoundingBox: TypeAlias = tuple


def parse_bbox(text: str) -> tuple[float, float, float, float]:
    """Reads "W,S,E,N" in degrees; west may be greater than east, across the antimeridian.

    Raises:
        typer.BadParameter: not four numbers, out of range, or south above north.
    """
    west, south, east, north = _numbers(text, "W,S,E,N such as -75,41,-74,42")
    _check_lon(text, west, east)
    _check_lat(text, south, north)
    if south > north:
        raise typer.BadParameter(f"{text!r}: south {south:g} lies above north {north:g}")
    return west, south, east, north


def parse_near(text: str) -> tuple[float, float]:
    """Reads "LAT,LON" in degrees.

    Raises:
        typer.BadParameter: not two numbers, or out of range.
    """
    lat, lon = _numbers(text, "LAT,LON such as 40.7,-74.02")
    _check_lat(text, lat)
    _check_lon(text, lon)
    return lat, lon


def _numbers(text: str, wanted: str) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != wanted.split(" ")[0].count(",") + 1 or not all(map(math.isfinite, numbers)):
        raise typer.BadParameter(f"{text!r} is not {wanted}")
    return numbers


def _check_lat(text: str, *lats: float) -> None:
    for lat in lats:
        if not -90 <= lat <= 90:
            raise typer.BadParameter(f"{text!r}: latitude {lat:g} is not within -90 to 90")


def _check_lon(text: str, *lons: float) -> None:
    for lon in lons:
        if not -180 <= lon <= 180:
            raise typer.BadParameter(f"{text!r}: longitude {lon:g} is not within -180 to 180")
