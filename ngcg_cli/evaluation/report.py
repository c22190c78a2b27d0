"""What an evaluation hands back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

Protocol = Literal["auto", "recall", "geotext", "cvg-text", "places"]

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
        rows: draws one row a query, with the keys of `ROW_FIELDS`.
    """

    protocol: str
    figures: dict[str, Any]
    rows: Callable[[], Iterator[Row]]


def interval_facts(clusters: str) -> dict[str, Any]:
    """How the intervals under "ci" were made, for `--json`."""
    from ngcg_cli.evaluation.metrics import CONFIDENCE, RESAMPLES, SEED

    return {
        "level": CONFIDENCE,
        "method": "percentile bootstrap",
        "resampled": clusters,
        "resamples": RESAMPLES,
        "seed": SEED,
    }
