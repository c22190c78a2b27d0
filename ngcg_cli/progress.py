"""What long work tells while it goes on; who listens decides what is shown of it."""

from __future__ import annotations


class Progress:
    """Listens to the stages of one piece of work; this one shows nothing."""

    def start(self, stage: str, total: int | None, unit: str | None = None) -> None:
        """A stage begins, over so many tiles, images, captions or queries.

        Args:
            stage: its name.
            total: None where nobody knows.
            unit: what is counted, where that is not what the whole work counts.
        """

    def advance(self, count: int) -> None:
        """So many more are done."""

    def at(self, source: str) -> None:
        """The stage has come to this source."""

    def note(self, text: str) -> None:
        """How the work stands, in a few words."""

    @property
    def is_shown(self) -> bool:
        """Whether somebody sees it."""
        return False
