"""What the frozen vision tower sees of every image, computed once and kept.

The tower is by far the dearest part of a step and does not change, so the rest of the model is
trained on its patch tokens. A photograph is seen several times: as it is, and as turned crops under
other light; drawn tiles as they are, since their captions name sides and edges.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from examples.tiny.keyed import kept
from examples.tiny.stages.corpus import SIDE
from ngcg_cli.encoder.convnet import ConvTower

INPUT = 256
#: The first so many channels of a token are the tower's last map; their mean feeds the heads.
MAP_WIDTH = 1280
_BATCH = 16


@torch.inference_mode()
def see(
    tower: ConvTower, images: np.ndarray, path: Path, view: int = 0, least: float = 1.0
) -> np.ndarray:
    """Patch tokens without their places, float16 (N, 64, 1728), memory-mapped from `path`.

    Args:
        tower: the vision tower.
        images: uint8 (N, 150, 150, 3).
        path: where the tokens are kept; read from there when the file exists.
        view: 0 for the images as they are, else the seed of their crops, turns and light.
        least: crops keep at least this share of the side.
    """
    if not path.exists():
        shape = (len(images), (INPUT // 32) ** 2, tower.config.content_size)
        part = path.with_suffix(".part")
        tokens = np.lib.format.open_memmap(part, "w+", np.float16, shape)
        for start, pixels in _shown(images, view, INPUT, least):
            tokens[start : start + _BATCH] = tower.content(pixels).half().numpy()
        tokens.flush()
        part.rename(path)
    return np.load(path, mmap_mode="r", allow_pickle=False)


def pooled(tokens: np.ndarray, path: Path) -> np.ndarray:
    """The mean over an image's tokens of the last map's channels, float32 (N, 1280)."""
    parts = range(0, len(tokens), 256)
    return kept(path, lambda: np.concatenate([_pooled(tokens[n : n + 256]) for n in parts]))


def _pooled(tokens: np.ndarray) -> np.ndarray:
    out: np.ndarray = tokens[:, :, :MAP_WIDTH].astype(np.float32).mean(1)
    return out


@torch.inference_mode()
def see_whole(tower: ConvTower, images: np.ndarray, path: Path, side: int) -> np.ndarray:
    """The mean of the last map of images at `side` px, float32 (N, 1280): a teacher's features."""

    def look() -> np.ndarray:
        shown = _shown(images, 0, side)
        return np.concatenate(
            [tower.content(pixels)[..., :MAP_WIDTH].mean(1).numpy() for _, pixels in shown]
        )

    return kept(path, look)


def _shown(
    images: np.ndarray, view: int, side: int, least: float = 1.0
) -> Iterator[tuple[int, Tensor]]:
    rng = np.random.default_rng(view)
    for start in range(0, len(images), _BATCH):
        some = [torch.from_numpy(np.array(image)) for image in images[start : start + _BATCH]]
        shown = [
            _resized(image, side) if view == 0 else _varied(image, rng, least) for image in some
        ]
        yield start, (torch.cat(shown) - 127) / 128


def _resized(image: Tensor, side: int = INPUT) -> Tensor:
    planes = image.permute(2, 0, 1)[None].float()
    planes = functional.interpolate(planes, (side, side), mode="bicubic", antialias=True)
    return planes.clamp(0, 255)


def _varied(image: Tensor, rng: np.random.Generator, least: float) -> Tensor:
    side = int(rng.integers(round(least * SIDE), SIDE + 1))
    top, left = (int(v) for v in rng.integers(0, SIDE - side + 1, 2))
    crop = torch.rot90(image[top : top + side, left : left + side], int(rng.integers(4)))
    planes = _resized(crop.flip(1) if rng.integers(2) else crop)
    gain, shift = float(rng.uniform(0.85, 1.15)), float(rng.uniform(-15, 15))
    return ((planes - 127) * gain + 127 + shift).clamp(0, 255)
