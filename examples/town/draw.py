"""From a scene, a window and a light to an RGB picture.

Flat colours and a material index are drawn with Pillow at twice the resolution; textures anchored
in the world (grain, clumps, canopy relief, waves) are laid over with numpy, shadows are swept
along the sun's direction, and the sensor (blur, haze, tone, noise) comes last.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from examples.town.scene import (
    ASPHALT,
    CANOPY,
    CROP,
    CROWN,
    DECK,
    GRASS,
    GRAVEL,
    PLAIN,
    ROOF,
    SAND,
    SOIL,
    TILES,
    WAVES,
    Light,
    Scene,
    Shape,
    Window,
)  # fmt: skip

_FIELD = 512
# Fine grain (per pixel), clumps (about 2 m) and patches (about 15 m) by material.
_GRAIN = {
    PLAIN: (0.012, 0.0, 0.012), GRASS: (0.05, 0.06, 0.07), CROP: (0.045, 0.03, 0.05),
    ASPHALT: (0.025, 0.02, 0.035), GRAVEL: (0.05, 0.05, 0.05), WAVES: (0.012, 0.025, 0.03),
    ROOF: (0.02, 0.012, 0.03), TILES: (0.045, 0.035, 0.02), SOIL: (0.045, 0.05, 0.08),
    SAND: (0.025, 0.02, 0.04), CROWN: (0.14, 0.08, 0.0),
}  # fmt: skip


@lru_cache(maxsize=1)
def _fields() -> tuple[np.ndarray, ...]:
    """Seamless fields (512, 512): white and smooth noise, canopy slope to x and y, and gaps."""
    rng = np.random.default_rng(20240)
    white = rng.normal(0, 1, (_FIELD, _FIELD)).astype(np.float32)
    fx = np.fft.fftfreq(_FIELD)
    radius2 = fx[None, :] ** 2 + fx[:, None] ** 2
    spec = np.fft.fft2(rng.normal(0, 1, (_FIELD, _FIELD)))
    smooth = np.zeros((_FIELD, _FIELD))
    for wave in (8, 16, 32):
        part = np.fft.ifft2(spec * np.exp(-radius2 * (wave * 2.2) ** 2)).real
        smooth += part / part.std()
    smooth = (smooth / smooth.std()).astype(np.float32)
    # Canopy: the upper envelope of domes on a jittered lattice, one crown about 24 cells wide.
    step = 16
    height = np.zeros((_FIELD, _FIELD), np.float32)
    yy, xx = np.mgrid[-20:21, -20:21]
    for j in range(_FIELD // step):
        for i in range(_FIELD // step):
            cx, cy = (i + rng.uniform(-0.1, 1.1)) * step, (j + rng.uniform(-0.1, 1.1)) * step
            r = rng.uniform(9, 17)
            dome = np.sqrt(np.clip(1 - (xx**2 + yy**2) / r**2, 0, 1)) * r * rng.uniform(0.8, 1.3)
            ix = (int(cx) + xx) % _FIELD
            iy = (int(cy) + yy) % _FIELD
            height[iy, ix] = np.maximum(height[iy, ix], dome)
    gx = np.roll(height, -1, 1) - np.roll(height, 1, 1)
    gy = np.roll(height, -1, 0) - np.roll(height, 1, 0)
    low = np.clip(1 - height / height.mean(), 0, 1) * 2.0
    return white, smooth, np.clip(gx, -2, 2), np.clip(gy, -2, 2), low


def _look(field: np.ndarray, xs: np.ndarray, ys: np.ndarray, cell: float) -> np.ndarray:
    """`field` laid over the world with `cell` metres per entry."""
    ix = np.floor(xs / cell).astype(np.int64) % _FIELD
    iy = np.floor(ys / cell).astype(np.int64) % _FIELD
    return field[iy[:, None], ix[None, :]]


class _Canvas:
    """Colour and material layers at the supersampled resolution."""

    def __init__(self, scene: Scene, window: Window, step: float, size: tuple[int, int]) -> None:
        self.window, self.step = window, step
        ground, material = scene.ground
        self.rgb = Image.new("RGB", size, tuple(round(v) for v in ground))
        self.material = Image.new("L", size, material)
        self.shadow = Image.new("L", size, 0)
        self.pens = [ImageDraw.Draw(i) for i in (self.rgb, self.material, self.shadow)]

    def pixels(self, xy: np.ndarray) -> np.ndarray:
        """World points to canvas coordinates."""
        out = np.empty_like(xy)
        out[:, 0] = (xy[:, 0] - self.window.west) / self.step
        out[:, 1] = (self.window.north - xy[:, 1]) / self.step
        return out

    def draw(self, shape: Shape, px: np.ndarray, sun: tuple[float, float]) -> None:
        """Draw a shape's colour and material."""
        gain = 1.0
        if shape.slope is not None:
            gain = 1.0 + 0.22 * (shape.slope[0] * sun[0] + shape.slope[1] * sun[1])
        r, g, b = (min(255, max(0, round(v * gain))) for v in shape.rgb)
        self._ink(self.pens[0], shape, px, (r, g, b))
        self._ink(self.pens[1], shape, px, shape.material)

    def cast(self, shape: Shape, px: np.ndarray, dx: float, dy: float) -> None:
        """Sweep a shape along its shadow (dx, dy pixels)."""
        pen, far = self.pens[2], px + np.array([dx, dy])
        if shape.radius:
            x, y = px[0]
            width = max(1, round(2 * shape.radius / self.step))
            pen.line((x, y, x + dx, y + dy), fill=255, width=width)
            self._ink(pen, shape, far, 255)
        elif shape.width or len(px) > 24:
            steps = max(1, math.ceil(max(abs(dx), abs(dy)) / 4))
            for k in range(1, steps + 1):
                self._ink(pen, shape, px + np.array([dx, dy]) * (k / steps), 255)
        else:
            # A polygon swept along a line is its copy at the end and a quad over each edge.
            self._ink(pen, shape, far, 255)
            quads = np.concatenate([px, np.roll(px, -1, 0), np.roll(far, -1, 0), far], 1)
            for quad in quads.tolist():
                pen.polygon(quad, fill=255)

    def _ink(self, pen: ImageDraw.ImageDraw, shape: Shape, px: np.ndarray,
             ink: int | tuple[int, int, int]) -> None:  # fmt: skip
        if shape.radius:
            (x, y), r = px[0], shape.radius / self.step
            pen.ellipse((x - r, y - r, x + r, y + r), fill=ink)
        elif shape.width:
            width = max(1, round(shape.width / self.step))
            pen.line(px.ravel().tolist(), fill=ink, width=width, joint="curve")
        else:
            pen.polygon(px.ravel().tolist(), fill=ink)


