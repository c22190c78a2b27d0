"""Which statements are true of a window of a scene, decided from the vector model alone.

A statement is a key, a string of fields joined by `|`. A descriptor `A` is two fields, kind and
colour (empty: any colour); `building` covers every kind of building.

- `has|A`: at least one is clearly visible
- `count|A|n`: exactly n (1 to 5) are visible; `many|A`: 6 or more
- `near|A|B`: an A within `NEAR` metres of a B
- `side|A|B|left`: every visible A lies left (right, north, south) of the only visible B
- `between|A|B|C`: an A lies between a B and a C
- `surrounded|A|B`: B (woods, field) lies within 40 m of an A in 14 of 16 directions
- `crosses|bridge|B`: a bridge leads over B (river, railway)
- `fill|car_park|full` (half, empty), `shape|road|curved` (straight, wide), `cover|A`: most of the
  window is A, `line|A|road|curved`: four or more A stand along a road, `moored|n`, `parked|n`:
  boats in a harbour, planes on an apron (n: 1 to 5 or many)

A thing is visible when 60 % of it lies in the window; a large one (a wood, a road) also when it
fills 5 % of the window. A thing cut so that neither holds, but more than a sliver shows, makes
counts and sides of its descriptor undecided, and these are then left out.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from examples.town.scene import Feature, Scene, Window

NEAR = 18.0
BUILDINGS = frozenset({"house", "building", "warehouse", "apartments", "church", "terminal",
                       "school", "hangar"})  # fmt: skip
LARGE = frozenset({"road", "river", "railway", "runway", "woods", "field", "lake", "harbour",
                   "beach", "orchard", "bareland", "apron", "solar", "track", "sea",
                   "running_track", "football"})  # fmt: skip
LINEAR = frozenset({"road", "river", "railway", "runway"})
UNCOUNTED = frozenset({"road", "river", "railway", "woods", "beach", "bareland", "apron", "track",
                       "sea", "harbour", "lake", "field", "runway", "orchard",
                       "solar"})  # fmt: skip
SPREAD = LINEAR | {"sea", "beach", "woods", "field", "bareland", "harbour"}
_INSIDE = [{"train", "railway"}, {"football", "running_track"}]
SILENT = frozenset({"apron", "jetty", "tjunction_arm", "track"})
# Pairs that are close by their nature and would say nothing.
_DULL = [{"bridge", "river"}, {"bridge", "road"}, {"bridge", "railway"}, {"roundabout", "road"},
         {"crossroads", "road"}, {"tjunction", "road"}, {"boat", "harbour"}, {"boat", "jetty"},
         {"ship", "harbour"}, {"crossroads", "tjunction"}]  # fmt: skip

Point = tuple[float, float]
Group = tuple[str, str]


def describe(group: Group) -> str:
    """The two key fields of a descriptor."""
    return f"{group[0]}|{group[1]}"


class View:
    """The features that show in a window, grouped by descriptor."""

    def __init__(self, scene: Scene, window: Window) -> None:
        self.window = window
        self.area = window.width * window.height
        self.groups: dict[Group, list[tuple[Feature, BaseGeometry]]] = defaultdict(list)
        self.vague: set[Group] = set()
        feats = scene.features
        geoms = np.array([f.geom for f in feats], dtype=object)
        clipped = shapely.clip_by_rect(geoms, *window)
        shown, whole = shapely.area(clipped), shapely.area(geoms)
        for i in np.flatnonzero(shown > 0):
            feat, part = feats[i], shown[i] / whole[i]
            clear = part >= 0.6
            if feat.kind in LARGE:
                clear = clear or shown[i] >= 0.05 * self.area
            for group in _descriptors(feat):
                if clear:
                    self.groups[group].append((feat, clipped[i]))
                elif part > 0.06 or shown[i] > 0.01 * self.area:
                    self.vague.add(group)

    def sure(self, group: Group) -> bool:
        """Whether no half-visible member makes counting the group a matter of taste."""
        return group not in self.vague

    def centre(self, group: Group) -> Point:
        """Middle of the visible members."""
        pts = [g.representative_point() for _, g in self.groups[group]]
        return float(np.mean([p.x for p in pts])), float(np.mean([p.y for p in pts]))


def _descriptors(feat: Feature) -> list[Group]:
    kinds = [feat.kind]
    if feat.kind in BUILDINGS and feat.kind != "building":
        kinds.append("building")
    colours = [""] + ([feat.colour] if feat.colour else [])
    return [(k, c) for k in kinds for c in colours]


def truths(scene: Scene, window: Window) -> dict[str, Point]:
    """Every statement true of `window`, each with the world point (x, y) it is about."""
    view = View(scene, window)
    out: dict[str, Point] = {}
    groups = {g: m for g, m in view.groups.items() if g[0] not in SILENT}
    for group, members in groups.items():
        kind, n, key = group[0], len(members), describe(group)
        at = _point(members[len(members) // 2][1])
        out[f"has|{key}"] = at
        if kind not in UNCOUNTED and view.sure(group):
            if n <= 5:
                out[f"count|{key}|{n}"] = _member_near(view, group)
            else:
                out[f"many|{key}"] = _member_near(view, group)
        cover = sum(g.area for _, g in members) / view.area
        if cover >= 0.6 and kind in LARGE:
            out[f"cover|{key}"] = at
    _pairs(view, groups, out)
    _special(view, out)
    w = window
    return {key: (min(max(x, w.west + 2), w.east - 2), min(max(y, w.south + 2), w.north - 2))
            for key, (x, y) in out.items()}  # fmt: skip


def _point(geom: BaseGeometry) -> Point:
    p = geom.representative_point()
    return float(p.x), float(p.y)


def _member_near(view: View, group: Group) -> Point:
    """The member nearest to the group's middle: a point on the thing itself."""
    cx, cy = view.centre(group)
    pts = [_point(g) for _, g in view.groups[group]]
    return min(pts, key=lambda p: (p[0] - cx) ** 2 + (p[1] - cy) ** 2)


