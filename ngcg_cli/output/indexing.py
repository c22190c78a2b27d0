"""How `ngcg index` shows its work: a bar on a terminal, a closing line everywhere."""

from __future__ import annotations

import logging
from typing import Any, Self

from ngcg_cli.journeys.indexing import IndexReport, Progress
from ngcg_cli.output import terminal

logger = logging.getLogger(__name__)


class LiveProgress(Progress):
    """A bar with tiles per second and the time left; nothing where stderr is no terminal."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def start(self, stage: str, tiles: int) -> None:
        """Draws the bar of a stage in place of the one before."""
        if not terminal.shows_progress():
            return
        if self._bar is None:
            self._bar = _bar()
            self._bar.start()
        else:
            self._bar.remove_task(self._task)
        self._task = self._bar.add_task(stage, total=tiles)

    def advance(self, tiles: int) -> None:
        """Moves the bar on."""
        if self._bar is not None:
            self._bar.advance(self._task, tiles)


def _bar() -> Any:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Speed(ProgressColumn):
        def render(self, task: Any) -> Text:
            speed = task.finished_speed or task.speed
            return Text("" if speed is None else f"{speed:,.1f} tiles/s")

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        Speed(),
        TextColumn("eta"),
        TimeRemainingColumn(),
        console=terminal.console(stderr=True),
        transient=True,
    )


def log_summary(report: IndexReport) -> None:
    """Says in one line what was done."""
    parts = [
        f"{report.count(status)} {status}"
        for status in ("indexed", "unchanged", "failed")
        if report.count(status)
    ]
    speed = f" ({report.added / report.seconds:,.1f} tiles/s)" if report.added else ""
    logger.info(
        "sources: %s; tiles: %s added, %s in %s; %.1f s%s",
        ", ".join(parts),
        f"{report.added:,}",
        f"{report.tiles:,}",
        report.index,
        report.seconds,
        speed,
    )
