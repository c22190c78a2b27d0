"""Names and texts that came from files, made harmless where people and other programs read them.

A file name may hold escape sequences that command a terminal, marks that turn the direction of
writing, or line breaks that look like further rows. There is one rule for each reader:

- people (tables, `info`, messages, progress): `harmless` shows such characters as `\\x1b`;
- JSON (jsonl, GeoJSON, `--json`): `json_text` writes them as escapes of JSON, so nothing is lost;
- CSV: `csv_line` shows them as for people, but for LF, which stands in quotes; a text that a
  spreadsheet would take for a formula gets a leading apostrophe.
"""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata
from collections.abc import Iterable
from typing import Any

# What is neither a letter nor a sign of ASCII is looked at one by one.
_DOUBTFUL = re.compile(r"[^ -~]")
# Joiners shape letters and emoji; spaces of other widths (category Zs) are spaces.
_JOINERS = "\u200c\u200d"
_FORMULA = ("=", "+", "-", "@")


def harmless(text: Any) -> str:
    """One line in which nothing commands a terminal; what might is shown as `\\x1b`, `\\u202e`."""
    return _DOUBTFUL.sub(_shown, str(text))


def harmless_lines(text: str) -> str:
    """The same of each line of a text."""
    return "\n".join(map(harmless, text.split("\n")))


def json_text(value: Any) -> str:
    """One line of JSON; what might command a terminal is escaped, and reads back as it was.

    Raises:
        ValueError: NaN or infinity, which JSON does not have.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return _DOUBTFUL.sub(_escaped, text)


def csv_line(values: Iterable[Any]) -> str:
    """A record of CSV with its line end.

    A text that begins with = + - or @ gets an apostrophe before it: spreadsheets would compute it.
    """
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(map(_cell, values))
    return line.getvalue()


def _cell(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = harmless_lines(value)
    return f"'{text}" if text.lstrip().startswith(_FORMULA) and not _is_number(text) else text


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[+-]?[0-9.]+(e[+-]?[0-9]+)?", text) is not None


def _is_harmless(letter: str) -> bool:
    return letter.isprintable() or letter in _JOINERS or unicodedata.category(letter) == "Zs"


def _shown(match: re.Match[str]) -> str:
    letter = match[0]
    if _is_harmless(letter):
        return letter
    code = ord(letter)
    return (
        f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"
    )


def _escaped(match: re.Match[str]) -> str:
    letter = match[0]
    return letter if _is_harmless(letter) else json.dumps(letter)[1:-1]
