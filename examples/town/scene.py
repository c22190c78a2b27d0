"""The vector model of a place seen from above: shapes to draw and features to talk about.

World coordinates are metres, x to the east and y to the north. A `Feature` is a thing a caption
may name; its `Shape`s are what the renderer draws. Scenes are built once and then drawn through
any window, so a training tile and the town go through the same code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import shapely
from shapely.geometry import Polygon
from shapely.geometry.base import BaseGeometry

RGB = tuple[float, float, float]

# Drawing order. Shadows fall on everything below DECK's markings.
GROUND, AREA, WATER, EDGE, PAVED, MARK, DECK, DECKMARK, OBJECT, DETAIL, TREE = range(11)

# Materials: which texture the renderer lays over the flat colour.
PLAIN, GRASS, CROP, CANOPY, ASPHALT, GRAVEL, WAVES, ROOF, TILES, SOIL, SAND, CROWN = range(12)


# Ground on which other things may stand.
YIELDING = frozenset({"apron", "beach", "field", "grassland", "taxiway"})


class Window(NamedTuple):
    """An axis-parallel view of the world in metres."""

    west: float
    south: float
    east: float
    north: float

    @classmethod
    def around(cls, x: float, y: float, width: float, height: float | None = None) -> Window:
        """The window of `width` x `height` metres centred on (x, y)."""
        h = width if height is None else height
        return cls(x - width / 2, y - h / 2, x + width / 2, y + h / 2)

    @property
    def width(self) -> float:
        """Metres from west to east."""
        return self.east - self.west

    @property
    def height(self) -> float:
        """Metres from south to north."""
        return self.north - self.south


@dataclass(slots=True)
class Shape:
    """One primitive: a polygon (n >= 3 points), a line (`width` > 0) or a disc (one point).

    `height` (m) casts a shadow; `slope` is the downhill direction of a roof face, which the sun
    brightens or darkens.
    """

    xy: np.ndarray
    rgb: RGB
    layer: int
    material: int = PLAIN
    height: float = 0.0
    width: float = 0.0
    radius: float = 0.0
    slope: tuple[float, float] | None = None


@dataclass(slots=True)
class Feature:
    """A nameable thing: its kind, ground plan, colour word and other attributes."""

    kind: str
    geom: BaseGeometry
    colour: str | None = None
    attrs: dict[str, str] = field(default_factory=dict)
    axis: np.ndarray | None = None  # centre line (n, 2) of roads, rivers, railways


@dataclass(frozen=True, slots=True)
class Light:
    """How the picture was taken: sun (degrees), shadow strength, haze, tone, blur and noise."""

    azimuth: float = 315.0
    elevation: float = 45.0
    shade: float = 0.5
    haze: float = 0.05
    gain: float = 1.0
    contrast: float = 1.0
    warmth: float = 0.0
    saturation: float = 1.0
    blur: float = 0.4
    noise: float = 3.0

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Light:
        """A random light."""
        return cls(
            azimuth=float(rng.uniform(0, 360)),
            elevation=float(rng.uniform(28, 65)),
            shade=float(rng.uniform(0.35, 0.6)),
            haze=float(rng.uniform(0, 0.22) ** 1.3),
            gain=float(rng.uniform(0.85, 1.15)),
            contrast=float(rng.uniform(0.85, 1.2)),
            warmth=float(rng.normal(0, 0.03)),
            saturation=float(rng.uniform(0.7, 1.15)),
            blur=float(rng.uniform(0.2, 0.9)),
            noise=float(rng.uniform(1, 6)),
        )


# Grass, tree, meadow tint, bare soil by season.
SEASONS: dict[str, dict[str, RGB]] = {
    "summer": {"grass": (104, 124, 74), "tree": (56, 82, 46), "soil": (150, 128, 100)},
    "spring": {"grass": (112, 142, 78), "tree": (76, 106, 56), "soil": (138, 116, 92)},
    "dry": {"grass": (152, 142, 102), "tree": (78, 90, 56), "soil": (172, 148, 116)},
    "autumn": {"grass": (120, 120, 78), "tree": (104, 90, 54), "soil": (132, 110, 86)},
}


class Site:
    """A scene under construction: features, shapes, a random generator and a season's colours."""

    def __init__(self, rng: np.random.Generator, season: str | None = None) -> None:
        self.rng = rng
        self.season = season or str(rng.choice(list(SEASONS)))
        tint = rng.normal(0, 5, 3) + rng.normal(0, 6)
        base = SEASONS[self.season]
        self.grass: RGB = clip(np.add(base["grass"], tint))
        self.tree: RGB = clip(np.add(base["tree"], tint))
        self.soil: RGB = clip(np.add(base["soil"], tint))
        grey = float(rng.uniform(92, 138))
        self.asphalt: RGB = (grey + 2, grey, grey - 1 + float(rng.uniform(-4, 4)))
        self.ground: tuple[RGB, int] = (self.grass, GRASS)
        self.features: list[Feature] = []
        self.shapes: list[Shape] = []

    def add(self, feature: Feature, shapes: Iterable[Shape] = ()) -> Feature:
        """Register a feature with its shapes."""
        self.features.append(feature)
        self.shapes.extend(shapes)
        return feature

    def jitter(self, rgb: Sequence[float], amount: float = 6.0) -> RGB:
        """`rgb` a little lighter or darker and a little off in hue."""
        return clip(np.add(rgb, self.rng.normal(0, amount) + self.rng.normal(0, amount / 3, 3)))

    def poly(self, xy: np.ndarray | BaseGeometry, rgb: RGB, layer: int, material: int = PLAIN,
             height: float = 0.0, slope: tuple[float, float] | None = None) -> None:  # fmt: skip
        """Draw a polygon (an array of points, or a shapely polygon's exterior)."""
        pts = np.asarray(xy.exterior.coords) if isinstance(xy, Polygon) else np.asarray(xy, float)
        self.shapes.append(Shape(pts, rgb, layer, material, height, slope=slope))

    def line(self, xy: np.ndarray | Sequence[Sequence[float]], width: float, rgb: RGB, layer: int,
             material: int = PLAIN, height: float = 0.0) -> None:  # fmt: skip
        """Draw a line of `width` metres."""
        self.shapes.append(Shape(np.asarray(xy, float), rgb, layer, material, height, width=width))

    def disc(self, x: float, y: float, radius: float, rgb: RGB, layer: int, material: int = PLAIN,
             height: float = 0.0) -> None:  # fmt: skip
        """Draw a disc."""
        xy = np.array([[x, y]], float)
        self.shapes.append(Shape(xy, rgb, layer, material, height, radius=radius))

    def attempt(self, build: Callable[[], object]) -> bool:
        """Run `build`; undo it and return False if what it added overlaps what was there."""
        features, shapes = len(self.features), len(self.shapes)
        build()
        old, new = self.features[:features], self.features[features:]
        solid = np.array([f.geom for f in old if f.kind not in YIELDING], dtype=object)
        if len(solid) and new:
            added = np.array([f.geom for f in new], dtype=object)
            if (shapely.distance(added[:, None], solid[None, :]) < 1.0).any():
                del self.features[features:], self.shapes[shapes:]
                return False
        return True

    def scene(self, turn: float = 0.0) -> Scene:
        """The finished scene, everything turned about the origin by `turn` radians."""
        if turn:
            c, s = np.cos(turn), np.sin(turn)
            rot = np.array([[c, s], [-s, c]])
            geoms = shapely.transform(np.array([f.geom for f in self.features]), lambda p: p @ rot)
            for feat, geom in zip(self.features, geoms, strict=True):
                feat.geom = geom
                if feat.axis is not None:
                    feat.axis = feat.axis @ rot
            for shape in self.shapes:
                shape.xy = shape.xy @ rot
                if shape.slope is not None:
                    shape.slope = tuple(np.array(shape.slope) @ rot)
        return Scene(self.features, self.shapes, self.ground)


