"""Small scenes for training tiles: a ground, perhaps a road or a river, and things in its slots.

Every recipe builds around the origin, along the axes; the tile's random turn comes afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from shapely.geometry import LineString, Point, Polygon

from examples.town import buildings, land, transport
from examples.town.scene import (
    CANOPY,
    DETAIL,
    GRASS,
    GRAVEL,
    GROUND,
    SOIL,
    WATER,
    WAVES,
    Feature,
    Site,
    blob,
    box,
    scale,
)
from examples.town.things import put, roof_colour


def _sides(site: Site, w: float, edge: float, most: int = 4) -> list[str]:
    """Fill some slots above and below a band of half-width `edge` along the x axis."""
    rng = site.rng
    depth = w / 2 - edge
    whole = bool(rng.random() < 0.35)
    cells = [(0.0, s, min(depth, w * 0.9)) for s in (1, -1)] if whole else [
        (dx * w * 0.25, s, min(depth, w * 0.48)) for dx in (-1, 1) for s in (1, -1)]  # fmt: skip
    rng.shuffle(cells)
    out = []
    for dx, sign, size in cells[: int(rng.integers(1, most + 1))]:
        tries = (put(site, dx, sign * (edge + depth / 2), size * 0.94) for _ in range(3))
        name = next(filter(None, tries), None)
        if name:
            out.append(name)
    return out


def _bend(rng: np.random.Generator, reach: float, sag: float) -> np.ndarray:
    """A curve along the x axis that passes the origin."""
    t = np.linspace(-reach, reach, 17)
    return np.stack([t, sag * (1 - np.cos(t / reach * rng.uniform(1.8, 3.2)))
                     * rng.choice([-1, 1])], 1)  # fmt: skip


def road_scene(site: Site, w: float) -> list[str]:
    """A straight or curved road with things on its sides."""
    rng = site.rng
    width = float(rng.choice([6.0, 8.0, 10.0, 15.0]))
    curved = rng.random() < 0.3
    axis = _bend(rng, w, w * 0.22) if curved else np.array([[-w, 0.0], [w, 0.0]])
    transport.road(site, axis, width, shape="curved" if curved else "straight")
    edge = width / 2 + 5 + (w * 0.06 if curved else 0)
    return [*_sides(site, w, edge), "road"]


def open_scene(site: Site, w: float) -> list[str]:
    """One to three things on open ground, at times a pair side by side."""
    rng = site.rng
    n = int(rng.integers(1, 4))
    size = w * 0.94 if n == 1 else w * 0.47
    spots = [(0.0, 0.0)] if n == 1 else [(-0.25 * w, 0.0), (0.25 * w, 0.0), (0.0, 0.3 * w)][:n]
    if n == 3:
        spots = [(-0.25 * w, -0.2 * w), (0.25 * w, -0.2 * w), (0.0, 0.27 * w)]
    return [name for x, y in spots if (name := put(site, x, y, size))]


def street_scene(site: Site, w: float) -> list[str]:
    """Houses along a street; one roof colour, or two, or all sorts."""
    rng = site.rng
    curved = rng.random() < 0.35
    axis = _bend(rng, w, w * 0.2) if curved else np.array([[-w, 0.0], [w, 0.0]])
    transport.road(site, axis, 6.5, shape="curved" if curved else "straight")
    line = LineString(axis)
    main = roof_colour(rng)
    mix = float(rng.choice([0.0, 0.0, 0.3, 1.0]))
    rows = [-1, 1] if rng.random() < 0.75 else [1]
    for side in rows:
        ranks = (13.5, 36.0) if w > 90 and rng.random() < 0.6 else (13.5,)
        for off in ranks:
            rank = line.offset_curve(side * off)
            if rank.geom_type != "LineString":
                continue
            for at in np.arange(rng.uniform(0, 8), rank.length, rng.uniform(18.5, 23)):
                p, q = rank.interpolate(at), rank.interpolate(at + 0.5)
                if max(abs(p.x), abs(p.y)) > w * 0.75 or rng.random() < 0.08:
                    continue
                colour = main if rng.random() >= mix else roof_colour(rng)
                angle = float(np.arctan2(q.y - p.y, q.x - p.x) + rng.normal(0, 0.05))
                if not site.attempt(partial(buildings.house, site, p.x, p.y, angle, colour)):
                    continue
                if off > 20 and rng.random() < 0.15:
                    nx, ny = -np.sin(angle) * side * 12, np.cos(angle) * side * 12
                    buildings.pool(site, p.x + nx, p.y + ny, angle, 8, 4)
    return ["house", "road"]


def roundabout_scene(site: Site, w: float) -> list[str]:
    """A roundabout with three or four arms and things in its quarters."""
    rng = site.rng
    r = float(rng.uniform(13, min(24, max(14, w * 0.2))))
    arms = [0.0, np.pi / 2, np.pi, -np.pi / 2][: 4 if rng.random() < 0.6 else 3]
    for arm in arms:
        end = (1.5 * w * np.cos(arm), 1.5 * w * np.sin(arm))
        start = (0.8 * r * np.cos(arm), 0.8 * r * np.sin(arm))
        transport.road(site, [start, end], 8.0, shape="straight")
    transport.roundabout(site, 0, 0, r)
    _quarters(site, w, 7.0, r)
    return ["roundabout"]


def _quarters(site: Site, w: float, edge: float, clear: float) -> None:
    rng = site.rng
    near = max(edge + 1, clear * 0.72 + 3)
    size = min(w / 2 - near + 6, 46.0)
    cells = [(1, 1), (-1, 1), (1, -1), (-1, -1)]
    rng.shuffle(cells)
    for sx, sy in cells[: int(rng.choice([1, 2, 3, 4], p=[0.35, 0.3, 0.2, 0.15]))]:
        c = near + size / 2
        only = ("house", "building") if rng.random() < 0.45 else ()
        put(site, sx * c, sy * c, size * 0.94, only)


def junction_scene(site: Site, w: float) -> list[str]:
    """A crossroads or T-junction with things in its quarters."""
    rng = site.rng
    width = float(rng.choice([7.0, 8.0, 10.0]))
    arms = [0.0, np.pi / 2, np.pi, -np.pi / 2][: 4 if rng.random() < 0.5 else 3]
    gap = [(0.0, 0.0, width * 1.5)]
    transport.road(site, [(-w, 0), (w, 0)], width, gap)
    down = -w if len(arms) == 4 else 0
    transport.road(site, [(0, down), (0, w)], width, gap)
    feat = transport.junction(site, 0, 0, arms, width)
    _quarters(site, w, width / 2 + 4, 0)
    return [feat.kind]


def river_scene(site: Site, w: float) -> list[str]:
    """A river, often with a bridge."""
    rng = site.rng
    width = float(rng.uniform(0.12, 0.26)) * w
    axis = _bend(rng, w, w * 0.12) if rng.random() < 0.6 else np.array([[-w, 0.0], [w, 0.0]])
    land.river(site, axis, width, str(rng.choice(["green", "blue"])))
    edge = width / 2 + w * 0.05
    if rng.random() < 0.7:
        x, end = float(rng.uniform(-0.15, 0.15) * w), width / 2 + 4
        road_w = float(rng.choice([6.0, 8.0, 10.0]))
        gap = [(x, 0.0, end)]
        transport.road(site, [(x, -1.2 * w), (x, 1.2 * w)], road_w, gap, traffic=0.01)
        transport.bridge(site, (x, -end - 2), (x, end + 2), road_w)
        depth = w / 2 - edge
        for sx in (-1, 1):
            for sy in (-1, 1):
                if rng.random() < 0.45:
                    size = min(depth, w / 2 - 8) * 0.9
                    put(site, x + sx * (road_w / 2 + 4 + size / 2), sy * (edge + depth / 2), size)
        return ["bridge", "river"]
    return ["river", *_sides(site, w, edge, 3)]


def harbour_scene(site: Site, w: float) -> list[str]:
    """A basin with jetties and boats."""
    rng = site.rng
    length, depth = w * float(rng.uniform(0.6, 1.3)), w * float(rng.uniform(0.35, 0.6))
    y = w * 0.5 - depth / 2 if rng.random() < 0.6 else w * 0.1
    land.basin(site, box(0, y, length, depth), str(rng.choice(["blue", "green"])))
    quay = y - depth / 2
    n = int(rng.choice([1, 2, 3, 4, 5, int(rng.integers(7, 15))]))
    size = float(rng.uniform(8, 13)) if w < 90 else float(rng.uniform(10, 17))
    pitch = size * 0.62
    rows = 1 if n * pitch < length * 0.4 else 2
    span = min(length * 0.38, w * 0.3)
    for k, jx in enumerate([0.0] if n <= 3 else [-span * 0.6, span * 0.6]):
        tip = min(quay + depth * 0.8, quay + max(n / rows * pitch, 3 * pitch) + 6)
        land.jetty(site, (jx, quay), (jx, tip))
        share = n if n <= 3 else (n + 1) // 2 if k == 0 else n // 2
        for b in range(share):
            side = 1 if b % 2 else -1
            by = quay + 5 + (b // 2) * pitch
            if by > tip - 1:
                break
            land.boat(site, jx + side * (size / 2 + 1.8), by, 0.0 if side > 0 else np.pi, size)
    room = quay + w / 2 - 5
    for dx in (-0.25, 0.25):
        if rng.random() < 0.6:
            put(site, dx * w, quay - 5 - room / 2, min(room, w * 0.45),
                ("house", "building", "warehouse", "car_park", "tank"))  # fmt: skip
    return ["boat", "harbour", "moored"]


def airfield_scene(site: Site, w: float) -> list[str]:
    """Planes on an apron; on wide tiles a runway or terminal."""
    rng = site.rng
    n = int(rng.integers(1, 6)) if rng.random() < 0.8 else 7
    size = float(rng.uniform(10, 16)) if w < 90 else float(rng.uniform(16, 30))
    pitch = max(size * 1.12, size + 2)
    n = max(1, min(n, int(w * 0.9 // pitch)))
    depth = size * 1.6
    y = -w * 0.1
    transport.apron(site, 0, y, max(n * pitch + size, w * 0.6), depth, 0.0)
    facing = float(rng.choice([np.pi / 2, -np.pi / 2]))
    for k in range(n):
        transport.plane(site, (k - (n - 1) / 2) * pitch, y + rng.normal(0, 1), facing, size)
    kinds = ["plane", "parked"]
    room = w / 2 + y - depth / 2
    if rng.random() < 0.6 and room > 14:
        length = min(w * 0.6, 70)
        buildings.building(site, 0, y - depth / 2 - min(room, 24) / 2 - 1, length,
                           min(room - 6, 18), 0.0, str(rng.choice(["white", "grey", "blue"])),
                           "terminal")  # fmt: skip
        kinds.append("terminal")
    if rng.random() < 0.7 and w > 75:
        ry = y + depth / 2 + 12 + w * 0.12
        transport.road(site, [(0, y), (0, ry)], 12, [(0, 0, 999)], shape="taxiway", traffic=0)
        site.features.pop()
        transport.runway(site, [(-w, ry), (w, ry)], min(30.0, w * 0.2))
        kinds.append("runway")
    return kinds


def farm_scene(site: Site, w: float) -> list[str]:
    """A patchwork of fields, at times with a house, a track or a pond."""
    rng = site.rng
    cut_x, cut_y = float(rng.uniform(-0.2, 0.2)) * w, float(rng.uniform(-0.2, 0.2)) * w
    far = w * 0.8
    cells = [(-far, cut_x, -far, cut_y), (cut_x, far, -far, cut_y), (-far, cut_x, cut_y, far),
             (cut_x, far, cut_y, far)]  # fmt: skip
    if rng.random() < 0.5:
        cells = [(-far, cut_x, -far, far), (cut_x, far, -far, far)]
    one = rng.random() < 0.25
    colour = str(rng.choice(["green", "yellow", "brown"]))
    for x0, x1, y0, y1 in cells:
        c = colour if one else str(rng.choice(["green", "yellow", "brown"]))
        ring = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
        land.crop(site, ring, c, float(rng.choice([0.0, np.pi / 2])))
    if rng.random() < 0.5:
        transport.road(site, [(cut_x, -far), (cut_x, far)], float(rng.choice([3.5, 6.5])))
    if rng.random() < 0.6:
        put(site, cut_x + w * 0.26, w * 0.24, w * 0.4, ("house", "pond", "building", "woods",
                                                      "tank", "greenhouse"))  # fmt: skip
    return ["field"]


def woods_scene(site: Site, w: float) -> list[str]:
    """A forest, whole or with a clearing, a road or a pond in it."""
    rng = site.rng
    far = w * 0.8
    kind = str(rng.choice(["whole", "clearing", "road", "edge"], p=[0.15, 0.4, 0.25, 0.2]))
    if kind == "clearing":
        r = w * float(rng.uniform(0.2, 0.32))
        put(site, 0, 0, r * 1.5, ("house", "pond", "building", "tank", "pool", "field", "solar",
                                  "tennis"))  # fmt: skip
        plan = Polygon(box(0, 0, 2 * far, 2 * far))
        hole = Polygon(blob(rng, 0, 0, r, r, 0.08))
        if site.features:
            hole = hole.union(site.features[0].geom.buffer(4)).convex_hull
        ring, rgb = plan.difference(hole), site.jitter(site.tree, 4)
        for side in (-1, 1):  # two halves: a polygon with a hole cannot be drawn at once
            half = ring.intersection(Polygon(box(side * far, 0, 2 * far, 2 * far)))
            site.poly(half, rgb, DETAIL, CANOPY, 4.0)
        site.add(Feature("woods", ring))
    elif kind == "road":
        gap = 5.5
        transport.road(site, [(-far, 0), (far, 0)], float(rng.choice([3.5, 6.5])))
        for s in (-1, 1):
            land.woods(site, box(0, s * (gap + far / 2), 2 * far, far))
    elif kind == "edge":
        land.woods(site, box(0, far / 2 + w * 0.05, 2 * far, far))
        put(site, 0, -w * 0.22, w * 0.4)
    else:
        land.woods(site, box(0, 0, 2 * far, 2 * far), edge=False)
    return ["woods"]


def railway_scene(site: Site, w: float) -> list[str]:
    """A railway, with or without a train."""
    rng = site.rng
    cars = int(rng.integers(2, max(3, int(w // 26))))
    train = (w - cars * 9.5 + float(rng.uniform(-0.1, 0.1)) * w, cars)
    transport.railway(site, [(-w, 0), (w, 0)], int(rng.integers(1, 4)),
                      train if rng.random() < 0.6 else None,
                      str(rng.choice(["red", "blue", "white"])))  # fmt: skip
    return ["railway", "train", *_sides(site, w, 13, 3)]


def coast_scene(site: Site, w: float) -> list[str]:
    """Sea, a sandy beach and what stands behind it."""
    rng = site.rng
    far, band = w, w * float(rng.uniform(0.12, 0.25))
    shore = w * float(rng.uniform(0.0, 0.2))
    t = np.linspace(-far, far, 15)
    wave = shore + w * 0.03 * np.sin(t / w * rng.uniform(3, 8) + rng.uniform(0, 6))
    sea = np.concatenate([np.stack([t, wave], 1), [(far, far), (-far, far)]])
    sand = np.concatenate(
        [np.stack([t, wave + 3], 1), [(far, -band + shore), (-far, -band + shore)]]
    )
    land.beach(site, sand)
    rgb = land.water_colour(site, "blue")
    site.poly(sea, (208, 214, 206), WATER, WAVES)
    for off, tone in ((1.5, 1.25), (6.0, 1.08), (14.0, 1.0)):
        site.poly(sea + np.array([0, off]), scale(rgb, tone), WATER, WAVES)
    site.add(Feature("sea", Polygon(sea).buffer(0)))
    room = w / 2 + shore - band - 4
    for dx in (-0.25, 0.25):
        if rng.random() < 0.6 and room > 16:
            put(site, dx * w, shore - band - 4 - room / 2, min(room, w * 0.45))
    return ["beach", "sea"]


def yard_scene(site: Site, w: float) -> list[str]:
    """A car park beside a hall or shop."""
    rng = site.rng
    s = w * 0.46
    fill = str(rng.choice(["full", "half", "empty"]))
    rows = int(np.clip(s // 17, 1, 3))
    transport.car_park(site, -w * 0.02, -w * 0.22, min(w * 0.85, 75), rows * 17.0, 0.0, fill)
    kind = str(rng.choice(["warehouse", "building", "apartments"]))
    length = min(w * 0.8, float(rng.uniform(30, 66)))
    buildings.building(site, 0, w * 0.24, length, min(w * 0.34, length * 0.6), 0.0,
                       roof_colour(rng), kind)  # fmt: skip
    return ["car_park", kind]


Recipe = Callable[[Site, float], list[str]]
# Name: builder, narrowest tile (m), widest tile (m), odds.
RECIPES: dict[str, tuple[Recipe, float, float, float]] = {
    "road": (road_scene, 45, 230, 3.0), "open": (open_scene, 40, 230, 2.6),
    "street": (street_scene, 55, 170, 1.8), "roundabout": (roundabout_scene, 70, 200, 2.0),
    "junction": (junction_scene, 50, 170, 1.3), "river": (river_scene, 60, 250, 1.8),
    "harbour": (harbour_scene, 55, 180, 1.6), "airfield": (airfield_scene, 50, 250, 1.6),
    "farm": (farm_scene, 60, 250, 1.0), "woods": (woods_scene, 50, 220, 1.0),
    "railway": (railway_scene, 55, 200, 0.9), "coast": (coast_scene, 60, 230, 0.7),
    "yard": (yard_scene, 75, 160, 0.9),
}  # fmt: skip


def compose(site: Site, w: float) -> tuple[str, list[str]]:
    """Build a random recipe for a tile of `w` metres; returns its name and main kinds."""
    rng = site.rng
    roll = rng.random()
    if roll < 0.1:
        site.ground = (site.soil, SOIL)
    elif roll < 0.18:
        site.ground = (site.jitter((164, 158, 146), 8), GRAVEL)
    for _ in range(int(rng.integers(0, 5))):
        x, y = rng.uniform(-0.6, 0.6, 2) * w
        rx, ry = rng.uniform(0.12, 0.4, 2) * w
        patch = blob(rng, x, y, rx, ry, 0.3)
        site.poly(patch, site.jitter(site.ground[0], 9), GROUND, site.ground[1])
    if rng.random() < 0.25:
        path = rng.uniform(-0.75, 0.75, (2, 2)) * w
        site.line(path, 1.3, scale(site.soil, 1.05), GROUND, SOIL)
    names = [n for n, (_, lo, hi, _) in RECIPES.items() if lo <= w <= hi]
    odds = np.array([RECIPES[n][3] for n in names])
    name = str(rng.choice(names, p=odds / odds.sum()))
    focus = RECIPES[name][0](site, w)
    density = float(rng.choice([0.0, 0.5, 1.5])) * min(1.0, w / 120)
    if name not in ("airfield", "farm") and site.ground[1] == GRASS:
        land.scatter_trees(site, Point(0, 0).buffer(w * 0.75), int(26 * density))
    return name, focus
