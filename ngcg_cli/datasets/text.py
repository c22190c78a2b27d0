"""Words from a data set's JSON made safe to use: sentences, names, and values in messages."""

from __future__ import annotations

import logging
from typing import Any

from ngcg_cli.errors import DataError

logger = logging.getLogger(__name__)

_SHOWN = 60


def clean(text: str, where: str) -> str:
    """The text with U+FFFD for each half of a character, which no encoding can write.

    JSON can hold one ("\\ud83c"), where a program has cut a string inside an emoji.
    """
    if not _is_broken(text):
        return text
    logger.warning("%s: half a character in %s was replaced", where, shown(text))
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def file_name(value: Any, key: str, where: str) -> str:
    """`value` if a file can have that name.

    Raises:
        DataError: it is no text, empty, or holds NUL or half a character.
    """
    if not isinstance(value, str) or not value:
        raise DataError(f'"{key}" is {shown(value)}, not a path', where=where)
    if "\0" in value or _is_broken(value):
        raise DataError(f'"{key}" is {shown(value)}, a name that no file can have', where=where)
    return value


def shown(value: Any) -> str:
    """A value for a message, in one short line."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no whole number of thousands of digits
        return "a huge number"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _is_broken(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False
