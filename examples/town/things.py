"""Things that fit into a slot of a tile: what a recipe picks from."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from examples.town import buildings, land, transport
from examples.town.scene import GRAVEL, Site, blob, box

COLOURS = ("red", "grey", "blue", "white", "brown", "green")
_ROOF_ODDS = (0.27, 0.18, 0.2, 0.17, 0.1, 0.08)


def roof_colour(rng: np.random.Generator) -> str:
    """A roof colour word."""
    return str(rng.choice(COLOURS, p=_ROOF_ODDS))


def _turn(rng: np.random.Generator) -> float:
    return float(rng.choice([0.0, np.pi / 2]) + rng.normal(0, 0.12))


def _houses(site: Site, x: float, y: float, s: float) -> None:
    rng, colour = site.rng, roof_colour(site.rng)
    n = int(rng.integers(1, 4)) if s >= 40 else 1
    turn = float(rng.choice([0.0, np.pi / 2]))
    for k in range(n):
        dx = (k - (n - 1) / 2) * 18.5
        site_colour = colour if rng.random() < 0.8 else roof_colour(rng)
        if turn:
            buildings.house(site, x, y + dx, rng.normal(0, 0.08), site_colour)
        else:
            buildings.house(site, x + dx, y, np.pi / 2 + rng.normal(0, 0.08), site_colour)


def _building(site: Site, x: float, y: float, s: float) -> None:
    rng = site.rng
    length = min(s * 0.8, float(rng.uniform(20, 36)))
    buildings.building(site, x, y, length, length * float(rng.uniform(0.45, 0.7)), _turn(rng),
                       roof_colour(rng), "building")  # fmt: skip


def _warehouse(site: Site, x: float, y: float, s: float) -> None:
    rng = site.rng
    length = min(s * 0.85, float(rng.uniform(34, 64)))
    buildings.building(site, x, y, length, length * float(rng.uniform(0.4, 0.65)), _turn(rng),
                       str(rng.choice(["white", "grey", "blue", "red", "green"])),
                       "warehouse")  # fmt: skip


def _apartments(site: Site, x: float, y: float, s: float) -> None:
    rng = site.rng
    n = int(rng.integers(1, 4)) if s > 60 else 1
    colour, length = str(rng.choice(["grey", "white", "brown"])), min(s * 0.8, 38.0)
    for k in range(n):
        buildings.building(site, x, y + (k - (n - 1) / 2) * 29, length, 13, rng.normal(0, 0.03),
                           colour, "apartments")  # fmt: skip


def _church(site: Site, x: float, y: float, s: float) -> None:
    buildings.church(site, x, y, _turn(site.rng), str(site.rng.choice(["red", "grey", "brown"])))


def _pond(site: Site, x: float, y: float, s: float) -> None:
    r = float(site.rng.uniform(0.28, 0.42)) * min(s, 70)
    land.pond(site, x, y, r, r * float(site.rng.uniform(0.65, 1)),
              str(site.rng.choice(["blue", "green"])), "lake" if r > 27 else "pond")  # fmt: skip


def _tanks(site: Site, x: float, y: float, s: float) -> None:
    rng = site.rng
    r = float(rng.uniform(5, 9)) if s < 45 else float(rng.uniform(6, 12))
    colour = "white" if rng.random() < 0.75 else "grey"
    pitch = 2 * r + 6
    fit = max(1, int(s * 1.05 // pitch))
    n = int(rng.integers(1, min(5, fit * fit) + 1))
    cols = fit if rng.random() < 0.5 and fit >= n else max(1, int(np.ceil(np.sqrt(n))))
    rows = int(np.ceil(n / cols))
    site.poly(box(x, y, cols * pitch + 4, rows * pitch + 4), (170, 162, 146), 1, GRAVEL)
    for k in range(n):
        i, j = k % cols, k // cols
        buildings.tank(site, x + (i - (cols - 1) / 2) * pitch, y + (j - (rows - 1) / 2) * pitch,
                       r, colour)  # fmt: skip


def _pool(site: Site, x: float, y: float, s: float) -> None:
    big = s > 45 and site.rng.random() < 0.4
    buildings.pool(site, x, y, _turn(site.rng), *((25.0, 12.5) if big else (9.5, 5.0)))
    if s > 32 and site.rng.random() < 0.6 and not big:
        buildings.house(site, x, y + 13, site.rng.normal(0, 0.1), roof_colour(site.rng))


def _car_park(site: Site, x: float, y: float, s: float) -> None:
    rng = site.rng
    rows = int(np.clip((s - 4) // 17, 1, 4))
    rows = int(rng.integers(1, rows + 1))
    length = min(s * 0.9, float(rng.uniform(28, 70)))
    transport.car_park(site, x, y, length, rows * 17.0, float(rng.choice([0.0, np.pi / 2]))
                       if length <= s and rows * 17 <= s else 0.0,
                       str(rng.choice(["full", "half", "empty"], p=[0.5, 0.25, 0.25])))  # fmt: skip


def _tennis(site: Site, x: float, y: float, s: float) -> None:
    rng = site.rng
    n = int(rng.integers(1, max(1, min(5, int(s // 18.5))) + 1))
    land.tennis(site, x, y, 0.0, n, str(rng.choice(["green", "blue", "red"])))


def _football(site: Site, x: float, y: float, s: float) -> None:
    length = min(s * 0.9, float(site.rng.uniform(62, 90)))
    land.football(site, x, y, float(site.rng.choice([0.0, np.pi / 2])), length, length * 0.64)


def _track(site: Site, x: float, y: float, s: float) -> None:
    size = min(1.0, s / 136)
    if size < 0.62:
        _football(site, x, y, s)
    else:
        land.track_field(site, x, y, 0.0, size)


def _baseball(site: Site, x: float, y: float, s: float) -> None:
    land.baseball(site, x, y, float(site.rng.uniform(0, 6.28)), min(s * 0.8, 75))


def _solar(site: Site, x: float, y: float, s: float) -> None:
    buildings.solar(site, x, y, s * 0.9, s * float(site.rng.uniform(0.5, 0.9)), 0.0)


def _greenhouses(site: Site, x: float, y: float, s: float) -> None:
    n = int(site.rng.integers(1, max(1, min(5, int(s // 13))) + 1))
    buildings.greenhouses(site, x, y, n, 0.0, min(s * 0.85, 44))


def _orchard(site: Site, x: float, y: float, s: float) -> None:
    side = min(s * 0.95, 75)
    land.orchard(site, x, y, side, side * float(site.rng.uniform(0.7, 1)), 0.0)


def _wood(site: Site, x: float, y: float, s: float) -> None:
    land.woods(site, blob(site.rng, x, y, s * 0.48, s * 0.42, 0.16))


def _field(site: Site, x: float, y: float, s: float) -> None:
    land.crop(site, box(x, y, s, s * float(site.rng.uniform(0.7, 1))),
              str(site.rng.choice(["green", "yellow", "brown"])), _turn(site.rng))  # fmt: skip


def _bare(site: Site, x: float, y: float, s: float) -> None:
    land.bare(site, blob(site.rng, x, y, s * 0.48, s * 0.4, 0.1))


Thing = Callable[[Site, float, float, float], None]
# Name: builder, smallest slot (m), odds.
THINGS: dict[str, tuple[Thing, float, float]] = {
    "house": (_houses, 17, 2.4), "building": (_building, 24, 2.2), "pond": (_pond, 18, 1.3),
    "tank": (_tanks, 20, 1.3), "pool": (_pool, 16, 0.9), "car_park": (_car_park, 32, 1.3),
    "warehouse": (_warehouse, 34, 1.2), "apartments": (_apartments, 34, 0.8),
    "church": (_church, 44, 0.6), "tennis": (_tennis, 38, 1.0), "football": (_football, 66, 1.4),
    "running_track": (_track, 84, 0.7), "baseball": (_baseball, 52, 0.6),
    "solar": (_solar, 34, 0.6), "greenhouse": (_greenhouses, 30, 0.6),
    "orchard": (_orchard, 34, 0.6), "woods": (_wood, 26, 1.0), "field": (_field, 30, 0.9),
    "bareland": (_bare, 30, 0.4),
}  # fmt: skip


def put(site: Site, x: float, y: float, s: float, only: tuple[str, ...] = ()) -> str | None:
    """Put something that fits into a slot of `s` metres; returns its name."""
    names = [n for n in (only or THINGS) if THINGS[n][1] <= s]
    if not names:
        return None
    odds = np.array([THINGS[n][2] for n in names])
    name = str(site.rng.choice(names, p=odds / odds.sum()))
    return name if site.attempt(lambda: THINGS[name][0](site, x, y, s)) else None