def _texture(rgb: np.ndarray, material: np.ndarray, window: Window, step: float,
             sun: tuple[float, float]) -> None:  # fmt: skip
    """Multiply world-anchored textures into `rgb` (h, w, 3) float32, by material."""
    white, smooth, gx, gy, low = _fields()
    h, w = material.shape
    xs = window.west + (np.arange(w) + 0.5) * step
    ys = window.north - (np.arange(h) + 0.5) * step
    fine = _look(white, xs, ys, step)
    clump = _look(smooth, xs, ys + 37.0, 0.16)
    patch = _look(smooth, xs + 91.0, ys, 0.9)
    table = np.zeros((16, 3), np.float32)
    for key, value in _GRAIN.items():
        table[key] = value
    amount = table[material]
    gain = 1 + amount[..., 0] * fine + amount[..., 1] * clump + amount[..., 2] * patch
    canopy = material == CANOPY
    if canopy.any():
        rise = _look(gx, xs, ys, 0.42)
        north = _look(gy, xs, ys, 0.42)
        lit = 1.0 - 0.15 * (rise * sun[0] + north * sun[1]) - 0.16 * _look(low, xs, ys, 0.42)
        gain = np.where(canopy, lit + 0.07 * fine + 0.09 * patch, gain)
        hue = np.where(canopy, 0.05 * clump, 0.0)
        rgb[..., 0] *= 1 + hue
    waves = material == WAVES
    if waves.any():
        glint = np.sin((xs[None, :] * 0.55 + ys[:, None] * 0.83) / 0.9 + 2.2 * clump)
        gain = np.where(waves, gain + 0.018 * glint, gain)
    green = (material == GRASS) | (material == CROP)
    rgb[..., 0] *= 1 + np.where(green, 0.035 * patch + 0.02 * clump, 0.0)
    rgb *= gain[..., None]


