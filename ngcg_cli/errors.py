"""The errors a user sees: each says what is wrong, where, and what to do, in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any


class NgcgError(Exception):
    """An expected failure, told in one line and ended with `exit_code`.

    Args:
        what: what is wrong, with the offending value.
        where: the file, folder, option or line it was found in.
        hint: what the user can do about it.
    """

    exit_code = 1

    def __init__(
        self, what: str, *, where: str | Path | None = None, hint: str | None = None
    ) -> None:
        self.what = what
        self.where = None if where is None else str(where)
        self.hint = hint
        super().__init__(str(self))

    def __reduce__(self) -> tuple[Any, ...]:
        """Whole also after a journey between processes."""
        return _again, (type(self), self.what, self.where, self.hint)

    def __str__(self) -> str:
        head = f"{self.where}: {self.what}" if self.where else self.what
        text = f"{head.rstrip('.')}. {self.hint}" if self.hint else head
        # GDAL and the model libraries put line breaks into their messages; a pipeline reads lines.
        return " ".join(text.split())


def _again(kind: type[NgcgError], what: str, where: str | None, hint: str | None) -> NgcgError:
    return kind(what, where=where, hint=hint)


class UsageError(NgcgError):
    """Options or arguments that cannot be meant together (exit status 2)."""

    exit_code = 2


class RasterError(NgcgError):
    """A raster that cannot be opened, read, or placed on the Earth."""


class TileIndexError(NgcgError):
    """An index on disk that is missing, foreign, damaged, or made by another model."""


class ModelError(NgcgError):
    """A backbone or checkpoint that is unknown, incomplete, or does not fit."""


class DataError(NgcgError):
    """A data set that is missing, malformed, or not of the announced format."""
