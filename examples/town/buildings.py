"""Buildings and what stands like them: houses, blocks, halls, churches, tanks, solar panels."""

from __future__ import annotations

import numpy as np
from shapely.geometry import Point, Polygon
from shapely.ops import unary_union

from examples.town.scene import (
    AREA,
    DETAIL,
    GRASS,
    GRAVEL,
    GROUND,
    MARK,
    OBJECT,
    PAVED,
    PLAIN,
    RGB,
    ROOF,
    TILES,
    WAVES,
    Feature,
    Site,
    box,
    place,
    scale,
)  # fmt: skip

ROOFS: dict[str, list[RGB]] = {
    "red": [(166, 80, 64), (178, 94, 74), (150, 68, 58), (172, 72, 60)],
    "grey": [(122, 122, 126), (138, 138, 138), (108, 110, 116)],
    "blue": [(66, 102, 158), (84, 122, 174), (58, 92, 146)],
    "white": [(226, 226, 222), (236, 234, 228), (216, 218, 220)],
    "brown": [(116, 88, 66), (104, 80, 60), (128, 100, 76)],
    "green": [(78, 126, 96), (92, 138, 108), (66, 116, 88)],
}


def roof(site: Site, colour: str) -> RGB:
    """A shade of a roof colour."""
    shades = ROOFS[colour]
    return site.jitter(shades[int(site.rng.integers(len(shades)))], 5)


def _gable(site: Site, x: float, y: float, length: float, width: float, angle: float, rgb: RGB,
           height: float, hip: bool) -> None:  # fmt: skip
    """A pitched roof: two or four faces, each lit by the way it slopes, and a ridge line."""
    l2, w2 = length / 2, width / 2
    end = l2 - (w2 * 0.9 if hip else 0.0)
    down = np.array([-np.sin(angle), np.cos(angle)])
    along = np.array([np.cos(angle), np.sin(angle)])
    site.poly(box(x, y, length, width, angle), rgb, OBJECT, TILES, height)
    up = place([(-l2, w2), (l2, w2), (end, 0), (-end, 0)], x, y, angle)
    lo = place([(-l2, -w2), (l2, -w2), (end, 0), (-end, 0)], x, y, angle)
    site.poly(up, rgb, OBJECT, TILES, slope=(down[0], down[1]))
    site.poly(lo, rgb, OBJECT, TILES, slope=(-down[0], -down[1]))
    if hip:
        for s in (1.0, -1.0):
            face = place([(s * l2, w2), (s * l2, -w2), (s * end, 0)], x, y, angle)
            site.poly(face, rgb, OBJECT, TILES, slope=(s * along[0], s * along[1]))
    site.line(place([(-end, 0), (end, 0)], x, y, angle), 0.45, scale(rgb, 1.12), DETAIL, TILES)
    if site.rng.random() < 0.5:
        cx, cy = place([(site.rng.uniform(-0.5, 0.5) * l2, w2 * 0.3)], x, y, angle)[0]
        site.poly(box(cx, cy, 0.9, 0.9, angle), (150, 140, 132), DETAIL)


def house(site: Site, x: float, y: float, angle: float = 0.0, colour: str = "red",
          length: float | None = None, width: float | None = None) -> Feature:  # fmt: skip
    """A dwelling with a pitched roof, 10 to 15 m long, sometimes with a wing."""
    rng = site.rng
    length = length or float(rng.uniform(11, 15.5))
    width = width or float(rng.uniform(8, 10.5))
    rgb, height = roof(site, colour), float(rng.uniform(5, 7))
    plot = box(x, y, length + float(rng.uniform(4, 8)), width + float(rng.uniform(6, 12)), angle)
    site.poly(plot, site.jitter(site.grass, 7), GROUND, GRASS)
    tx, ty = place([(float(rng.uniform(-0.3, 0.3)) * length, width * 0.62)], x, y, angle)[0]
    site.poly(box(tx, ty, 5.0, 3.6, angle), site.jitter((176, 170, 160), 7), AREA, GRAVEL)
    plan = [Polygon(box(x, y, length, width, angle))]
    if rng.random() < 0.35:
        wx, wy = place([(length * 0.22, -width * 0.55)], x, y, angle)[0]
        _gable(site, wx, wy, width * 0.95, length * 0.42, angle + np.pi / 2, rgb, height - 1, False)
        plan.append(Polygon(box(wx, wy, width * 0.95, length * 0.42, angle + np.pi / 2)))
    _gable(site, x, y, length, width, angle, rgb, height, bool(rng.random() < 0.4))
    return site.add(Feature("house", unary_union(plan), colour))


def building(site: Site, x: float, y: float, length: float, width: float, angle: float = 0.0,
             colour: str = "grey", kind: str = "building", height: float | None = None
             ) -> Feature:  # fmt: skip
    """A larger building: `building` has a hipped roof, `warehouse` and `apartments` flat ones."""
    rng = site.rng
    rgb = roof(site, colour)
    if kind == "building":
        _gable(site, x, y, length, width, angle, rgb, height or float(rng.uniform(8, 11)), True)
    elif kind == "warehouse":
        tall = height or float(rng.uniform(7, 10))
        site.poly(box(x, y, length, width, angle), scale(rgb, 0.86), OBJECT, ROOF, tall)
        site.poly(box(x, y, length - 1.2, width - 1.2, angle), rgb, OBJECT, ROOF)
        for k in np.arange(-length / 2 + 4, length / 2 - 3, 5.5):
            seam = place([(k, -width / 2 + 1), (k, width / 2 - 1)], x, y, angle)
            site.line(seam, 0.5, scale(rgb, 0.93), DETAIL, ROOF)
        if rng.random() < 0.6:
            for k in np.arange(-length / 2 + 6.5, length / 2 - 5, 11.0):
                for side in (-0.25, 0.25):
                    cx, cy = place([(k, side * width)], x, y, angle)[0]
                    site.poly(box(cx, cy, 3.2, 1.6, angle), scale(rgb, 1.12), DETAIL, ROOF)
    else:
        tall = height or float(rng.uniform(12, 18))
        site.poly(box(x, y, length, width, angle), scale(rgb, 0.8), OBJECT, ROOF, tall)
        site.poly(box(x, y, length - 1.4, width - 1.4, angle), rgb, OBJECT, ROOF)
        for k in np.linspace(-0.36, 0.36, 3):
            cx, cy = place([(k * length, 0)], x, y, angle)[0]
            site.poly(box(cx, cy, 4, 3.4, angle), scale(rgb, 1.08), DETAIL, ROOF, 0)
            site.poly(box(cx + 0.8, cy - 0.8, 2.2, 2, angle), scale(rgb, 0.7), DETAIL, ROOF)
    return site.add(Feature(kind, Polygon(box(x, y, length, width, angle)), colour))


