"""What long work tells while it goes on; who listens decides what is shown of it."""

from __future__ import annotations


class Progress:
    """Listens to the stages of one piece of work; this one shows nothing."""

    def start(self, stage: str, total: int) -> None:
        """A stage begins, over so many tiles, images, captions or queries."""

    def advance(self, count: int) -> None:
        """So many more are done."""

    def at(self, source: str) -> None:
        """The stage has come to this source."""
