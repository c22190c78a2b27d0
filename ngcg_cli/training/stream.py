"""What feeds the loop and what stops it: batches made ahead by workers, and signals."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from torch.utils.data import DataLoader, Dataset

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class _Calls(Dataset[Any]):
    """A function of the batch's number, in the form that DataLoader's workers take."""

    def __init__(self, make: Callable[[int], Any]) -> None:
        self.make = make

    def __getitem__(self, index: int) -> Any:
        return self.make(index)


def stream(
    batches: Callable[[int], Any] | Dataset[Any], start: int, stop: int, workers: int
) -> Iterator[Any]:
    """Batches `start` to `stop`, in order, made ahead by `workers` processes."""
    data = batches if isinstance(batches, Dataset) else _Calls(batches)
    loader = DataLoader(
        data,
        batch_size=None,  # an item is a whole batch already
        sampler=range(start, stop),
        num_workers=workers,
        collate_fn=_as_it_is,
        worker_init_fn=_leave_signals_to_parent,
        # Never forked from this process: its OpenMP threads have worked, and would be missing.
        multiprocessing_context="spawn" if workers else None,
    )
    return iter(loader)


def _as_it_is(batch: Any) -> Any:
    return batch


def _leave_signals_to_parent(_: int) -> None:
    # Ctrl-C reaches the whole process group; the parent still needs the batch in the making.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextmanager
def stop_signals() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C or SIGTERM sets; the second one stops at once."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def on_signal(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, on_signal) for number in _SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
