"""The description of an index, for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ngcg_cli.output import terminal
from ngcg_cli.output.rows import as_table
from ngcg_cli.plain import harmless


def info_text(report: Mapping[str, Any]) -> str:
    """What `ngcg info` prints: a few lines, then a table of the sources."""
    from rich.table import Table
    from rich.text import Text

    health, graph = report["health"], report["graph"]
    old = "; the next write upgrades it" if health["upgrade"] else ""
    if not health.get("sealed", True):
        old = f"; its manifest has no checksum{old}"
    revision = f", revision {report['revision']}" if report["revision"] else ""
    kind = f"{report['dim']} dimensions, {report['fingerprint'][:12]}{revision}"
    facts = {
        "index": report["index"],
        "model": f"{report['model']} ({kind})",
        "precision": report["precision"],
        "format": f"{report['format']}{old}",
        "sources": _sources(report["sources"]),
        "tiles": f"{report['tiles']:,}",
        "extent": _box(report["bbox"]),
        "on disk": "at the server" if report["bytes"] is None else _size(report["bytes"]),
        "graph": graph["state"] + (f", {graph['tiles']:,} tiles" if graph["tiles"] else ""),
        "health": "; ".join(health["damaged"]) or f"good, by {health['checked']}",
    }
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column()
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(name, Text(harmless(value)))
    rows = [_row(source) for source in report["sources"]]
    if not any(row["item"] for row in rows):
        rows = [{name: row[name] for name in row if name != "item"} for row in rows]
    return terminal.rendered(table) + (f"\n{as_table(rows)}" if rows else "")


def _sources(sources: list[Mapping[str, Any]]) -> str:
    told = [f"{len(sources):,}"]
    for status in ("partial", "damaged"):
        count = sum(source["status"] == status for source in sources)
        if count:
            told.append(f"{count:,} {status}")
    return ", ".join(told)


def _row(source: Mapping[str, Any]) -> dict[str, Any]:
    status = source["status"]
    if status == "partial" and source["windows"]:
        status += f", {source['done']:,} of {source['windows']:,} windows"
    if source["skipped"]:
        status += f", {source['skipped']:,} unreadable"
    return {
        "source": source["path"],
        "item": source.get("item") or "",
        "status": status,
        "tiles": source["tiles"],
        "tile": source["tile"],
        "overlap": source["overlap"],
        "acquired": source.get("acquired") or "",
        "west south east north": _box(source["bbox"]),
    }


def _box(box: tuple[float, ...] | None) -> str:
    return " ".join(f"{edge:.5f}" for edge in box) if box else ""


def _size(count: float) -> str:
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            break
        count /= 1024
    return f"{count:,.0f} {unit}" if unit == "bytes" else f"{count:,.1f} {unit}"
