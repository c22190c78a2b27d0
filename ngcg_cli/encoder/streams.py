"""Several batches at once on a CPU, each on a thread of its own.

A small model does not gain from splitting each of its operations over all cores: at every one of
them the cores wait for the slowest, and whatever else runs (the readers of rasters) holds up all.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch

if TYPE_CHECKING:
    from ngcg_cli.encoder.encoder import Encoder

T = TypeVar("T")


def stream_count(encoder: Encoder) -> int:
    """How many batches are best embedded at once: a CPU's threads, else one."""
    return torch.get_num_threads() if encoder.device.type == "cpu" else 1


def encode_batches(
    encoder: Encoder, batches: Iterable[tuple[T, Sequence[np.ndarray]]], streams: int = 1
) -> Generator[tuple[T, np.ndarray], None, None]:
    """Embeds batches of images, `streams` at a time, each with its share of torch's threads.

    Args:
        encoder: what embeds.
        batches: what the caller knows a batch by, and its N images, uint8 RGB (h, w, 3). They are
            asked for in the caller's thread, one more than are being embedded.
        streams: batches embedded at the same time.

    Yields:
        For each batch, in order: what the caller knows it by, and (N, dim) float32 unit vectors.
    """
    threads = max(1, torch.get_num_threads() // streams)
    waiting: deque[tuple[T, Future[np.ndarray]]] = deque()
    pool = ThreadPoolExecutor(
        streams, thread_name_prefix="embed", initializer=torch.set_num_threads, initargs=(threads,)
    )
    with pool:
        try:
            for key, images in batches:
                waiting.append((key, pool.submit(encoder.encode_images, images, len(images))))
                while waiting and (waiting[0][1].done() or len(waiting) > streams):
                    key, vectors = waiting.popleft()
                    yield key, vectors.result()
            while waiting:
                key, vectors = waiting.popleft()
                yield key, vectors.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
