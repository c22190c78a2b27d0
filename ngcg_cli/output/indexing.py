"""The line that closes `ngcg index`."""

from __future__ import annotations

import logging

from ngcg_cli.journeys.estimating import Estimate
from ngcg_cli.journeys.indexing import IndexReport

logger = logging.getLogger(__name__)

# Of files that are passed over so many are named.
_NAMED = 10


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


def estimate_text(estimate: Estimate) -> str:
    """What `ngcg index --dry-run` says on stdout."""
    minutes = estimate.seconds / 60
    told = f"{estimate.seconds:.0f} s" if minutes < 2 else f"{minutes:,.0f} min"
    sources = "1 source" if estimate.sources == 1 else f"{estimate.sources:,} sources"
    return (
        f"{sources} to read, {estimate.tiles:,} tiles, about {told}, "
        f"about {estimate.bytes / 1e6:,.1f} MB"
    )


def log_passed_over(paths: list[str]) -> None:
    """Names files in the folders that hold rasters, but are not taken."""
    if paths:
        more = f" and {len(paths) - _NAMED:,} more" if len(paths) > _NAMED else ""
        logger.warning(
            "passed over, name them to index them: %s%s", ", ".join(paths[:_NAMED]), more
        )