def _dull(a: Group, b: Group) -> bool:
    pair = {a[0], b[0]}
    if (a[0], b[0]) in (("railway", "train"), ("running_track", "football")):
        return True  # said the other way round
    if len(pair) == 1 or pair in _DULL or (pair <= BUILDINGS and "building" in pair):
        return True
    return pair <= BUILDINGS and not pair & {"church", "warehouse", "terminal", "apartments"}


def _pairs(view: View, groups: dict[Group, list[tuple[Feature, BaseGeometry]]],
           out: dict[str, Point]) -> None:  # fmt: skip
    arrays = {g: np.array([m[1] for m in ms], dtype=object) for g, ms in groups.items()}
    plain = [g for g in groups if not g[1]]
    around = (view.window.north - view.window.south) * 0.5
    for pa in plain:
        for pb in plain:
            if pa == pb or _dull(pa, pb):
                continue
            gap = shapely.distance(arrays[pa][:, None], arrays[pb][None, :])
            touching = gap <= NEAR
            sided = pa[0] not in SPREAD and view.sure(pb) and len(groups[pb]) == 1
            sided = sided and {pa[0], pb[0]} not in _INSIDE
            if not touching.any() and not sided:
                continue
            ca = [m[0].colour or "" for m in groups[pa]]
            cb = [m[0].colour or "" for m in groups[pb]]
            for i, j in np.argwhere(touching):
                a, b = arrays[pa][i], arrays[pb][j]
                if gap[i, j] > 0:
                    mid = shapely.shortest_line(a, b).interpolate(0.5, normalized=True)
                else:
                    mid = a.intersection(b).representative_point()
                for xa in {"", ca[i]}:
                    for xb in {"", cb[j]}:
                        key = f"near|{pa[0]}|{xa}|{pb[0]}|{xb}"
                        out.setdefault(key, (float(mid.x), float(mid.y)))
            if sided:
                for xa in {"", *ca}:
                    ga = (pa[0], xa)
                    if ga in groups and view.sure(ga) and len(groups[ga]) <= 5:
                        where = _side(view, arrays[ga], groups[pb][0])
                        if where and float(shapely.distance(arrays[ga], arrays[pb]).max()) < around:
                            for xb in {"", cb[0]}:
                                key = f"side|{pa[0]}|{xa}|{pb[0]}|{xb}|{where}"
                                out[key] = _member_near(view, ga)
    for cover in ("woods", "field"):
        if (cover, "") in arrays:
            _surrounded(groups, cover, shapely.union_all(arrays[cover, ""]), out)
    _between(view, arrays, out)