def render(scene: Scene, window: Window, gsd: float, light: Light, seed: int = 0) -> np.ndarray:
    """Draw `window` of `scene` at `gsd` metres per pixel.

    Returns (round(height / gsd), round(width / gsd), 3) uint8. `seed` drives the sensor's noise
    only; textures are anchored in the world.
    """
    w, h = max(1, round(window.width / gsd)), max(1, round(window.height / gsd))
    step = gsd / 2
    canvas = _Canvas(scene, window, step, (2 * w, 2 * h))
    az, el = math.radians(light.azimuth), math.radians(light.elevation)
    sun = (math.sin(az), math.cos(az))
    reach = 1 / math.tan(el) / step
    shapes = sorted(scene.shapes, key=lambda s: s.layer)
    visible: list[tuple[Shape, np.ndarray]] = []
    for shape in shapes:
        px = canvas.pixels(shape.xy)
        lo, hi = px.min(0), px.max(0)
        pad = (shape.radius + shape.width + shape.height * 2) / step + 2
        if hi[0] > -pad and hi[1] > -pad and lo[0] < 2 * w + pad and lo[1] < 2 * h + pad:
            visible.append((shape, px))
    for shape, px in visible:
        if shape.layer < DECK:
            canvas.draw(shape, px, sun)
        if shape.height:
            dx, dy = -sun[0] * shape.height * reach, sun[1] * shape.height * reach
            canvas.cast(shape, px, dx, dy)
    fall = np.asarray(canvas.shadow.filter(ImageFilter.BoxBlur(0.8)), np.float32) / 255
    base = np.asarray(canvas.rgb, np.float32)
    dark = 1 - light.shade * fall[..., None] * np.array([1.0, 0.96, 0.86], np.float32)
    canvas.rgb.paste(Image.fromarray((base * dark).astype(np.uint8)))
    for shape, px in visible:
        if shape.layer >= DECK:
            canvas.draw(shape, px, sun)
    rgb = np.array(canvas.rgb, np.float32)
    _texture(rgb, np.asarray(canvas.material), window, step, sun)
    return _expose(rgb, light, seed)


def _expose(rgb: np.ndarray, light: Light, seed: int) -> np.ndarray:
    """Halve the resolution and apply what lens, air and sensor do; returns uint8."""
    half = (rgb[0::2, 0::2] + rgb[1::2, 0::2] + rgb[0::2, 1::2] + rgb[1::2, 1::2]) / 4
    small = Image.fromarray(np.clip(half, 0, 255).astype(np.uint8))
    out = np.asarray(small.filter(ImageFilter.GaussianBlur(light.blur)), np.float32)
    grey = out.mean(2, keepdims=True)
    out = grey + (out - grey) * light.saturation
    out = (out - 118) * light.contrast + 118
    out = out * light.gain * np.array([1 + light.warmth, 1.0, 1 - light.warmth], np.float32)
    out = out * (1 - light.haze) + np.array([196, 204, 214], np.float32) * light.haze
    rng = np.random.default_rng(seed)
    out += light.noise * rng.standard_normal(out.shape[:2], np.float32)[..., None]
    return np.clip(out, 0, 255).astype(np.uint8)
