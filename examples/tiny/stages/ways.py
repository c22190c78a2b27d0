"""Things to draw into photographs that a town's tiles lack, or show only whole: ways, water, rows.

Each builder takes a site, the width (m) of the picture and nothing more, and draws around the
origin. A thing that the town has words for is a feature, and statements tell of it; of the others
`SAID` has the words, under the key that the builder returns.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from shapely.geometry import LineString, Polygon

from examples.tiny.stages.counted import car
from examples.town import buildings, land, transport
from examples.town.scene import (
    AREA,
    ASPHALT,
    CROWN,
    DETAIL,
    EDGE,
    GRAVEL,
    MARK,
    PAVED,
    SOIL,
    TREE,
    Site,
    blob,
    box,
    place,
    scale,
)
from examples.town.things import roof_colour

#: What may be said of what no statement tells.
SAID = {
    "truss": ("a truss bridge", "a steel bridge over water", "a girder bridge", "an iron bridge",
              "a bridge with steel trusses", "a lattice bridge"),
    "dead_end": ("a cul-de-sac", "a dead-end street", "houses around a turning circle",
                 "a street that ends in a loop", "a residential cul-de-sac"),
    "covered_rows": ("rows under plastic", "plastic mulch", "plastic-covered crop rows",
                     "white plastic tunnels on a field", "a field covered with plastic sheets"),
    "scrub": ("scrub", "dry scrubland", "chaparral", "bushes on dry ground", "shrubland",
              "scattered shrubs on bare soil", "sagebrush"),
    "sleepers": ("a railway", "railway tracks", "a railroad", "train tracks", "rails",
                 "a railway line", "a railroad line with sleepers"),
    "many_tracks": ("a rail yard", "many railway tracks side by side", "a marshalling yard",
                    "railway sidings", "parallel railroad tracks"),
    "traffic": ("cars on a road", "vehicles on a street", "traffic on a road"),
}  # fmt: skip


def _line(site: Site, width: float) -> np.ndarray:
    """A straight or slightly bent line through the picture."""
    t = np.linspace(-width, width, 17)
    bend = site.rng.normal(0, 0.1) * width if site.rng.random() < 0.6 else 0.0
    return np.stack([t, bend * (1 - np.cos(t / width * 2)) + site.rng.normal(0, 0.12) * width], 1)


def railway(site: Site, width: float) -> str:
    """One to three tracks with sleepers, at times a train."""
    tracks = int(site.rng.integers(1, 4))
    train = (width * float(site.rng.uniform(0.6, 0.9)), int(site.rng.integers(2, 5)))
    axis = _line(site, width)
    colour = str(site.rng.choice(["red", "blue", "white"]))
    transport.railway(site, axis, tracks, train if site.rng.random() < 0.3 else None, colour)
    for k in range(tracks):
        _sleepers(site, axis, (k - (tracks - 1) / 2) * 4.6)
    return "sleepers"


def yard(site: Site, width: float) -> str:
    """Many tracks side by side, some with wagons."""
    axis = np.array([[-width, 0.0], [width, 0.0]])
    tracks = int(site.rng.integers(5, 9))
    train = (width * 0.7, int(site.rng.integers(2, 5))) if site.rng.random() < 0.5 else None
    transport.railway(site, axis, tracks, train, str(site.rng.choice(["red", "blue", "white"])))
    return "many_tracks"


def _sleepers(site: Site, axis: np.ndarray, off: float) -> None:
    line = LineString(axis)
    line = line.offset_curve(off) if off else line
    for at in np.arange(0.0, line.length - 0.5, 1.6):
        a, b = line.interpolate(at), line.interpolate(at + 0.5)
        turn = float(np.arctan2(b.y - a.y, b.x - a.x)) + np.pi / 2
        ends = place([(-1.3, 0), (1.3, 0)], a.x, a.y, turn)
        site.line(ends, 0.45, (126, 116, 106), MARK, GRAVEL)


def bridge(site: Site, width: float) -> str:
    """A river with a bridge; with steel trusses or without."""
    rng = site.rng
    broad = width * float(rng.uniform(0.25, 0.5))
    axis = np.array([[-width, 0.0], [width, 0.0]])
    land.river(site, axis, broad, str(rng.choice(["green", "blue"])))
    road, end = float(rng.choice([6.0, 8.0, 10.0])), broad / 2 + 4
    transport.road(site, [(0, -1.2 * width), (0, 1.2 * width)], road, [(0.0, 0.0, end)])
    transport.bridge(site, (0, -end), (0, end), road)
    if rng.random() < 0.5:
        return ""
    grey = site.jitter((190, 192, 194), 12)
    step = float(rng.uniform(4, 7))
    sides = (-road / 2 - 0.6, road / 2 + 0.6)
    for x in sides:
        site.line([(x, -end), (x, end)], 1.0, grey, DETAIL)
    for k, y in enumerate(np.arange(-end, end - step / 2, step)):
        ends = sides if k % 2 else sides[::-1]
        site.line([(ends[0], y), (ends[1], y + step)], 0.6, grey, DETAIL)
        site.line([(sides[0], y), (sides[1], y)], 0.6, scale(grey, 0.9), DETAIL)
    return "truss"


def roundabout(site: Site, width: float) -> str:
    """A roundabout with three or four arms."""
    r = float(site.rng.uniform(0.12, 0.22)) * width
    for arm in np.arange(int(site.rng.integers(3, 5))) * np.pi / 2:
        far, near = 1.5 * width, 0.8 * r
        ends = [(near * np.cos(arm), near * np.sin(arm)), (far * np.cos(arm), far * np.sin(arm))]
        transport.road(site, ends, min(8.0, 0.5 * r))
    transport.roundabout(site, 0, 0, max(r, 12.0))
    return ""


def dead_end(site: Site, width: float) -> str:
    """A street that ends in a turning circle, with houses around it."""
    r, rng = float(site.rng.uniform(9, 13)), site.rng
    transport.road(site, [(-width, 0), (0, 0)], 6.5)
    site.disc(0, 0, r + 1.4, (176, 172, 164), EDGE, GRAVEL)
    site.disc(0, 0, r, site.asphalt, PAVED, ASPHALT)
    if rng.random() < 0.3:
        site.disc(0, 0, r * 0.4, scale(site.grass, 1.05), MARK)
    for t in np.linspace(-2.3, 2.3, int(rng.integers(4, 7))):
        x, y = (r + 15) * np.cos(t), (r + 15) * np.sin(t)
        buildings.house(site, float(x), float(y), float(t) + np.pi / 2, roof_colour(rng))
    return "dead_end"


def boats(site: Site, width: float) -> str:
    """A lake, and one to five boats on it, or at a jetty."""
    rng, reach = site.rng, width * float(site.rng.uniform(0.33, 0.55))
    land.pond(site, 0, 0, reach, reach * 0.8, str(rng.choice(["blue", "green"])), "lake")
    count, size = int(rng.integers(1, 6)), float(rng.uniform(7, 13))
    if rng.random() < 0.5:
        land.jetty(site, (0, -reach), (0, count * size * 0.35))
        for k in range(count):
            side = 1 if k % 2 else -1
            y = (k // 2) * size * 0.6 - reach * 0.2
            land.boat(site, side * (size / 2 + 1.8), y, 0.0 if side > 0 else np.pi, size)
    else:
        for _ in range(count):
            x, y = rng.uniform(-0.5, 0.5, 2) * reach
            land.boat(site, float(x), float(y), float(rng.uniform(0, 6.28)), size)
    return ""


def cars(site: Site, width: float) -> str:
    """A paved yard with cars in number."""
    rng, side = site.rng, min(width * 0.7, 46.0)
    site.poly(box(0, 0, side, side * 0.7), site.asphalt, PAVED, ASPHALT)
    for _ in range(int(rng.integers(1, 8))):
        x, y = rng.uniform(-0.42, 0.42, 2) * side * np.array([1, 0.7])
        site.attempt(partial(car, site, float(x), float(y), float(rng.normal(0, 0.3))))
    return ""


def road(site: Site, width: float) -> str:
    """A straight or winding road with traffic."""
    curved = bool(site.rng.random() < 0.5)
    axis = _line(site, width)
    if curved:
        axis[:, 1] += 0.13 * width * np.sin(axis[:, 0] / width * float(site.rng.uniform(4, 8)))
    transport.road(site, axis, float(site.rng.choice([6.0, 8.0, 15.0])),
                   shape="curved" if curved else "straight", traffic=0.04)  # fmt: skip
    return "traffic"


def covered_rows(site: Site, width: float) -> str:
    """A field whose rows lie under pale plastic."""
    rng, side = site.rng, width * float(site.rng.uniform(0.5, 0.95))
    site.poly(box(0, 0, side, side * 0.8), site.soil, AREA, SOIL)
    pitch = float(rng.uniform(2.5, 6))
    rgb = site.jitter((214, 218, 220), 8)
    for y in np.arange(-side * 0.4 + pitch / 2, side * 0.4, pitch):
        site.line([(-side / 2, y), (side / 2, y)], pitch * float(rng.uniform(0.5, 0.7)),
                  site.jitter(rgb, 3), PAVED)  # fmt: skip
    return "covered_rows"


def scrub(site: Site, width: float) -> str:
    """Dry ground with scattered bushes."""
    rng = site.rng
    plan = blob(rng, 0, 0, width * 0.6, width * 0.55, 0.12)
    site.poly(plan, site.jitter((172, 150, 118), 10), AREA, SOIL)
    shape, green = Polygon(plan), site.jitter((96, 100, 70), 8)
    for _ in range(int(rng.integers(150, 600))):
        x, y = rng.uniform(-0.6, 0.6, 2) * width
        if shape.contains(LineString([(x, y), (x + 0.1, y)])):
            r = float(rng.uniform(0.4, 1.9)) * width / 110
            site.disc(float(x), float(y), r, site.jitter(green, 8), TREE, CROWN, r)
    return "scrub"


#: What is put across a photograph, as often as it stands here.
WAYS: tuple[Callable[[Site, float], str], ...] = (
    railway, railway, railway, yard, bridge, bridge, bridge, roundabout, roundabout, dead_end,
    dead_end, boats, boats, cars, cars, road, covered_rows, scrub, scrub,
)  # fmt: skip