def _side(view: View, a: np.ndarray, b: tuple[Feature, BaseGeometry]) -> str:
    """Where all of `a` lie as seen from `b`: left, right, north, south or nowhere clearly."""
    feat, geom = b
    x0, y0, x1, y1 = geom.bounds
    names = set()
    for g in a:
        c = g.centroid
        if feat.kind in LINEAR:
            if feat.axis is None or shapely.intersects(g, geom):
                return ""
            line = shapely.LineString(feat.axis)
            w = view.window
            if y1 - y0 >= 0.9 * w.height and x1 - x0 <= 0.5 * w.width:
                ray = shapely.LineString([(w.west - 99, c.y), (w.east + 99, c.y)])
                cut = line.intersection(ray)
                names.add("" if cut.is_empty else "left" if c.x < cut.centroid.x else "right")
            elif x1 - x0 >= 0.9 * w.width and y1 - y0 <= 0.5 * w.height:
                ray = shapely.LineString([(c.x, w.south - 99), (c.x, w.north + 99)])
                cut = line.intersection(ray)
                names.add("" if cut.is_empty else "south" if c.y < cut.centroid.y else "north")
            else:
                return ""
            continue
        ax0, ay0, ax1, ay1 = g.bounds
        dx, dy = c.x - geom.centroid.x, c.y - geom.centroid.y
        if abs(dx) > 1.3 * abs(dy) and (ax1 <= x0 + 1 or ax0 >= x1 - 1):
            names.add("left" if dx < 0 else "right")
        elif abs(dy) > 1.3 * abs(dx) and (ay1 <= y0 + 1 or ay0 >= y1 - 1):
            names.add("south" if dy < 0 else "north")
        else:
            return ""
    return names.pop() if len(names) == 1 else ""


def _surrounded(groups: dict[Group, list[tuple[Feature, BaseGeometry]]], cover: str,
                ground: BaseGeometry, out: dict[str, Point]) -> None:  # fmt: skip
    """A thing with `cover` within 40 m in at least 14 of 16 directions."""
    turns = np.arange(16) * np.pi / 8
    rays = 40 * np.stack([np.cos(turns), np.sin(turns)], 1)
    for group, members in groups.items():
        if group[0] in LARGE or not 0 < len(members) <= 12:
            continue
        for _, geom in members:
            x, y = _point(geom)
            ends = np.stack([np.broadcast_to([x, y], (16, 2)), rays + np.array([x, y])], 1)
            if shapely.intersects(shapely.linestrings(ends), ground).sum() >= 14:
                out.setdefault(f"surrounded|{describe(group)}|{cover}|", (x, y))


def _between(view: View, arrays: dict[Group, np.ndarray], out: dict[str, Point]) -> None:
    """A single A whose middle lies between a B and a C, both close by, on opposite sides."""
    singles = [g for g, a in arrays.items() if not g[1] and len(a) == 1 and view.sure(g)
               and g[0] != "building"]  # fmt: skip
    for ga in singles:
        a = arrays[ga][0]
        if ga[0] in LINEAR or ga[0] in ("woods", "field"):
            continue
        for i, gb in enumerate(singles):
            for gc in singles[i + 1 :]:
                if ga in (gb, gc) or _dull(ga, gb) or _dull(ga, gc) or _dull(gb, gc):
                    continue
                b, c = arrays[gb][0], arrays[gc][0]
                if a.distance(b) > 2 * NEAR or a.distance(c) > 2 * NEAR:
                    continue
                p, q = shapely.shortest_line(a, b).coords, shapely.shortest_line(a, c).coords
                u = np.subtract(p[1], a.centroid.coords[0])
                v = np.subtract(q[1], a.centroid.coords[0])
                cosine = float(u @ v / (np.linalg.norm(u) * np.linalg.norm(v) + 1e-9))
                if cosine < -0.7 and b.distance(c) > 5:
                    first, last = sorted((gb[0], gc[0]))
                    out[f"between|{ga[0]}||{first}||{last}|"] = _point(a)


def _special(view: View, out: dict[str, Point]) -> None:
    groups = view.groups
    for feat, geom in groups.get(("bridge", ""), []):
        out[f"crosses|bridge||{feat.attrs['over']}|"] = _point(geom)
    for feat, geom in groups.get(("car_park", ""), []):
        out[f"fill|car_park|{feat.attrs['fill']}"] = _point(geom)
    roads = groups.get(("road", ""), [])
    for feat, geom in roads:
        shape = "wide" if feat.attrs["lanes"] else feat.attrs["shape"]
        if shape in ("straight", "curved", "wide"):
            out[f"shape|road|{shape}"] = _point(geom)
        for group in [g for g in groups if g[0] in ("house", "building")]:
            close = [m for m in groups[group] if m[1].distance(geom) <= NEAR]
            if len(close) >= 4:
                for s in ("", feat.attrs["shape"]):
                    out.setdefault(f"line|{describe(group)}|road|{s}", _point(close[0][1]))
    for key, mover, ground in (("moored", "boat", "harbour"), ("parked", "plane", "apron")):
        things, grounds = groups.get((mover, ""), []), groups.get((ground, ""), [])
        if things and grounds and view.sure((mover, "")):
            area = shapely.union_all([g for _, g in grounds])
            if all(g.distance(area) < 1 for _, g in things):
                n = str(len(things)) if len(things) <= 5 else "many"
                out[f"{key}|{n}"] = _member_near(view, (mover, ""))
