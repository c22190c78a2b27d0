"""Where a query's hits go: to stdout, or to a file, and as crops into a folder besides."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from ngcg_cli.errors import UsageError
from ngcg_cli.output.files import check_output, write_output
from ngcg_cli.output.hits import write_answers

if TYPE_CHECKING:
    from ngcg_cli.journeys.querying import Answer
    from ngcg_cli.output.crops import Crops
    from ngcg_cli.output.formats import HitFormat


class Delivery:
    """What the options of the command line ask for, checked before any work is done.

    Args:
        hit_format: of stdout; None means a table on a terminal, otherwise jsonl.
        output: a file instead of stdout.
        crops: a folder for a crop of each hit.
        pictures: draw the hits' pictures on the terminal.
        fetch: see `Pictures`.

    Raises:
        UsageError: they cannot be meant together, or nothing can be written there.
        NgcgError: a package is missing.
    """

    def __init__(
        self,
        hit_format: HitFormat | None,
        output: Path | None,
        crops: Path | None,
        pictures: bool = False,
        fetch: bool = False,
    ) -> None:
        if pictures:
            from ngcg_cli.output.sheets import check_pictures

            if output is not None or hit_format not in (None, "table"):
                raise UsageError("--pictures goes with the table on a terminal, not with a file")
            check_pictures(sys.stdout)
        self._pictures = pictures
        self._fetch = fetch
        self._format = hit_format
        self._output = None if output is None else output.expanduser()
        self._crops: Crops | None = None
        if self._output is not None:
            check_output(self._output, hit_format)
        if crops is not None:
            from ngcg_cli.output.crops import Crops

            self._crops = Crops(crops.expanduser(), fetch)

    @property
    def unreadable(self) -> int:
        """Hits of which no crop could be cut."""
        return self._crops.unreadable if self._crops else 0

    def deliver(self, answers: Iterable[Answer], stdout: TextIO) -> None:
        """Brings the answers there, query by query where the format allows it."""
        if self._crops:
            answers = self._crops.of(answers)
        if self._pictures:
            from ngcg_cli.output.sheets import with_pictures

            for piece in with_pictures(answers, self._fetch):
                stdout.write(piece)
                stdout.flush()
        elif self._output is None:
            write_answers(answers, self._format, stdout)
        else:
            write_output(answers, self._output, self._fetch)
