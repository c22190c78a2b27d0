"""Rings of points on the Earth to boxes and polygons, cut at the antimeridian (RFC 7946, 3.1.9)."""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray

Floats = NDArray[np.float64]

POLE = 90 - 1e-9


def wrapped(degrees: Floats) -> Floats:
    """Longitudes or their differences, brought into [-180, 180)."""
    with np.errstate(invalid="ignore"):
        return (degrees + 180) % 360 - 180


def outlines_of(lon: Floats, lat: Floats, poles: bool) -> tuple[Floats, NDArray]:
    """Boxes (n, 4) and outlines (n,) of rings (n, vertices) that are not closed yet.

    `poles` tells that the longitude of a vertex at a pole means nothing.
    """
    steps = wrapped(np.roll(lon, -1, axis=1) - lon)
    continuous = lon[:, :1] + np.cumsum(steps, axis=1) - steps
    middle = (continuous.min(axis=1) + continuous.max(axis=1)) / 2
    continuous += (wrapped(middle) - middle)[:, None]
    west, east = continuous.min(axis=1), continuous.max(axis=1)
    bbox = np.stack([west, lat.min(axis=1), east, lat.max(axis=1)], axis=1)

    eps = 1e-9
    at_pole = (np.abs(lat) > POLE).any(axis=1) & poles
    round_pole = np.abs(steps.sum(axis=1)) > 180
    crossing = (west < -180 - eps) | (east > 180 + eps)
    special = at_pole | round_pole | crossing

    clipped = np.clip(continuous, -180, 180)
    bbox[~special] = np.clip(bbox[~special], [-180, -90, -180, -90], [180, 90, 180, 90])
    outlines = np.empty(len(lon), object)
    if not special.all():
        ring = np.stack([clipped, lat], axis=-1)[~special]
        # Counterclockwise from above, whichever way the transform turns.
        x, y = ring[..., 0], ring[..., 1]
        area = (x * np.roll(y, -1, axis=1) - np.roll(x, -1, axis=1) * y).sum(axis=1)
        ring[area < 0] = ring[area < 0, ::-1]
        outlines[~special] = shapely.polygons(np.concatenate([ring, ring[:, :1]], axis=1))
    for at in np.flatnonzero(special):
        bbox[at], outlines[at] = _special_outline(lon[at], lat[at], poles)
    broken = ~shapely.is_valid(outlines)
    outlines[broken] = [_repaired(outline) for outline in outlines[broken]]
    return bbox, outlines


def _special_outline(lon: Floats, lat: Floats, poles: bool) -> tuple[Floats, shapely.Geometry]:
    """Box and outline of one ring that meets a pole or crosses the antimeridian."""
    pole = (np.abs(lat) > POLE) & poles
    if pole.any():
        # A vertex at a pole becomes two, on the meridians of its neighbours.
        before, after = np.roll(lon, 1), np.roll(lon, -1)
        repeat = np.where(pole, 2, 1)
        last = np.cumsum(repeat) - 1
        lon, lat = np.repeat(lon, repeat), np.repeat(lat, repeat)
        lon[last[pole] - 1], lon[last[pole]] = before[pole], after[pole]
    steps = wrapped(np.roll(lon, -1) - lon)
    if pole.any():
        # The way along the pole closes the ring: half a turn there could go either way.
        along = last[np.flatnonzero(pole)[0]] - 1
        steps[along] -= steps.sum()
    x = lon[0] + np.concatenate([[0.0], np.cumsum(steps)])
    y = np.append(lat, lat[0])
    if abs(x[-1] - x[0]) > 180:
        # The ring goes round a pole: up to it and back along the meridian it began on.
        top = np.copysign(90.0, y[np.argmax(np.abs(y))])
        x = np.concatenate([x, [x[-1], x[0], x[0]]])
        y = np.concatenate([y, [top, top, y[0]]])
    middle = (x.min() + x.max()) / 2
    x = x + (wrapped(middle) - middle)
    west, east, south, north = x.min(), x.max(), y.min(), y.max()
    whole = _repaired(shapely.Polygon(np.stack([x, y], axis=1)))
    pieces = [
        shapely.transform(
            shapely.intersection(whole, shapely.box(-180 + turn, -90, 180 + turn, 90)),
            lambda points, turn=turn: points - [turn, 0],
        )
        for turn in (-360, 0, 360)
    ]
    # Rounded to a tenth of a millimetre, so that pieces join that were turned by 360 degrees.
    outline = _repaired(shapely.union_all(pieces, grid_size=1e-9))
    if east - west >= 360 - 1e-9:
        west, east = -180.0, 180.0
    # At 180 exactly, -180 and 180 are one meridian: take the one on the window's own side.
    west = west + 360 if west < -180 else west
    east = east - 360 if east > 180 else east
    return np.array([west, south, east, north]), outline


def _repaired(outline: shapely.Geometry) -> shapely.Geometry:
    """The areas of `outline`, valid and counterclockwise."""
    parts = shapely.get_parts(shapely.make_valid(outline))
    areas = [
        shapely.geometry.polygon.orient(area)
        for part in parts
        for area in shapely.get_parts(part)
        if area.geom_type == "Polygon" and area.area > 0
    ]
    return areas[0] if len(areas) == 1 else shapely.MultiPolygon(areas)
