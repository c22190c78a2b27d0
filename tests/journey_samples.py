"""What the tests of indexing runs share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ngcg_cli.journeys.indexing import IndexReport

Index = Callable[..., IndexReport]


def told(report: IndexReport) -> list[tuple[str, str, int]]:
    return [(Path(s.path).name, s.status, s.tiles) for s in report.sources]
