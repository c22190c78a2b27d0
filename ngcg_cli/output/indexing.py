"""The line that closes `ngcg index`."""

from __future__ import annotations

import logging

from ngcg_cli.journeys.indexing import IndexReport

logger = logging.getLogger(__name__)


def log_summary(report: IndexReport) -> None:
    """Says in one line what was done."""
    parts = [
        f"{report.count(status)} {status}"
        for status in ("indexed", "unchanged", "failed")
        if report.count(status)
    ]
    if report.pruned is not None:
        parts.append(f"{report.pruned} pruned")
    if moved := sum(source.moved_from is not None for source in report.sources):
        parts.append(f"{moved} moved")
    speed = f" ({report.added / report.seconds:,.1f} tiles/s)" if report.added else ""
    logger.info(
        "sources: %s; tiles: %s added, %s in %s; %.1f s%s",
        ", ".join(parts),
        f"{report.added:,}",
        f"{report.tiles:,}",
        report.index,
        report.seconds,
        speed,
    )