@dataclass(slots=True)
class Scene:
    """Features and shapes over a ground of one colour and material."""

    features: list[Feature]
    shapes: list[Shape]
    ground: tuple[RGB, int]


def clip(rgb: Sequence[float] | np.ndarray) -> RGB:
    """A colour kept within 0..255."""
    r, g, b = (float(min(255.0, max(0.0, v))) for v in rgb)
    return (r, g, b)


def scale(rgb: RGB, factor: float) -> RGB:
    """A colour made darker (< 1) or lighter (> 1)."""
    return clip([v * factor for v in rgb])


def box(x: float, y: float, length: float, width: float, angle: float = 0.0) -> np.ndarray:
    """Corners (4, 2) of a rectangle centred on (x, y), its length turned by `angle` radians."""
    c, s = np.cos(angle), np.sin(angle)
    a, b = np.array([c, s]) * length / 2, np.array([-s, c]) * width / 2
    o = np.array([x, y])
    return np.array([o - a - b, o + a - b, o + a + b, o - a + b])


def place(local: np.ndarray | Sequence[Sequence[float]], x: float, y: float, angle: float
          ) -> np.ndarray:  # fmt: skip
    """Local points (n, 2) turned by `angle` radians and moved to (x, y)."""
    c, s = np.cos(angle), np.sin(angle)
    return np.asarray(local, float) @ np.array([[c, s], [-s, c]]) + (x, y)


def blob(rng: np.random.Generator, x: float, y: float, rx: float, ry: float, rough: float = 0.15,
         n: int = 28) -> np.ndarray:  # fmt: skip
    """An irregular closed outline (n, 2) around (x, y)."""
    t = np.linspace(0, 2 * np.pi, n, endpoint=False)
    r = np.ones(n)
    for k in range(2, 6):
        r += rough / k * 1.6 * rng.normal() * np.cos(k * t + rng.uniform(0, 6.3))
    r = np.clip(r, 0.55, 1.5)
    return np.stack([x + rx * r * np.cos(t), y + ry * r * np.sin(t)], 1)
