"""Rows of plain values (models, metrics) to jsonl, csv or a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TextIO

from ngcg_cli.output import terminal
from ngcg_cli.output.formats import RowFormat
from ngcg_cli.plain import csv_line, harmless, json_text

Row = Mapping[str, Any]


def as_jsonl(rows: Sequence[Row]) -> str:
    """One JSON object a line."""
    return "".join(json_text(row) + "\n" for row in rows)


def as_csv(rows: Sequence[Row]) -> str:
    """A header line, then one line per row; missing values are empty."""
    columns = _columns(rows)
    return csv_line(columns) + "".join(csv_line(map(row.get, columns)) for row in rows)


def as_table(rows: Sequence[Row]) -> str:
    """A table for people; numbers to the right, thousands apart."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for column in _columns(rows):
        numeric = any(isinstance(row.get(column), (int, float)) for row in rows)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(_shown(row.get(column))) for column in _columns(rows)))
    return terminal.rendered(table)


def nested(report: Mapping[str, Any], prefix: str = "") -> list[dict[str, Any]]:
    """A report of figures, nested as `eval` makes it, as rows of `metric` and `value`."""
    rows: list[dict[str, Any]] = []
    for name, value in report.items():
        if isinstance(value, Mapping):
            rows += nested(value, f"{prefix}{name} ")
        else:
            rows.append({"metric": f"{prefix}{name}", "value": value})
    return rows


FORMATS: dict[RowFormat, Callable[[Sequence[Row]], str]] = {
    "table": as_table,
    "jsonl": as_jsonl,
    "csv": as_csv,
}


def write_rows(rows: Sequence[Row], row_format: RowFormat | None, stream: TextIO) -> None:
    """Writes rows; a format of None means a table on a terminal, otherwise jsonl."""
    stream.write(FORMATS[row_format or ("table" if stream.isatty() else "jsonl")](rows))


def _columns(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(column for row in rows for column in row))


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.2f}" if isinstance(value, float) else harmless(value)
