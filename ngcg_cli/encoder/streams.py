"""Several batches at once on a CPU, each on a thread of its own.

A small model does not gain from splitting each of its operations over all cores: at every one of
them the cores wait for the slowest, and whatever else runs (the readers of rasters) holds up all.
"""

from __future__ import annotations

import ctypes
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TypeVar

import numpy as np

T = TypeVar("T")
Batch = TypeVar("Batch")

# glibc's M_MMAP_THRESHOLD (32 MiB is the most it takes), M_TRIM_THRESHOLD and M_TOP_PAD. A thread's
# heap is else given back to the system after each layer, and every page of it faulted in again: a
# sixth of the processor time of embedding.
_MALLOC = ((-3, 2**25), (-1, 2**28), (-2, 2**26))


def share(available: int, at_once: int) -> tuple[int, int]:
    """Streams over which `at_once` inputs are best split, and inputs in each of their batches.

    So many at once, whatever they are split over: memory does not grow with the cores.

    Args:
        available: streams that the engine has.
        at_once: inputs in memory together.
    """
    streams = max(1, min(available, at_once))
    return streams, max(1, at_once // streams)


def encode_batches(
    encode: Callable[[Batch], np.ndarray],
    batches: Iterable[tuple[T, Batch]],
    streams: int = 1,
    enter: Callable[[int], None] | None = None,
) -> Generator[tuple[T, np.ndarray], None, None]:
    """Embeds batches, `streams` at a time, each on a thread of its own.

    Args:
        encode: what embeds a batch, such as `Encoder.encode_batch`.
        batches: what the caller knows a batch by, and the batch of N. They are asked for in the
            caller's thread, one more than are being embedded.
        streams: batches embedded at the same time.
        enter: what the engine does first in each stream's thread: `Engine.enter_stream`.

    Yields:
        For each batch, in order: what the caller knows it by, and (N, dim) float32 unit vectors.
    """
    _keep_freed_memory()
    waiting: deque[tuple[T, Future[np.ndarray]]] = deque()
    begin = None if enter is None else partial(enter, streams)
    pool = ThreadPoolExecutor(streams, thread_name_prefix="embed", initializer=begin)
    try:
        for key, batch in batches:
            waiting.append((key, pool.submit(encode, batch)))
            while waiting and (waiting[0][1].done() or len(waiting) > streams):
                key, vectors = waiting.popleft()
                yield key, vectors.result()
        for key, vectors in waiting:
            yield key, vectors.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _keep_freed_memory() -> None:
    """Lets glibc keep what the model frees for its next operation; elsewhere does nothing."""
    with suppress(OSError, AttributeError, TypeError):  # another C library, another system
        for option, value in _MALLOC:
            ctypes.CDLL(None).mallopt(option, value)