def church(site: Site, x: float, y: float, angle: float, colour: str = "red") -> Feature:
    """A church: a cross-shaped plan and a square tower at one end."""
    rgb = roof(site, colour)
    _gable(site, x, y, 34, 11, angle, rgb, 13, False)
    tx, ty = place([(5, 0)], x, y, angle)[0]
    _gable(site, tx, ty, 24, 9, angle + np.pi / 2, rgb, 11, False)
    ex, ey = place([(-18, 0)], x, y, angle)[0]
    site.poly(box(ex, ey, 8, 8, angle), (168, 162, 152), OBJECT, ROOF, 24)
    site.poly(box(ex, ey, 5.4, 5.4, angle), (92, 116, 106), DETAIL, ROOF)
    plan = [box(x, y, 34, 11, angle), box(tx, ty, 24, 9, angle + np.pi / 2),
            box(ex, ey, 8, 8, angle)]  # fmt: skip
    return site.add(Feature("church", unary_union([Polygon(p) for p in plan]), colour))


def tank(site: Site, x: float, y: float, radius: float, colour: str = "white") -> Feature:
    """A round storage tank within a low wall."""
    rgb = site.jitter((228, 228, 224) if colour == "white" else (142, 144, 148), 4)
    site.disc(x, y, radius + 2.2, (160, 154, 142), AREA, GRAVEL)
    site.disc(x, y, radius, scale(rgb, 0.82), OBJECT, ROOF, float(site.rng.uniform(7, 11)))
    site.disc(x, y, radius * 0.94, rgb, OBJECT, ROOF)
    site.disc(x + radius * 0.2, y - radius * 0.15, radius * 0.62, scale(rgb, 1.04), DETAIL, ROOF)
    site.line([(x, y), (x + radius * 0.7, y + radius * 0.7)], 0.5, scale(rgb, 0.78), DETAIL)
    site.disc(x, y, 0.9, scale(rgb, 0.7), DETAIL)
    return site.add(Feature("tank", Point(x, y).buffer(radius), colour))


def pool(site: Site, x: float, y: float, angle: float, length: float = 9.0, width: float = 4.6
         ) -> Feature:  # fmt: skip
    """A turquoise swimming pool with a pale rim."""
    site.poly(box(x, y, length + 2.4, width + 2.4, angle), (206, 200, 188), PAVED, GRAVEL)
    rgb = site.jitter((70, 186, 206), 6)
    site.poly(box(x, y, length, width, angle), rgb, MARK, WAVES)
    if length > 18:
        for k in np.linspace(-0.36, 0.36, 5):
            lane = place([(-length / 2, k * width), (length / 2, k * width)], x, y, angle)
            site.line(lane, 0.3, scale(rgb, 0.8), MARK, WAVES)
    return site.add(Feature("pool", Polygon(box(x, y, length, width, angle))))


def solar(site: Site, x: float, y: float, length: float, width: float, angle: float) -> Feature:
    """A solar farm: rows of dark blue panels."""
    pitch = 5.2
    for k in np.arange(-width / 2 + 2, width / 2 - 1, pitch):
        for a, b in ((-length / 2 + 1, -1.0), (1.0, length / 2 - 1)):
            cx, cy = place([((a + b) / 2, k)], x, y, angle)[0]
            rgb = site.jitter((44, 58, 98), 4)
            site.poly(box(cx, cy, b - a, 2.9, angle), rgb, OBJECT, PLAIN, 1.6)
            seam = place([(a, k), (b, k)], x, y, angle)
            site.line(seam, 0.3, (96, 108, 140), DETAIL)
    return site.add(Feature("solar", Polygon(box(x, y, length, width, angle))))


def greenhouses(site: Site, x: float, y: float, count: int, angle: float, length: float = 38
                ) -> list[Feature]:  # fmt: skip
    """A row of `count` long, pale greenhouses."""
    out = []
    for k in range(count):
        cx, cy = place([(0, (k - (count - 1) / 2) * 12.5)], x, y, angle)[0]
        rgb = site.jitter((206, 218, 214), 5)
        site.poly(box(cx, cy, length, 9, angle), rgb, OBJECT, ROOF, 3.5)
        for t in np.arange(-length / 2 + 1.5, length / 2, 3):
            rib = place([(t, -4.5), (t, 4.5)], cx, cy, angle)
            site.line(rib, 0.35, scale(rgb, 0.86), DETAIL)
        site.line(place([(-length / 2, 0), (length / 2, 0)], cx, cy, angle), 0.5,
                  scale(rgb, 1.1), DETAIL)  # fmt: skip
        out.append(site.add(Feature("greenhouse", Polygon(box(cx, cy, length, 9, angle)))))
    return out
