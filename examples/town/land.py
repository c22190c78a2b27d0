"""Water, fields, trees and sports grounds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import shapely
from shapely.geometry import LineString, Polygon
from shapely.geometry.base import BaseGeometry

from examples.town.scene import (
    AREA,
    CANOPY,
    CROP,
    CROWN,
    DECK,
    DETAIL,
    EDGE,
    GRASS,
    GRAVEL,
    MARK,
    OBJECT,
    PAVED,
    PLAIN,
    RGB,
    SAND,
    SOIL,
    TREE,
    WATER,
    WAVES,
    Feature,
    Site,
    blob,
    box,
    clip,
    place,
    scale,
)  # fmt: skip

WATERS: dict[str, list[RGB]] = {
    "blue": [(52, 92, 124), (60, 104, 140), (44, 80, 112)],
    "green": [(54, 84, 76), (70, 104, 92), (48, 76, 70)],
}
Strokes = list[list[tuple[float, float]]]
FIELDS: dict[str, list[RGB]] = {
    "green": [(92, 132, 66), (108, 146, 76), (82, 118, 60)],
    "yellow": [(206, 190, 106), (214, 198, 92), (196, 180, 112)],
    "brown": [(140, 110, 82), (124, 98, 74), (152, 122, 94)],
}


def water_colour(site: Site, colour: str) -> RGB:
    """A shade of water."""
    shades = WATERS[colour]
    return site.jitter(shades[int(site.rng.integers(len(shades)))], 5)


def tree(site: Site, x: float, y: float, radius: float | None = None) -> None:
    """One crown: a dark rim, a body and a lit side, with a shadow."""
    rng = site.rng
    r = radius or float(rng.uniform(2.0, 4.2))
    rgb = site.jitter(site.tree, 9)
    site.disc(x, y, r, scale(rgb, 0.84), TREE, CROWN, r * 1.5)
    for _ in range(2):
        a, d = rng.uniform(0, 6.28), r * 0.4
        site.disc(x + d * np.cos(a), y + d * np.sin(a), r * 0.55,
                  scale(rgb, float(rng.uniform(0.95, 1.25))), TREE, CROWN)  # fmt: skip


def scatter_trees(site: Site, area: BaseGeometry, count: int, clearance: float = 2.5) -> None:
    """Up to `count` trees within `area` that stand clear of every feature already there."""
    if count <= 0:
        return
    rng = site.rng
    x0, y0, x1, y1 = area.bounds
    xs, ys = rng.uniform(x0, x1, count), rng.uniform(y0, y1, count)
    keep = shapely.contains_xy(area, xs, ys)
    for feat in site.features:
        if feat.kind != "grassland":
            geom = feat.geom.buffer(clearance, quad_segs=2)
            shapely.prepare(geom)
            keep &= ~shapely.contains_xy(geom, xs, ys)
    for x, y in zip(xs[keep], ys[keep], strict=True):
        tree(site, float(x), float(y))


def woods(site: Site, outline: np.ndarray | Polygon, edge: bool = True) -> Feature:
    """A wood: canopy relief inside, single crowns along its edge."""
    plan = outline if isinstance(outline, Polygon) else Polygon(outline)
    rgb = site.jitter(site.tree, 5)
    site.poly(plan, rgb, TREE - 1, CANOPY, 4.0)
    if edge:
        ring = plan.exterior
        for at in np.arange(0, ring.length, 6.5):
            p = ring.interpolate(at + float(site.rng.uniform(-2, 2)))
            r = float(site.rng.uniform(2.6, 4.6))
            site.disc(p.x, p.y, r, site.jitter(rgb, 5), TREE - 1, CANOPY, 5.0)
    return site.add(Feature("woods", plan))


def orchard(site: Site, x: float, y: float, length: float, width: float, angle: float) -> Feature:
    """Trees planted in rows."""
    ground = scale(site.grass, 1.06)
    site.poly(box(x, y, length, width, angle), ground, AREA, GRASS)
    rgb = site.tree
    for v in np.arange(-width / 2 + 4, width / 2 - 2, 8.0):
        for u in np.arange(-length / 2 + 4, length / 2 - 2, 7.0):
            px, py = place([(u + site.rng.normal(0, 0.3), v)], x, y, angle)[0]
            r = float(site.rng.uniform(2.1, 2.7))
            site.disc(px, py, r, site.jitter(rgb, 6), TREE, CROWN, 3.2)
    return site.add(Feature("orchard", Polygon(box(x, y, length, width, angle))))


def crop(site: Site, outline: np.ndarray, colour: str, angle: float) -> Feature:
    """A field of `colour` with crop rows running along `angle`."""
    plan = Polygon(outline)
    shades = FIELDS[colour]
    rgb = site.jitter(shades[int(site.rng.integers(len(shades)))], 5)
    material = SOIL if colour == "brown" else CROP
    site.poly(plan, rgb, AREA, material)
    x0, y0, x1, y1 = plan.bounds
    reach = float(np.hypot(x1 - x0, y1 - y0)) / 2
    cx, cy = (x0 + x1) / 2, (y0 + y1) / 2
    pitch = float(site.rng.uniform(3.5, 7.5))
    depth = float(site.rng.uniform(0.88, 0.95))
    for k in np.arange(-reach, reach, pitch):
        row = LineString(place([(-reach, k), (reach, k)], cx, cy, angle)).intersection(plan)
        for part in getattr(row, "geoms", [row]):
            if part.geom_type == "LineString" and not part.is_empty:
                site.line(np.asarray(part.coords), pitch * 0.42, scale(rgb, depth), AREA, material)
    ring = np.asarray(plan.exterior.coords)
    site.line(ring, 1.4, scale(site.grass, 0.9), AREA, GRASS)
    return site.add(Feature("field", plan, colour))


def pond(site: Site, x: float, y: float, rx: float, ry: float, colour: str = "blue",
         kind: str = "pond") -> Feature:  # fmt: skip
    """A pond or lake with a soft bank."""
    xy = blob(site.rng, x, y, rx, ry, 0.14)
    plan = Polygon(xy).buffer(0)
    rgb = water_colour(site, colour)
    bank = clip(np.add(site.soil, np.multiply(site.grass, 1.6)) / 2.7)
    site.poly(plan.buffer(1.5), bank, EDGE - 1, GRASS)
    site.poly(plan, scale(rgb, 1.1), WATER, WAVES)
    inner = plan.buffer(-min(rx, ry) * 0.25)
    if inner.geom_type == "Polygon" and not inner.is_empty:
        site.poly(inner, rgb, WATER, WAVES)
    return site.add(Feature(kind, plan, colour))


def river(site: Site, points: np.ndarray, width: float, colour: str = "green") -> Feature:
    """A river along `points`, its banks a little uneven."""
    axis = np.asarray(points, float)
    line = LineString(axis)
    rgb = water_colour(site, colour)
    plan = line.buffer(width / 2, cap_style="flat")
    bank = clip(np.add(site.soil, np.multiply(site.grass, 1.6)) / 2.7)
    site.poly(line.buffer(width / 2 + 2.5, cap_style="flat"), bank, AREA, GRASS)
    site.poly(plan, scale(rgb, 1.07), WATER, WAVES)
    site.poly(line.buffer(width * 0.3, cap_style="flat"), rgb, WATER, WAVES)
    return site.add(Feature("river", plan, colour, {}, axis))


def boat(site: Site, x: float, y: float, angle: float, length: float = 10.0, kind: str = "boat"
         ) -> Feature:  # fmt: skip
    """A white boat, bow along `angle`."""
    s, b = length / 2, length * 0.16
    hull = [(s, 0), (s * 0.45, b), (-s, b * 0.85), (-s, -b * 0.85), (s * 0.45, -b)]
    rgb = site.jitter((236, 236, 234), 4)
    xy = place(hull, x, y, angle)
    site.poly(xy, rgb, OBJECT, PLAIN, 1.5)
    cx, cy = place([(-s * 0.25, 0)], x, y, angle)[0]
    tint = [(176, 130, 88), (90, 120, 160), (196, 196, 198)][int(site.rng.integers(3))]
    site.poly(box(cx, cy, length * 0.42, b * 1.1, angle), site.jitter(tint, 5), DETAIL)
    return site.add(Feature(kind, Polygon(xy), "white"))


def jetty(site: Site, a: Sequence[float], b: Sequence[float], width: float = 2.4) -> Feature:
    """A wooden jetty from `a` to `b`."""
    axis = np.array([a, b], float)
    site.line(axis, width, site.jitter((166, 150, 128), 4), DECK, GRAVEL, 1.2)
    return site.add(Feature("jetty", LineString(axis).buffer(width / 2, cap_style="flat"), None,
                            {}, axis))  # fmt: skip


def basin(site: Site, outline: np.ndarray, colour: str = "blue") -> Feature:
    """A harbour basin with a quay around it."""
    plan = Polygon(outline)
    site.poly(plan.buffer(5, join_style="mitre"), (182, 178, 168), EDGE - 2, GRAVEL)
    site.poly(plan, water_colour(site, colour), WATER, WAVES)
    return site.add(Feature("harbour", plan))


def beach(site: Site, outline: np.ndarray) -> Feature:
    """Sand."""
    plan = Polygon(outline).buffer(0)
    site.poly(plan, site.jitter((218, 200, 164), 4), AREA, SAND)
    return site.add(Feature("beach", plan))


def bare(site: Site, outline: np.ndarray) -> Feature:
    """Bare ground with wheel tracks."""
    plan = Polygon(outline)
    site.poly(plan, site.soil, AREA, SOIL)
    x0, y0, x1, y1 = plan.bounds
    for _ in range(3):
        a = site.rng.uniform((x0, y0), (x1, y1))
        b = site.rng.uniform((x0, y0), (x1, y1))
        row = LineString([a, b]).intersection(plan)
        if row.geom_type == "LineString" and not row.is_empty:
            site.line(np.asarray(row.coords), 1.2, scale(site.soil, 1.08), AREA, SOIL)
    return site.add(Feature("bareland", plan))


def _lines(site: Site, x: float, y: float, angle: float, strokes: Strokes, width: float = 0.35
           ) -> None:  # fmt: skip
    for stroke in strokes:
        site.line(place(stroke, x, y, angle), width, (236, 236, 230), MARK)


def _ring(length: float, width: float) -> list[tuple[float, float]]:
    a, b = length / 2, width / 2
    return [(-a, -b), (a, -b), (a, b), (-a, b), (-a, -b)]


def football(site: Site, x: float, y: float, angle: float, length: float = 78.0,
             width: float = 50.0) -> Feature:  # fmt: skip
    """A football pitch: mown stripes, lines, centre circle and penalty areas."""
    rgb = site.jitter((86, 132, 66), 6)
    site.poly(box(x, y, length + 8, width + 8, angle), scale(rgb, 0.95), PAVED, GRASS)
    n = 10
    for k in range(n):
        cx, cy = place([((k + 0.5) / n * length - length / 2, 0)], x, y, angle)[0]
        tone = 1.06 if k % 2 else 0.96
        site.poly(box(cx, cy, length / n, width, angle), scale(rgb, tone), PAVED, GRASS)
    t = np.linspace(0, 2 * np.pi, 25)
    circle = [(float(np.cos(a)) * width * 0.14, float(np.sin(a)) * width * 0.14) for a in t]
    boxes: list[list[tuple[float, float]]] = []
    for s in (-1.0, 1.0):
        e, d, h = s * length / 2, s * (length / 2 - length * 0.155), width * 0.29
        boxes.append([(e, -h), (d, -h), (d, h), (e, h)])
    strokes: Strokes = [_ring(length, width), [(0, -width / 2), (0, width / 2)], circle, *boxes]
    _lines(site, x, y, angle, strokes, 0.5)
    return site.add(Feature("football", Polygon(box(x, y, length, width, angle))))


def track_field(site: Site, x: float, y: float, angle: float, size: float = 1.0) -> Feature:
    """A running track (red oval) around a football pitch."""
    half, r = 34 * size, 33 * size
    core = LineString(place([(-half, 0), (half, 0)], x, y, angle))
    rgb = site.jitter((172, 88, 70), 5)
    site.poly(core.buffer(r), rgb, EDGE, GRAVEL)
    for k in range(1, 5):
        ring = core.buffer(r - 1.6 * size * k).exterior
        site.line(np.asarray(ring.coords), 0.25, (214, 176, 164), EDGE)
    site.poly(core.buffer(r - 8 * size), scale(site.grass, 0.95), EDGE, GRASS)
    football(site, x, y, angle, 66 * size, 42 * size)
    return site.add(Feature("running_track", core.buffer(r)))


def tennis(site: Site, x: float, y: float, angle: float, count: int = 1, colour: str = "green"
           ) -> list[Feature]:  # fmt: skip
    """`count` tennis courts side by side."""
    inner: dict[str, RGB] = {"green": (74, 128, 92), "blue": (62, 100, 160), "red": (176, 92, 66)}
    outer: dict[str, RGB] = {"green": (96, 116, 84), "blue": (72, 124, 92), "red": (160, 98, 76)}
    out = []
    for k in range(count):
        cx, cy = place([(0, (k - (count - 1) / 2) * 18.0)], x, y, angle)[0]
        site.poly(box(cx, cy, 35, 17.4, angle), site.jitter(outer[colour], 3), PAVED, PLAIN)
        site.poly(box(cx, cy, 23.8, 11, angle), site.jitter(inner[colour], 3), MARK, PLAIN)
        strokes: Strokes = [_ring(23.8, 11), [(-11.9, 4.1), (11.9, 4.1)],
                   [(-11.9, -4.1), (11.9, -4.1)],
                   [(0, -6), (0, 6)], [(-6.4, 0), (6.4, 0)], [(-6.4, -4.1), (-6.4, 4.1)],
                   [(6.4, -4.1), (6.4, 4.1)]]  # fmt: skip
        _lines(site, cx, cy, angle, strokes, 0.3)
        out.append(site.add(Feature("tennis", Polygon(box(cx, cy, 35, 17.4, angle)), colour)))
    return out


def baseball(site: Site, x: float, y: float, angle: float, size: float = 62.0) -> Feature:
    """A baseball field: a quarter disc of grass with a sandy diamond."""
    t = np.linspace(0, np.pi / 2, 16)
    fan = [(0.0, 0.0), *[(size * float(np.cos(a)), size * float(np.sin(a))) for a in t]]
    sand = [(0.0, 0.0), *[(size * 0.5 * float(np.cos(a)), size * 0.5 * float(np.sin(a)))
                          for a in t]]  # fmt: skip
    c, s = np.cos(angle), np.sin(angle)
    ox, oy = x - (c - s) * size * 0.45, y - (s + c) * size * 0.45
    plan = Polygon(place(fan, ox, oy, angle))
    site.poly(plan.buffer(2), site.jitter((186, 146, 106), 4), PAVED, SAND)
    site.poly(plan.buffer(-1.5), site.jitter((92, 136, 70), 5), PAVED, GRASS)
    site.poly(place(sand, ox, oy, angle), (190, 150, 110), PAVED, SAND)
    mid = place([(size * 0.22, size * 0.22)], ox, oy, angle)[0]
    site.poly(box(mid[0], mid[1], size * 0.3, size * 0.3, angle), (96, 138, 72), PAVED, GRASS)
    return site.add(Feature("baseball", plan))
