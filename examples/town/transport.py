"""Roads and junctions, railways, car parks, the airfield."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from shapely.geometry import LineString, Point, Polygon

from examples.town.scene import (
    ASPHALT,
    DECK,
    DECKMARK,
    DETAIL,
    EDGE,
    GRASS,
    GRAVEL,
    MARK,
    OBJECT,
    PAVED,
    PLAIN,
    RGB,
    ROOF,
    Feature,
    Site,
    box,
    place,
    scale,
)  # fmt: skip

CARS: list[RGB] = [
    (228, 228, 228), (206, 208, 212), (60, 62, 68), (40, 42, 46), (130, 134, 140), (150, 40, 40),
    (52, 78, 130), (236, 236, 232), (90, 94, 100),
]  # fmt: skip


def car(site: Site, x: float, y: float, angle: float, layer: int = OBJECT, length: float = 4.4
        ) -> None:  # fmt: skip
    """A car (or, longer, a lorry) with a windscreen."""
    rgb = site.jitter(CARS[int(site.rng.integers(len(CARS)))], 6)
    site.poly(box(x, y, length, 1.9 if length < 6 else 2.5, angle), rgb, layer, PLAIN, 1.5)
    gx, gy = place([(length * 0.12, 0)], x, y, angle)[0]
    site.poly(box(gx, gy, 0.8, 1.5, angle), scale(rgb, 0.45), max(layer, DETAIL))


def _dashes(site: Site, axis: np.ndarray, gaps: Sequence[tuple[float, float, float]], layer: int,
            dash: float = 3.0, pitch: float = 9.0, width: float = 0.25) -> None:  # fmt: skip
    line = LineString(axis)
    for at in np.arange(2.0, line.length - dash, pitch):
        a, b = line.interpolate(at), line.interpolate(at + dash)
        if all((a.x - gx) ** 2 + (a.y - gy) ** 2 > r * r for gx, gy, r in gaps):
            site.line([(a.x, a.y), (b.x, b.y)], width, (226, 224, 214), layer, ASPHALT)


def road(site: Site, points: Sequence[Sequence[float]] | np.ndarray, width: float = 8.0,
         gaps: Sequence[tuple[float, float, float]] = (), shape: str = "straight",
         traffic: float = 0.012) -> Feature:  # fmt: skip
    """A road along `points`; no markings within `gaps` (x, y, radius); `traffic` cars a metre."""
    axis = np.asarray(points, float)
    line = LineString(axis)
    plan = line.buffer(width / 2, cap_style="flat")
    kerb = line.buffer(width / 2 + 1.6, cap_style="flat")
    if width > 5:
        site.poly(kerb, scale((178, 174, 166), float(site.rng.uniform(0.85, 1.05))), EDGE, GRAVEL)
    track = width < 4.2
    rgb = site.soil if track else site.asphalt
    for x, y in (axis[0], axis[-1]):
        site.disc(x, y, width / 2, rgb, PAVED, GRAVEL if track else ASPHALT)
    site.poly(plan, rgb, PAVED, GRAVEL if track else ASPHALT)
    wide = width >= 13
    if width >= 6.5:
        if wide:
            for off in (-width / 4, width / 4):
                side = np.asarray(line.offset_curve(off).coords)
                _dashes(site, side, gaps, MARK)
            site.line(axis, 1.6, site.grass, MARK, GRASS)
        else:
            _dashes(site, axis, gaps, MARK)
    if not track:
        for _ in range(int(site.rng.poisson(traffic * line.length))):
            at = site.rng.uniform(4, max(5, line.length - 4))
            a, b = line.interpolate(at), line.interpolate(at + 1)
            if any((a.x - gx) ** 2 + (a.y - gy) ** 2 < r * r for gx, gy, r in gaps):
                continue
            ang = float(np.arctan2(b.y - a.y, b.x - a.x))
            off = width / 4 * (1 if site.rng.random() < 0.5 else -1)
            cx, cy = place([(0, off)], a.x, a.y, ang)[0]
            car(site, cx, cy, ang, DECKMARK + 1, 4.4 if site.rng.random() < 0.85 else 9.0)
    kind = "track" if track else "road"
    return site.add(Feature(kind, plan, None, {"shape": shape, "lanes": "wide" if wide else "",
                                               "width": f"{width:.1f}"}, axis))  # fmt: skip


def roundabout(site: Site, x: float, y: float, radius: float = 17.0) -> Feature:
    """A ring of road around a green island; the arms are roads of their own."""
    rng = site.rng
    lane = float(rng.uniform(7, 8.5))
    site.disc(x, y, radius + 1.6, (176, 172, 164), EDGE, GRAVEL)
    site.disc(x, y, radius, site.asphalt, MARK, ASPHALT)
    site.disc(x, y, radius - lane, (196, 192, 184), MARK, GRAVEL)
    site.disc(x, y, radius - lane - 0.8, scale(site.grass, 1.03), MARK, GRASS)
    if rng.random() < 0.6:
        site.disc(x, y, (radius - lane) * 0.4, site.jitter((150, 120, 96), 10), MARK, GRAVEL)
    for k in range(int(rng.integers(1, 4))):
        t = rng.uniform(0, 6.28) + k * 2
        r = radius - lane / 2
        car(site, x + r * np.cos(t), y + r * np.sin(t), t + np.pi / 2)
    return site.add(Feature("roundabout", Point(x, y).buffer(radius)))


def junction(site: Site, x: float, y: float, arms: Sequence[float], width: float) -> Feature:
    """Mark a crossroads (4 arms) or T-junction (3): stop lines and the patch without markings."""
    site.disc(x, y, width * 0.6, site.asphalt, MARK, ASPHALT)
    for arm in arms:
        stop = place([(width * 0.75, -width / 2 + 0.4), (width * 0.75, -0.2)], x, y, arm)
        site.line(stop, 0.5, (228, 226, 218), MARK, ASPHALT)
        for k in np.arange(-width / 2 + 0.8, width / 2 - 0.4, 1.3):
            bar = place([(width * 0.95, k), (width * 0.95 + 2.4, k)], x, y, arm)
            site.line(bar, 0.55, (230, 228, 220), MARK, ASPHALT)
    kind = "crossroads" if len(arms) == 4 else "tjunction"
    return site.add(Feature(kind, Point(x, y).buffer(width)))


def bridge(site: Site, a: tuple[float, float], b: tuple[float, float], width: float = 9.0,
           over: str = "river") -> Feature:  # fmt: skip
    """A road bridge from `a` to `b`: deck, parapets and a shadow on what lies below."""
    axis = np.array([a, b], float)
    line = LineString(axis)
    site.line(axis, width + 2.4, (192, 188, 180), DECK, GRAVEL, 5.0)
    site.line(axis, width, site.asphalt, DECK, ASPHALT)
    _dashes(site, axis, (), DECKMARK)
    for off in (-width / 2 - 0.9, width / 2 + 0.9):
        site.line(np.asarray(line.offset_curve(off).coords), 0.5, (216, 212, 204), DECKMARK)
    plan = line.buffer(width / 2 + 1.2, cap_style="flat")
    return site.add(Feature("bridge", plan, None, {"over": over}, axis))


def railway(site: Site, points: Sequence[Sequence[float]] | np.ndarray, tracks: int = 2,
            train: tuple[float, int] | None = None, colour: str = "red") -> Feature:  # fmt: skip
    """A railway on ballast; `train` is (metres along, number of cars) on the first track."""
    axis = np.asarray(points, float)
    line = LineString(axis)
    width = 4.6 * tracks + 1.5
    plan = line.buffer(width / 2, cap_style="flat")
    site.poly(plan, site.jitter((128, 114, 102), 5), PAVED, GRAVEL)
    rails = [(k - (tracks - 1) / 2) * 4.6 for k in range(tracks)]
    for off in rails:
        mid = line.offset_curve(off) if off else line
        site.line(np.asarray(mid.coords), 2.7, (104, 94, 86), MARK, GRAVEL)
        for side in (-0.75, 0.75):
            rail = np.asarray(line.offset_curve(off + side).coords)
            site.line(rail, 0.3, (178, 172, 168), MARK)
    feat = site.add(Feature("railway", plan, None, {"tracks": str(tracks)}, axis))
    if train is not None:
        start, cars = train
        run = line.offset_curve(rails[0]) if rails[0] else line
        rgb = {"red": (172, 50, 46), "blue": (52, 88, 158), "white": (222, 222, 220)}[colour]
        pieces = []
        for k in range(cars):
            p, q = run.interpolate(start + k * 19), run.interpolate(start + k * 19 + 18)
            body = np.array([(p.x, p.y), (q.x, q.y)])
            site.line(body, 3.0, site.jitter(rgb, 4), OBJECT, ROOF, 4)
            site.line(body, 1.0, scale(rgb, 0.75), DETAIL, ROOF)
            pieces.append((p, q))
        whole = LineString([pieces[0][0], pieces[-1][1]]).buffer(1.5, cap_style="flat")
        site.add(Feature("train", whole, colour))
    return feat


def car_park(site: Site, x: float, y: float, length: float, width: float, angle: float,
             fill: str = "full") -> Feature:  # fmt: skip
    """A car park of double rows of bays; `fill` is full, half or empty."""
    rng = site.rng
    share = {"full": 0.93, "half": 0.45, "empty": 0.0}[fill]
    site.poly(box(x, y, length + 1.6, width + 1.6, angle), (184, 180, 172), EDGE, GRAVEL)
    site.poly(box(x, y, length, width, angle), scale(site.asphalt, 0.95), PAVED, ASPHALT)
    rows = max(1, int(width // 16.5))
    for row in range(rows):
        mid = (row - (rows - 1) / 2) * (width / rows)
        for side in (-1, 1):
            edge = mid + side * 5.0
            for bay in np.arange(-length / 2 + 2.2, length / 2 - 1.6, 2.7):
                mark = place([(bay - 1.35, mid), (bay - 1.35, edge)], x, y, angle)
                site.line(mark, 0.2, (214, 212, 206), MARK, ASPHALT)
                if rng.random() < share:
                    spot = (bay, mid + side * 2.6 + rng.normal(0, 0.2))
                    cx, cy = place([spot], x, y, angle)[0]
                    car(site, cx, cy, angle + np.pi / 2 * (1 if rng.random() < 0.5 else -1))
        spine = place([(-length / 2 + 0.8, mid), (length / 2 - 0.8, mid)], x, y, angle)
        site.line(spine, 0.2, (214, 212, 206), MARK, ASPHALT)
    return site.add(
        Feature("car_park", Polygon(box(x, y, length, width, angle)), None, {"fill": fill})
    )


def runway(site: Site, points: Sequence[Sequence[float]], width: float = 30.0) -> Feature:
    """A runway with threshold bars and a dashed centre line."""
    axis = np.asarray(points, float)
    line = LineString(axis)
    angle = float(np.arctan2(*(axis[1] - axis[0])[::-1]))
    plan = line.buffer(width / 2, cap_style="flat")
    site.poly(plan, scale(site.asphalt, 0.9), PAVED, ASPHALT)
    _dashes(site, axis, (), MARK, 14, 26, 0.9)
    for end, turn in ((axis[0], angle), (axis[1], angle + np.pi)):
        for k in np.arange(-width / 2 + 3, width / 2 - 2, 3.2):
            bar = place([(4, k), (20, k)], end[0], end[1], turn)
            site.line(bar, 1.5, (232, 230, 224), MARK, ASPHALT)
    for off in (-width / 2 + 0.8, width / 2 - 0.8):
        site.line(np.asarray(line.offset_curve(off).coords), 0.6, (222, 220, 212), MARK, ASPHALT)
    return site.add(Feature("runway", plan, None, {}, axis))


def apron(site: Site, x: float, y: float, length: float, width: float, angle: float) -> Feature:
    """The concrete where planes park."""
    site.poly(box(x, y, length, width, angle), site.jitter((170, 168, 160), 5), PAVED, GRAVEL)
    for k in np.arange(-length / 2 + 8, length / 2, 8):
        seam = place([(k, -width / 2), (k, width / 2)], x, y, angle)
        site.line(seam, 0.25, (146, 144, 138), MARK, GRAVEL)
    return site.add(Feature("apron", Polygon(box(x, y, length, width, angle))))


def plane(site: Site, x: float, y: float, angle: float, size: float = 22.0) -> Feature:
    """A white aeroplane of `size` metres seen from above, nose along `angle`."""
    rgb = site.jitter((236, 236, 236), 4)
    s = size / 2
    wings = [(0.28, 0), (-0.22, 1.0), (-0.36, 1.0), (-0.12, 0), (-0.36, -1.0), (-0.22, -1.0)]
    tail = [(-0.68, 0), (-0.92, 0.38), (-1.02, 0.38), (-0.94, 0), (-1.02, -0.38), (-0.92, -0.38)]
    body = [(1.0, 0), (0.86, 0.1), (-0.7, 0.1), (-1.0, 0.02), (-1.0, -0.02), (-0.7, -0.1),
            (0.86, -0.1)]  # fmt: skip
    tint = rgb
    for part in (wings, tail):
        shade = scale(tint, 0.93)
        site.poly(place(np.array(part) * s, x, y, angle), shade, OBJECT, PLAIN, 3.2)
    site.poly(place(np.array(body) * s, x, y, angle), tint, DETAIL, PLAIN, 3.5)
    for side in (-0.42, 0.42):
        pod = place(np.array([(0.14, side), (-0.1, side)]) * s, x, y, angle)
        site.line(pod, 0.13 * s, (150, 152, 158), DETAIL)
    fin = place(np.array([(-0.72, 0), (-1.0, 0)]) * s, x, y, angle)
    palette = np.array([(180, 60, 50), (60, 90, 160), (210, 210, 210)], float)
    site.line(fin, 0.07 * s, site.jitter(palette[int(site.rng.integers(3))], 5), DETAIL)
    hull = Polygon(place(np.array(body + wings + tail) * s, x, y, angle)).convex_hull
    return site.add(Feature("plane", hull, "white"))
