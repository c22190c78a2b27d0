"""What the tests of evaluation share: pairs, and vectors whose scores are written down."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ngcg_cli.datasets import Pair

# One degree of a great circle with R = 6371 km: 6371000 * pi / 180.
METRES_A_DEGREE = 111194.92664455873


def pair(name: str, captions: int = 1, **known: object) -> Pair:
    texts = tuple(f"{name} {number}" for number in range(captions))
    return Pair(Path(name), texts, name, **known)


def scored(table) -> tuple[np.ndarray, np.ndarray]:
    """Image and caption vectors whose dot products are the table (captions down, images right)."""
    captions = np.array(table, np.float32)
    return np.eye(captions.shape[1], dtype=np.float32), captions


def at(lat: float, view: str = "panorama", lon: float = 0.0) -> Pair:
    return pair(f"{lat},{lon}", lat=lat, lon=lon, view=view)
