"""A lone text or path is one item, never its letters."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TypeAlias

from ngcg_cli.errors import UsageError

StrPath: TypeAlias = str | os.PathLike[str]


def texts(value: str | Iterable[str]) -> list[str]:
    """The texts of a list of them, or the one that was given alone."""
    return [value] if isinstance(value, str) else list(value)


def paths(value: StrPath | Iterable[StrPath]) -> list[str]:
    """The paths of a list of them, or the one that was given alone, with `~` expanded.

    Raises:
        UsageError: one is empty, which would stand for the folder one is in.
    """
    many = [value] if isinstance(value, (str, os.PathLike)) else value
    found = [os.path.expanduser(path) for path in many]
    if not all(found):
        raise UsageError("a path is empty", hint="Write . for the folder that you are in.")
    return found
