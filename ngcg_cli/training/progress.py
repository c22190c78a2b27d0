"""The live line of a run: loss, pairs per second, time to go; on stderr alone."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

_PLAIN_EVERY = 30.0  # seconds between two lines in a log file


# Called after each step with the step's number (from 1), its loss and the pairs per second.
Report = Callable[[int, float, float], None]


@contextmanager
def progress(steps: int, start: int, quiet: bool) -> Iterator[Report]:
    """A live bar on a terminal, a plain line every half minute elsewhere, nothing when quiet."""
    if quiet:
        yield lambda step, loss, pairs_per_second: None
    elif sys.stderr.isatty():
        with _bar(steps, start) as report:
            yield report
    else:
        yield _lines(steps, start)


@contextmanager
def _bar(steps: int, start: int) -> Iterator[Report]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    bar = Progress(
        TextColumn("training"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[figures]}"),
        console=Console(stderr=True),
        transient=False,
    )
    began = time.monotonic()
    with bar:
        task = bar.add_task("training", total=steps, completed=start, figures="")

        def report(step: int, loss: float, pairs_per_second: float) -> None:
            figures = _figures(step, steps, start, loss, pairs_per_second, began)
            bar.update(task, completed=step, figures=figures)

        yield report


def _lines(steps: int, start: int) -> Report:
    began = last = time.monotonic()

    def report(step: int, loss: float, pairs_per_second: float) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _PLAIN_EVERY or step == steps:
            last = now
            figures = _figures(step, steps, start, loss, pairs_per_second, began)
            print(f"step {step}/{steps}  {figures}", file=sys.stderr, flush=True)

    return report


def _figures(
    step: int, steps: int, start: int, loss: float, pairs_per_second: float, began: float
) -> str:
    left = (time.monotonic() - began) / max(1, step - start) * (steps - step)
    speed = f"  {pairs_per_second:.3g} pairs/s" if pairs_per_second else ""
    return f"loss {loss:.4f}{speed}  eta {timedelta(seconds=round(left))}"
