"""Pairs of tiles that differ in one attribute only: does a model tell red from blue?

Both tiles of a pair are drawn from the same random numbers under the same light; the captions use
the same phrasing, so only the attribute tells them apart.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from shapely.geometry import Point

from examples.town import buildings, land, transport
from examples.town.captions import Speaker
from examples.town.draw import render
from examples.town.scene import Light, Site, Window

UP = np.pi / 2


class Contrast(NamedTuple):
    """Two builders' arguments and the statements that tell them apart."""

    attribute: str
    build: Callable[[Site, str], None]
    values: tuple[str, str]
    keys: tuple[str, str]


def _roof(kind: str) -> Callable[[Site, str], None]:
    def build(site: Site, colour: str) -> None:
        rng = site.rng
        transport.road(site, [(-150, -34), (150, -34)], 8.0, traffic=0)
        x, y, angle = float(rng.uniform(-14, 14)), float(rng.uniform(-2, 14)), rng.normal(0, 0.3)
        if kind == "house":
            buildings.house(site, x, y, angle, colour)
        else:
            buildings.building(site, x, y, 34, 20, angle, colour, kind)

    return build


def _boats(site: Site, count: str) -> None:
    land.basin(site, np.array([(-40, -20), (40, -20), (40, 60), (-40, 60)], float))
    land.jetty(site, (0, -20), (0, 28))
    for k in range(int(count)):
        side = 1 if k % 2 else -1
        land.boat(site, side * 8.0, -10 + (k // 2) * 11.0, 0.0 if side > 0 else np.pi, 12.0)


def _tanks(site: Site, count: str) -> None:
    transport.road(site, [(-150, -38), (150, -38)], 8.0, traffic=0)
    for k in range(int(count)):
        buildings.tank(site, -16 + 32 * (k % 2), -8 + 30 * (k // 2), 10)


def _planes(site: Site, count: str) -> None:
    transport.apron(site, 0, 0, 110, 40, 0.0)
    for k in range(int(count)):
        transport.plane(site, -36 + 24 * k, 0, UP, 20)


def _side_of_road(site: Site, where: str) -> None:
    transport.road(site, [(0, -150), (0, 150)], 9.0, traffic=0)
    x, y = (-26 if where == "left" else 26), float(site.rng.uniform(-22, 22))
    buildings.house(site, x, y, float(site.rng.normal(0, 0.2)), "red")


def _above_road(site: Site, where: str) -> None:
    transport.road(site, [(-150, 0), (150, 0)], 9.0, traffic=0)
    x, y = float(site.rng.uniform(-22, 22)), (-26 if where == "south" else 26)
    land.pond(site, x, y, 13, 10)


def _parking(site: Site, fill: str) -> None:
    buildings.building(site, 0, 30, 60, 20, 0.0, "white", "warehouse")
    transport.car_park(site, 0, -12, 70, 34, 0.0, fill)


def _field(site: Site, colour: str) -> None:
    land.crop(site, np.array([(-150, -150), (150, -150), (150, 150), (-150, 150)], float), colour,
              float(site.rng.uniform(0, 3)))  # fmt: skip
    buildings.house(site, float(site.rng.uniform(-30, 30)), 20, 0.3, "grey")


def contrast_of(seed: int) -> Contrast:
    """What the pair of `seed` is about."""
    rng = np.random.default_rng([seed, 1])
    kind = str(rng.choice(["roof", "roof", "count", "count", "side", "above", "fill", "field"]))
    if kind == "roof":
        thing = str(rng.choice(["house", "building", "warehouse"]))
        a, b = (str(c) for c in rng.choice(["red", "blue", "white", "grey"], 2, replace=False))
        keys = (f"count|{thing}|{a}|1", f"count|{thing}|{b}|1")
        return Contrast("roof colour", _roof(thing), (a, b), keys)
    if kind == "count":
        build, word, most = [(_boats, "moored", 4), (_tanks, "count|tank|", 4),
                             (_planes, "parked", 4)][int(rng.integers(3))]  # fmt: skip
        n = int(rng.integers(2, most))
        a, b = (str(v) for v in rng.permutation([n, n + 1]))
        return Contrast("count", build, (a, b), (f"{word}|{a}", f"{word}|{b}"))
    options: dict[str, Contrast] = {
        "side": Contrast("side", _side_of_road, ("left", "right"),
                         ("side|house|red|road||left", "side|house|red|road||right")),
        "above": Contrast("side", _above_road, ("north", "south"),
                          ("side|pond||road||north", "side|pond||road||south")),
        "fill": Contrast("fill", _parking, ("full", "empty"),
                         ("fill|car_park|full", "fill|car_park|empty")),
        "field": Contrast("field colour", _field, ("green", "yellow"),
                          ("cover|field|green", "cover|field|yellow")),
    }  # fmt: skip
    return options[kind]


def draw_pair(seed: int, size_px: int = 150, width: float = 112.0
              ) -> tuple[np.ndarray, str, np.ndarray, str, str]:  # fmt: skip
    """Two tiles (size_px, size_px, 3) uint8 of `width` metres that differ in one attribute.

    Returns (tile_a, caption_a, tile_b, caption_b, attribute); each caption is true of its own tile
    and false of the other.
    """
    contrast = contrast_of(seed)
    tiles, texts = [], []
    for value, key in zip(contrast.values, contrast.keys, strict=True):
        site = pair_site(seed, contrast, value)
        light = Light.draw(np.random.default_rng([seed, 2]))
        window = Window.around(0, 0, width)
        tiles.append(render(site.scene(), window, width / size_px, light, seed))
        texts.append(Speaker(np.random.default_rng([seed, 3])).say(key))
    return tiles[0], texts[0], tiles[1], texts[1], contrast.attribute


def pair_site(seed: int, contrast: Contrast, value: str) -> Site:
    """The scene of one side of a pair; trees stand where no side of the pair needs room."""
    site = Site(np.random.default_rng([seed, 4]))
    contrast.build(site, value)
    # Trees far out, from numbers of their own: the same in both tiles.
    site.rng = np.random.default_rng([seed, 5])
    ring = Point(0, 0).buffer(80).difference(Point(0, 0).buffer(50))
    land.scatter_trees(site, ring, 20)
    return site
