"""What an evaluation hands back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ngcg_cli.beside import beside
from ngcg_cli.errors import UsageError
from ngcg_cli.evaluation.metrics import CONFIDENCE, RESAMPLES, SEED
from ngcg_cli.plain import csv_line, json_text

# The columns of a row of `--per-query`, in order.
ROW_FIELDS = (
    "direction",
    "query",
    "truth",
    "view",
    "rank",
    "top_hit",
    "score",
    "error_m",
)
Row = dict[str, Any]


@dataclass(frozen=True)
class Report:
    """The outcome of one protocol.

    Attributes:
        protocol: its name.
        figures: what `--json` prints: percent with two decimals, never rounded up.
        rows: draws one row per query, with the keys of `ROW_FIELDS`.
    """

    protocol: str
    figures: dict[str, Any]
    rows: Callable[[], Iterator[Row]]


def interval_facts(clusters: str) -> dict[str, Any]:
    """How the intervals under "ci" were made, for `--json`."""
    return {
        "level": CONFIDENCE,
        "method": "percentile bootstrap",
        "resampled": clusters,
        "resamples": RESAMPLES,
        "seed": SEED,
    }


def check_rows_path(path: Path) -> None:
    """UsageError unless `write_rows` can write there: known before the long work, not after."""
    if path.suffix.lower() not in (".csv", ".jsonl"):
        raise UsageError(
            f"--per-query {path}: the name must end in .csv or .jsonl",
            hint="The ending chooses the format",
        )
    if not path.absolute().parent.is_dir():
        raise UsageError(f"--per-query {path}: no such folder {path.absolute().parent}")


def write_rows(report: Report, path: Path) -> None:
    """Write one row per query, as csv (a header line first) or jsonl by the file's ending.

    What a query does not have (no position, not among the hits) is empty, or null. The file
    appears whole or not at all.
    """
    with beside(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        if path.suffix.lower() == ".csv":
            file.write(csv_line(ROW_FIELDS))
            for row in report.rows():
                file.write(csv_line(map(row.get, ROW_FIELDS)))
        else:
            for row in report.rows():
                file.write(json_text(row) + "\n")
