"""What computes vectors behind the one `Encoder`: torch, or ONNX Runtime (`runtime.py`)."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from typing import Protocol

import numpy as np

from ngcg_cli.encoder.backbones import Backbone


class Engine(Protocol):
    """A model that is ready to compute.

    Attributes:
        kind: `torch` or `onnx`.
        dim: width of its vectors.
    """

    kind: str
    dim: int

    @property
    def pooling(self) -> str:
        """See `EncoderModule`."""

    @property
    def place(self) -> str:
        """The device it computes on: `cpu`, `cuda:0`, ..."""

    @property
    def precision(self) -> str:
        """What it computes in, as `--precision` names it."""

    @property
    def rounding(self) -> str:
        """What tells one rounding of the same weights to int8 from another; else empty."""

    def streams(self) -> int:
        """How many batches are best embedded at once: a CPU's threads, else one."""

    def enter_stream(self, streams: int) -> None:
        """Called in the thread of each of `streams` streams before its first batch."""

    def inferring(self) -> AbstractContextManager[None]:
        """What stands around all work: without dropout, for several streams together."""

    def texts(self, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """(B, L) int64 token ids and mask, real ones in front, to (B, dim) float32 unit vectors."""

    def images(self, images: np.ndarray, backbone: Backbone) -> np.ndarray:
        """(B, S, S, 3) uint8 of the model's size to (B, dim) float32 unit vectors."""

    def digest(self) -> str:
        """Hex digest of its parameters as they are now."""


def cpu_threads() -> int:
    """Threads of this process's share of the CPU: OMP_NUM_THREADS, else one for each core."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdigit() and int(asked) > 0:
        return int(asked)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
