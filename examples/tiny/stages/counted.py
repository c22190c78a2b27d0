"""Drawn tiles that show two, three, four or five of a thing, each number as often as the others.

In tiles of a town two of a thing are ten times as frequent as five, and most that can be counted
are buildings. Here each kind comes in each number alike, in rows, blocks or scattered, on ground of
its own, among other things. What is true of a tile is told by the same statements.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
from shapely.geometry import Polygon

from examples.town import buildings, land, transport
from examples.town.captions import captions
from examples.town.draw import render
from examples.town.scene import (
    ASPHALT,
    CROP,
    GRASS,
    GRAVEL,
    RGB,
    SAND,
    SOIL,
    WAVES,
    Feature,
    Light,
    Site,
    Window,
    box,
)
from examples.town.statements import truths
from examples.town.things import put, roof_colour
from examples.town.tiles import Tile

#: Seeds that no other drawn tile has start here.
FIRST_SEED = 5_000_000
_NUMBERS = (2, 3, 4, 5)
_CONCRETE: RGB = (172, 168, 160)


class _Kind(NamedTuple):
    """How much room (m) a thing takes, how one is built at (x, y) and an angle, what else is by."""

    room: float
    build: Callable[[Site, float, float, float], object]
    beside: tuple[str, ...] = ()


def car(site: Site, x: float, y: float, angle: float) -> Feature:
    """A car that statements may name."""
    transport.car(site, x, y, angle)
    return site.add(Feature("car", Polygon(box(x, y, 4.4, 1.9, angle))))


def _built(kind: str, least: float, most: float) -> Callable[[Site, float, float, float], object]:
    def build(site: Site, x: float, y: float, angle: float) -> Feature:
        length = float(site.rng.uniform(least, most))
        colour = "grey" if kind == "apartments" else roof_colour(site.rng)
        return buildings.building(site, x, y, length, length * 0.55, angle, colour, kind)

    return build


def _tank(site: Site, x: float, y: float, angle: float) -> Feature:
    colour = "white" if site.rng.random() < 0.75 else "grey"
    return buildings.tank(site, x, y, float(site.rng.uniform(5.5, 8.5)), colour)


def _pond(site: Site, x: float, y: float, angle: float) -> Feature:
    r = float(site.rng.uniform(8, 13))
    return land.pond(site, x, y, r, r * 0.75, str(site.rng.choice(["blue", "green"])))


_GARDEN = ("house", "pool", "tennis", "pond", "woods")
_YARD = ("warehouse", "car_park", "house", "pond")
KINDS = {
    "boat": _Kind(15, lambda s, x, y, a: land.boat(s, x, y, a, float(s.rng.uniform(8, 13)))),
    "plane": _Kind(29, lambda s, x, y, a: transport.plane(s, x, y, a, float(s.rng.uniform(17, 26))),
                   ("building", "warehouse")),
    "tank": _Kind(24, _tank, _YARD),
    "tennis": _Kind(40, lambda s, x, y, a: land.tennis(
        s, x, y, a, 1, str(s.rng.choice(["green", "blue", "red"]))), _GARDEN),
    "greenhouse": _Kind(32, lambda s, x, y, a: buildings.greenhouses(s, x, y, 1, a, 27), _YARD),
    "pool": _Kind(15, lambda s, x, y, a: buildings.pool(s, x, y, a, 9.5, 5.0), ("house", "tennis")),
    "house": _Kind(25, lambda s, x, y, a: buildings.house(s, x, y, a, roof_colour(s.rng)),
                   ("pool", "pond", "tennis", "car_park")),
    "building": _Kind(36, _built("building", 22, 31), ("pond", "car_park", "tennis")),
    "warehouse": _Kind(48, _built("warehouse", 32, 42), ("pond", "car_park", "tank")),
    "apartments": _Kind(46, _built("apartments", 28, 38), ("pond", "car_park", "pool")),
    "pond": _Kind(33, _pond, ("house", "tennis", "woods")),
    "car": _Kind(7.5, car),
}  # fmt: skip


def make_counted(seed: int, size: int = 150) -> Tile:
    """Draw the tile of `seed`, `size` pixels a side: a number of one kind of thing, and others."""
    rng = np.random.default_rng([seed, 41])
    names = tuple(KINDS)
    name = names[seed % len(names)]
    count = _NUMBERS[seed // len(names) % len(_NUMBERS)]
    kind = KINDS[name]
    width = kind.room * float(rng.uniform(3.3, 6.5))
    site = Site(rng)
    site.ground = _ground(site, name)
    turn = float(rng.uniform(0, np.pi))
    placed = 0
    for x, y in _spots(rng, count, kind.room, width):
        angle = turn + float(rng.normal(0, 0.06 if rng.random() < 0.7 else 1.0))
        placed += site.attempt(partial(kind.build, site, x, y, angle))
        if placed == count:
            break
    for _ in range(int(rng.integers(0, 3)) if kind.beside else 0):
        slot = float(rng.uniform(0.25, 0.45)) * width
        x, y = (float(v) for v in rng.uniform(-(width - slot) / 2, (width - slot) / 2, 2))
        put(site, x, y, slot, only=kind.beside)
    if site.ground[1] in (GRASS, SOIL) and rng.random() < 0.5:
        land.scatter_trees(site, Polygon(box(0, 0, width, width)), int(rng.integers(2, 14)))
    scene = site.scene(float(rng.uniform(0, 2 * np.pi)))
    window = Window.around(0, 0, width)
    said = captions(truths(scene, window), rng, 4)
    image = render(scene, window, width / size, Light.draw(rng), seed)
    return Tile(image, said, "counted", scene, window, width / size)


def _ground(site: Site, name: str) -> tuple[RGB, int]:
    if name == "boat":
        colour = str(site.rng.choice(["blue", "green"]))
        return land.water_colour(site, colour), WAVES
    concrete, asphalt = (site.jitter(_CONCRETE, 8), GRAVEL), (site.asphalt, ASPHALT)
    grass, soil = (site.grass, GRASS), (site.soil, SOIL)
    options = {
        "plane": [concrete, concrete, asphalt, grass],
        "car": [asphalt, asphalt, concrete, grass, soil],
        "tank": [concrete, soil, grass],
    }.get(name, [grass, grass, soil, concrete, (site.jitter((204, 184, 148)), SAND),
                 (site.jitter((112, 140, 82)), CROP)])  # fmt: skip
    return options[int(site.rng.integers(len(options)))]


def _spots(rng: np.random.Generator, count: int, room: float, width: float) -> np.ndarray:
    """Places (N, 2) in the order in which they are tried; more than `count` of them."""
    reach = (width - room) / 2
    way = rng.random()
    if way < 0.35 and (count - 1) * room <= 2 * reach:  # a row
        pitch = float(rng.uniform(room, min(1.5 * room, 2 * reach / (count - 1))))
        along = (np.arange(count) - (count - 1) / 2) * pitch
        first = np.stack([along, np.full(count, rng.uniform(-reach, reach) * 0.8)], 1)
    elif way < 0.6:  # a block
        side = int(np.ceil(np.sqrt(count)))
        pitch = float(rng.uniform(room, 1.3 * room))
        cells = np.array([(i % side, i // side) for i in range(count)], float)
        first = (cells - cells.mean(0)) * pitch
    else:
        first = np.empty((0, 2))
    return np.concatenate([first, rng.uniform(-reach, reach, (40, 2))])
