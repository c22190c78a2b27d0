"""uint8 RGB of any size to the pixels a backbone was trained on.

Equal to the backbone's own image processor with image splitting off, without needing it: the
SmolVLM/Idefics3 one (`do_image_splitting=False`, `size={"longest_edge": S}`: its default first
blows the image up to 2048 for the split that is not wanted here), and InternVL's GotOcr2 one
(`crop_to_patches=False`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from ngcg_cli.encoder.backbones import Backbone

if TYPE_CHECKING:
    import torch

_FILTERS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def resize_images(images: Sequence[np.ndarray] | np.ndarray, backbone: Backbone) -> np.ndarray:
    """Bring images to one global view.

    Args:
        images: uint8 RGB, each (h, w, 3), sizes may differ; or one (N, h, w, 3) array.
        backbone: gives the side S and the resize filter.

    Returns:
        (N, S, S, 3) uint8. Images that are S x S already are not resampled.
    """
    side = backbone.image_size
    if isinstance(images, np.ndarray) and images.dtype == np.uint8:
        if images.ndim == 4 and images.shape[1:] == (side, side, 3):
            return images
        if images.ndim == 3:  # a lone image would otherwise be read as rows
            raise ValueError(f"expected (N, h, w, 3) or a list of images, got {images.shape}")
    out = np.empty((len(images), side, side, 3), dtype=np.uint8)
    for row, image in zip(out, images, strict=True):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise ValueError(f"expected uint8 (h, w, 3), got {image.dtype} {image.shape}")
        row[:] = image if image.shape == row.shape else _resize(image, backbone)
    return out


def _resize(image: np.ndarray, backbone: Backbone) -> np.ndarray:
    side, resample = backbone.image_size, _FILTERS[backbone.resample]
    picture = Image.fromarray(np.ascontiguousarray(image))
    if backbone.aspect_first and picture.width != picture.height:
        picture = picture.resize(_longest_edge(picture.width, picture.height, side), resample)
    if picture.size != (side, side):
        picture = picture.resize((side, side), resample)
    return np.asarray(picture)


def _longest_edge(width: int, height: int, side: int) -> tuple[int, int]:
    """The Idefics3 processor's size with the longest edge at `side`; the other is made even."""
    aspect = width / height
    if width >= height:
        other = int(side / aspect)
        return side, max(other + other % 2, 1)
    other = int(side * aspect)
    return max(other + other % 2, 1), side


def normalise(images: np.ndarray, backbone: Backbone) -> torch.Tensor:
    """(N, S, S, 3) uint8 to (N, 3, S, S) float32, `(x / 255 - mean) / std`."""
    import torch

    # One multiply-add per channel; a copy in channels-first order is what the convolution wants.
    scale, shift = scale_and_shift(backbone)
    planes = np.empty((len(images), 3, *images.shape[1:3]), dtype=np.float32)
    for channel in range(3):
        np.multiply(images[..., channel], scale[channel], out=planes[:, channel])
        planes[:, channel] += shift[channel]
    return torch.from_numpy(planes)


def scale_and_shift(backbone: Backbone) -> tuple[np.ndarray, np.ndarray]:
    """(3,) float32 each: `pixel * scale + shift` is `(pixel / 255 - mean) / std`."""
    mean = np.asarray(backbone.mean, dtype=np.float32)
    std = np.asarray(backbone.std, dtype=np.float32)
    return 1 / (255 * std), -mean / std
