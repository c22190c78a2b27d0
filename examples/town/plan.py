"""The town: one composed scene of 1,200 m x 900 m, river, quarters, harbour, industry, airfield.

The origin is the south-west corner. Houses follow the streets; whatever would overlap something
that already stands is left out, so the plan can be drawn freely.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from shapely.geometry import LineString, Polygon
from shapely.geometry import box as rectangle

from examples.town import buildings, land, transport
from examples.town.scene import AREA, GRASS, GRAVEL, WATER, WAVES, Scene, Site, blob, box

WIDTH, HEIGHT = 1200.0, 900.0
UP = np.pi / 2
Line = list[tuple[float, float]]


def smooth(points: Line) -> np.ndarray:
    """A rounded line through `points` (Chaikin's corner cutting, ends kept)."""
    xy = np.asarray(points, float)
    for _ in range(3):
        q, r = 0.75 * xy[:-1] + 0.25 * xy[1:], 0.25 * xy[:-1] + 0.75 * xy[1:]
        xy = np.concatenate([xy[:1], np.stack([q, r], 1).reshape(-1, 2), xy[-1:]])
    return xy


def _row(site: Site, line: Line | np.ndarray, offset: float, colours: list[str], pitch: float = 22
         ) -> None:  # fmt: skip
    """Houses beside a street at `offset` metres (left positive), roofs drawn from `colours`."""
    rng = site.rng
    rank = LineString(line).offset_curve(offset)
    at = float(rng.uniform(8, 13))
    while at < rank.length - 8:
        p, q = rank.interpolate(at), rank.interpolate(at + 0.5)
        angle = float(np.arctan2(q.y - p.y, q.x - p.x) + rng.normal(0, 0.04))
        colour = str(rng.choice(colours))
        site.attempt(partial(buildings.house, site, p.x, p.y, angle, colour))
        at += pitch + float(rng.uniform(-1.5, 3))


def _waters(site: Site) -> None:
    course = smooth([(-20, 520), (140, 500), (300, 560), (440, 520), (560, 470), (700, 500),
                     (800, 470), (900, 330), (900, 180), (960, 80), (970, -20)])  # fmt: skip
    land.river(site, course, 36, "green")
    land.basin(site, np.array([(925, 195), (1045, 195), (1045, 275), (925, 275)]), "green")
    # The mouth of the basin: open water between it and the river.
    wet = [shape for shape in site.shapes if shape.layer == WATER]
    water = wet[-1].rgb
    for shape in wet:
        shape.rgb = water  # one water: the basin opens into the river
    mouth = Polygon([(895, 220), (930, 224), (930, 254), (895, 258)])
    site.poly(mouth.buffer(2), (182, 178, 168), AREA, GRAVEL)
    site.poly(mouth, water, WATER, WAVES)
    for x, boats in ((952, 5), (990, 3), (1026, 2)):
        land.jetty(site, (x, 195), (x, 243))
        for k in range(boats):
            side = 1 if k % 2 else -1
            y, turn = 204 + (k // 2) * 11.5, 0.0 if side > 0 else np.pi
            land.boat(site, x + side * 8.0, y, turn, 12.0)
    land.pond(site, 250, 330, 24, 17, "blue")
    land.pond(site, 655, 806, 20, 15, "green")
    land.pond(site, 1128, 640, 38, 28, "blue", "lake")
    land.pond(site, 90, 640, 15, 12, "blue")


# Names of quarters and sights, for the captions' `place`.
PLACES: dict[str, tuple[float, float]] = {
    "Roundabout": (500, 262), "Church Square": (556, 385), "Centre": (500, 210),
    "Court": (620, 350), "School Street": (330, 340), "Mill Lane": (200, 410),
    "River Park": (300, 540), "Old Bridge": (500, 490), "New Bridge": (740, 490),
    "Crescent": (400, 720), "North Lane": (170, 740), "Orchard Way": (760, 680),
    "Airfield": (960, 800), "Lake": (1128, 640), "Harbour": (985, 235),
    "Tank Farm": (1105, 185), "Works": (800, 200), "Sports Ground": (640, 110),
    "Ball Park": (800, 45), "West Fields": (80, 130), "South Fields": (300, 110),
    "Nursery": (60, 325), "Solar Farm": (1105, 380), "Railway": (700, 580),
    "East Road": (1000, 310), "North Pitch": (610, 800), "East Fields": (1140, 490),
}  # fmt: skip
ROADS: list[tuple[str, Line, float, str]] = [
    # name, line, width, shape
    ("Station Road west", [(-20, 250), (150, 255), (330, 262), (483, 262)], 9.0, "straight"),
    ("Station Road east", [(517, 262), (640, 262), (740, 262), (866, 262)], 9.0, "straight"),
    ("High Street north", [(500, 279), (500, 390), (500, 478)], 9.0, "straight"),
    ("Bridge Street", [(500, 518), (500, 600), (500, 760), (500, 920)], 9.0, "straight"),
    ("South Road", [(500, 245), (500, 120), (500, -20)], 9.0, "straight"),
    ("Mill Lane", [(0, 395), (110, 390), (220, 420), (330, 425), (420, 380), (496, 375)], 6.5,
     "curved"),
    ("Orchard Way", [(500, 690), (620, 690), (760, 690), (860, 660), (960, 590), (1060, 545),
                     (1220, 540)], 8.0, "curved"),
    ("Crescent", [(500, 625), (400, 630), (330, 680), (330, 770), (400, 820), (500, 825)], 6.5,
     "curved"),
    ("North Lane", [(330, 725), (200, 725), (60, 760), (-20, 770)], 6.5, "curved"),
    ("Harbour Road", [(740, 262), (740, 440), (740, 600), (740, 690)], 8.0, "straight"),
    ("East Road", [(934, 300), (1000, 310), (1090, 320), (1220, 330)], 9.0, "curved"),
    ("Ring", [(740, 262), (740, 120), (740, -20)], 14.0, "straight"),
    ("Field track", [(150, 255), (160, 120), (170, -20)], 3.6, "curved"),
    ("Court", [(620, 262), (620, 350), (620, 420)], 6.5, "straight"),
    ("School Street", [(330, 262), (330, 340), (330, 420)], 6.5, "straight"),
]  # fmt: skip


def _roads(site: Site) -> None:
    gaps = [(500.0, 375.0, 10.0), (500.0, 690.0, 10.0), (500.0, 625.0, 10.0), (740.0, 262.0, 16.0),
            (620.0, 262.0, 10.0), (330.0, 262.0, 10.0), (500.0, 825.0, 10.0), (330.0, 725.0, 10.0),
            (330.0, 424.0, 10.0), (740.0, 690.0, 10.0)]  # fmt: skip
    for _, line, width, shape in ROADS:
        axis = smooth(line) if shape == "curved" else np.asarray(line, float)
        transport.road(site, axis, width, gaps, shape)
    transport.road(site, [(866, 262), (934, 300)], 9.0, [(900, 281, 60)], traffic=0)
    transport.road(site, [(500, 478), (500, 518)], 9.0, [(500, 500, 40)], traffic=0)
    transport.roundabout(site, 500, 262, 21)
    transport.junction(site, 740, 262, [0, UP, np.pi, -UP], 10)
    transport.junction(site, 500, 690, [0, UP, -UP], 8)
    transport.junction(site, 500, 375, [np.pi, UP, -UP], 8)
    transport.junction(site, 620, 262, [0, UP, np.pi], 8)
    transport.junction(site, 330, 262, [0, UP, np.pi], 8)
    transport.bridge(site, (500, 464), (500, 516), 9.0)
    transport.bridge(site, (868, 263), (934, 300), 9.0)
    transport.bridge(site, (740, 464), (740, 517), 8.0)


def _railway(site: Site) -> None:
    track = smooth([(1220, 430), (1080, 440), (960, 470), (880, 540), (790, 590), (640, 575),
                    (520, 590), (380, 590), (200, 590), (-20, 585)])  # fmt: skip
    transport.railway(site, track, 2, (560.0, 5), "red")
    transport.bridge(site, (500, 576), (500, 606), 9.0, "railway")
    transport.bridge(site, (740, 569), (740, 602), 8.0, "railway")


def _quarters(site: Site) -> None:
    lines = {name: (smooth(line) if shape == "curved" else np.asarray(line, float))
             for name, line, _, shape in ROADS}  # fmt: skip
    grey, red, blue = ["grey"], ["red", "red", "red", "red", "brown"], ["blue"]
    for name, colours, ranks in (
        ("Mill Lane", red, (15, -15)), ("Crescent", blue, (15, -15)),
        ("North Lane", ["white", "white", "grey"], (15, -15)), ("School Street", grey, (16, -16)),
        ("Court", ["brown", "green"], (16, -16)), ("Orchard Way", ["grey", "red", "white"], (16,)),
    ):  # fmt: skip
        for off in ranks:
            _row(site, lines[name], off, colours)
    for x, y in ((352, 655), (300, 812), (196, 756), (392, 405), (140, 362)):
        site.attempt(partial(buildings.pool, site, x, y, 0.2))


def _centre(site: Site) -> None:
    # The red-roofed building beside the roundabout, and nothing else with a red roof near it.
    buildings.building(site, 537, 294, 30, 18, 0.0, "red")
    buildings.church(site, 556, 400, 0.0, "grey")
    transport.car_park(site, 555, 330, 48, 34, 0.0, "full")
    buildings.building(site, 455, 300, 34, 16, UP, "white")
    buildings.building(site, 452, 225, 40, 18, 0.0, "grey", "apartments")
    buildings.building(site, 560, 225, 40, 18, 0.0, "brown", "apartments")
    buildings.building(site, 560, 188, 40, 14, 0.0, "brown", "apartments")
    buildings.building(site, 452, 188, 40, 14, 0.0, "white", "apartments")
    transport.car_park(site, 440, 338, 44, 17, UP, "half")
    buildings.building(site, 680, 232, 46, 20, 0.0, "blue")
    transport.car_park(site, 685, 300, 60, 34, 0.0, "empty")


def _industry(site: Site) -> None:
    site.poly(box(1098, 180, 150, 130), (166, 160, 148), AREA, GRAVEL)
    for x, y in ((1075, 215), (1105, 215), (1135, 215)):
        buildings.tank(site, x, y, 11, "white")
    buildings.tank(site, 1082, 150, 14, "grey")
    buildings.tank(site, 1124, 150, 14, "grey")
    buildings.building(site, 800, 210, 64, 34, UP, "blue", "warehouse")
    buildings.building(site, 845, 130, 50, 30, UP, "white", "warehouse")
    transport.car_park(site, 795, 130, 50, 34, UP, "full")
    buildings.building(site, 800, 330, 60, 32, UP, "grey", "warehouse")
    buildings.building(site, 1010, 150, 60, 30, 0.0, "red", "warehouse")
    buildings.building(site, 1150, 275, 56, 30, 0.0, "blue", "warehouse")
    buildings.solar(site, 1105, 380, 100, 46, 0.05)
    buildings.building(site, 985, 345, 30, 17, 0.1, "white")


def _sports(site: Site) -> None:
    land.track_field(site, 640, 120, 0.0, 0.8)
    land.tennis(site, 418, 735, UP, 1, "green")
    land.pond(site, 445, 700, 14, 10, "blue")
    land.tennis(site, 570, 62, UP, 3, "blue")
    land.tennis(site, 690, 50, UP, 2, "red")
    land.football(site, 250, 280 + 10, 0.0, 60, 38)
    land.football(site, 600, 800, UP, 76, 48)
    land.baseball(site, 800, 40, 0.3, 62)
    buildings.pool(site, 640, 60, 0.0, 25, 12.5)


def _airfield(site: Site) -> None:
    transport.runway(site, [(720, 852), (1180, 852)], 30)
    transport.apron(site, 960, 790, 190, 46, 0.0)
    for x in (900, 1020):
        strip = box(x, 825, 14, 36)
        site.poly(strip, site.asphalt, 4, 4)
    for k, x in enumerate((885, 922, 959, 1032)):
        transport.plane(site, x, 790 + (k % 2) * 2, UP, 27 if k < 3 else 30)
    buildings.building(site, 940, 751, 84, 18, 0.0, "white", "terminal")
    buildings.building(site, 1020, 749, 32, 22, 0.0, "grey", "hangar")
    transport.car_park(site, 945, 718, 60, 17, 0.0, "half")
    transport.road(site, smooth([(860, 660), (880, 700), (905, 735)]), 6.5, shape="curved")


def _country(site: Site) -> None:
    crops: list[tuple[Line, str, float]] = [
        ([(0, 0), (150, 0), (143, 115), (0, 115)], "yellow", 0.0),
        ([(0, 122), (142, 122), (134, 238), (0, 238)], "green", UP),
        ([(180, 0), (320, 0), (320, 112), (173, 112)], "brown", UP),
        ([(172, 120), (320, 120), (320, 235), (166, 235)], "yellow", 0.4),
        ([(328, 0), (420, 0), (420, 110), (328, 110)], "green", 0.0),
        ([(1080, 0), (1200, 0), (1200, 96), (1060, 96)], "brown", 0.2),
        ([(0, 790), (150, 790), (150, 900), (0, 900)], "green", 0.0),
        ([(158, 800), (290, 830), (290, 900), (158, 900)], "brown", UP),
    ]
    for ring, colour, angle in crops:
        land.crop(site, np.array(ring), colour, angle)
    for x, y, length, width, turn, colour in (
        (1140, 485, 110, 70, -0.12, "yellow"), (1010, 520, 60, 44, -0.45, "green"),
        (820, 760, 70, 90, 0.0, "brown"), (800, 876, 150, 34, 0.0, "green"),
        (1010, 885, 190, 22, 0.0, "yellow"), (700, 740, 60, 80, 0.0, "yellow"),
        (90, 690, 120, 50, 0.1, "brown"), (240, 620, 110, 40, 0.0, "green"),
        (425, 455, 90, 60, 0.25, "brown"), (255, 490, 120, 60, 0.3, "yellow"),
        (110, 450, 130, 56, 0.0, "green"), (680, 385, 70, 110, 0.0, "green"),
        (1160, 590, 60, 60, 0.0, "brown"), (560, 640, 90, 46, 0.0, "green"),
        (830, 480, 50, 50, 0.5, "brown"), (1060, 690, 50, 70, 0.1, "green"),
    ):  # fmt: skip
        plot = box(x, y, length, width, turn)
        site.attempt(partial(land.crop, site, plot, colour, turn + float(site.rng.choice([0, UP]))))
    land.orchard(site, 792, 640, 76, 52, 0.0)
    land.orchard(site, 376, 170, 70, 80, 0.0)
    for x, y, rx, ry in (
        (190, 660, 70, 40),
        (60, 555, 40, 20),
        (1150, 740, 46, 44),
        (680, 625, 44, 18),
        (560, 885, 46, 18),
        (1020, 620, 34, 28),
        (620, 525, 60, 15),
        (60, 470, 50, 10),
        (1150, 800, 40, 20),
        (300, 505, 40, 12),
        (960, 420, 34, 26),
        (850, 560, 30, 24),
        (1180, 380, 20, 40),
        (460, 785, 26, 18),
        (380, 760, 24, 30),
    ):
        outline = blob(site.rng, x, y, rx, ry, 0.16)
        site.attempt(partial(land.woods, site, outline))
    buildings.greenhouses(site, 60, 325, 4, 0.0, 44)
    buildings.house(site, 232, 190, 0.2, "red")
    site.attempt(partial(land.bare, site, blob(site.rng, 880, 415, 30, 24, 0.12)))
    site.attempt(partial(buildings.house, site, 1150, 690, 0.4, "brown"))
    land.woods(site, np.array([(1000, -10), (1050, -10), (1040, 92), (1005, 98)]))
    whole = rectangle(0, 0, WIDTH, HEIGHT)
    land.scatter_trees(site, whole, 1100, 3.5)


def town(seed: int = 7) -> Scene:
    """The whole town; `seed` changes colours' shades, houses' sizes, cars and trees."""
    site = Site(np.random.default_rng(seed), "summer")
    for k in range(60):
        x, y = site.rng.uniform((0, 0), (WIDTH, HEIGHT))
        patch = blob(site.rng, x, y, *site.rng.uniform(20, 80, 2).tolist())
        site.poly(patch, site.jitter(site.grass, 6), 0, GRASS)
        del k
    for build in (_waters, _roads, _railway, _centre, _industry, _sports, _airfield, _quarters,
                  _country):  # fmt: skip
        build(site)
    return site.scene()


__all__ = ["HEIGHT", "WIDTH", "town"]
