"""Work in progress as a bar: on a terminal only."""

from __future__ import annotations

import os
from typing import Any, Self

from ngcg_cli.output import terminal
from ngcg_cli.plain import harmless
from ngcg_cli.progress import Progress

_SOURCE_WIDTH = 32


class LiveProgress(Progress):
    """A bar with speed, time left and the source in work; nothing where stderr is no terminal.

    Args:
        unit: what is counted ("tiles") unless a stage says otherwise; its speed is shown. None
            shows no speed.
    """

    def __init__(self, unit: str | None = None) -> None:
        self._unit = unit
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def start(self, stage: str, total: int | None, unit: str | None = None) -> None:
        """Draws the bar of a stage in place of the one before."""
        if not terminal.shows_progress():
            return
        if self._bar is None:
            self._bar = _bar()
            self._bar.start()
        else:
            self._bar.remove_task(self._task)
        self._task = self._bar.add_task(stage, total=total, source="", unit=unit or self._unit)

    def advance(self, count: int) -> None:
        """Moves the bar on."""
        if self._bar is not None:
            self._bar.advance(self._task, count)

    @property
    def is_shown(self) -> bool:
        """Whether a bar is drawn."""
        return self._bar is not None

    def at(self, source: str) -> None:
        """Shows the source in work, by the last part of its name."""
        name = harmless(os.path.basename(source.rstrip("/")) or source)
        self.note(name if len(name) <= _SOURCE_WIDTH else f"…{name[1 - _SOURCE_WIDTH :]}")

    def note(self, text: str) -> None:
        """Shows a few words behind the bar."""
        if self._bar is not None:
            self._bar.update(self._task, source=text)


def _bar() -> Any:
    from rich import progress as rich
    from rich.text import Text

    class Speed(rich.ProgressColumn):
        def render(self, task: Any) -> Text:
            speed, unit = task.finished_speed or task.speed, task.fields["unit"]
            return Text("" if speed is None or unit is None else f"{speed:,.1f} {unit}/s")

    return rich.Progress(
        rich.TextColumn("{task.description}"),
        rich.BarColumn(),
        rich.MofNCompleteColumn(),
        Speed(),
        rich.TextColumn("eta"),
        rich.TimeRemainingColumn(),
        # A file name may look like markup.
        rich.TextColumn("{task.fields[source]}", markup=False),
        console=terminal.console(stderr=True),
        transient=True,
    )
