"""What an index holds and how it is, for people and scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ngcg_cli.errors import TileIndexError
from ngcg_cli.search.extent import Box, extent
from ngcg_cli.search.files import file_size
from ngcg_cli.search.format import CHECKED, VERSION
from ngcg_cli.search.graph import Graph
from ngcg_cli.search.health import checksum_trouble, size_trouble
from ngcg_cli.search.records import SegmentRecord, SourceRecord
from ngcg_cli.search.tiles import TileColumns

if TYPE_CHECKING:
    from ngcg_cli.search.index import TileIndex


def describe(index: TileIndex, check: bool = False) -> dict[str, Any]:
    """The object that `ngcg info --json` prints.

    Args:
        check: read every file and compare it with its checksum; otherwise sizes are compared.

    Returns:
        `bbox` is [west, south, east, north] of all tiles, null without any; `bytes` counts the
        files that belong to the index. `health` has `damaged` (a line for each file), whether that
        is by `sizes` or by `checksums`, and `sealed`: whether the manifest has a checksum. The
        graph is a cache: damage to it is told in `graph.state` alone.
    """
    manifest = index.manifest
    files = manifest.files()
    graph = _graph(index, check)
    if manifest.graph:
        del files[manifest.graph.path]
    if check:
        troubles = checksum_trouble(index.path, files)
    else:
        troubles = list(size_trouble(index.path, manifest.segments).values())
    damaged = {
        source.path
        for source in manifest.sources
        for segment in source.segments
        if any(line.startswith(tuple(segment.files())) for line in troubles)
    }
    boxes = {source.path: _box(index, source.segments) for source in manifest.sources}
    known = [box for box in boxes.values() if box]
    return {
        "index": str(index.path),
        "format": manifest.version,
        "model": manifest.model.name,
        "fingerprint": manifest.model.fingerprint,
        "dim": manifest.model.dim,
        "precision": manifest.model.precision,
        "revision": manifest.model.revision,
        "tiles": sum(source.tiles for source in manifest.sources),
        "bbox": extent(np.array(known)) if known else None,
        "bytes": sum(record.bytes for record in manifest.files().values()),
        "graph": graph,
        "health": {
            "ok": not troubles,
            "checked": "checksums" if check else "sizes",
            "damaged": troubles,
            "upgrade": manifest.version < VERSION,
            "sealed": manifest.version >= CHECKED,
        },
        "sources": [
            told_of(source, source.path in damaged, boxes[source.path])
            for source in manifest.sources
        ],
    }


def told_of(source: SourceRecord, damaged: bool, box: Box | None) -> dict[str, Any]:
    """What is told of a source that lies in `box`."""
    whole = "complete" if source.complete else "partial"
    return {
        "path": source.path,
        "status": "damaged" if damaged else whole,
        "tiles": source.tiles,
        "done": source.done,
        "windows": source.windows,
        "skipped": source.skipped,
        "tile": source.tile,
        "overlap": source.overlap,
        "min_valid": source.min_valid,
        "size": source.size,
        "content": source.content,
        "acquired": source.acquired,
        "gsd": source.gsd,
        "item": source.item,
        "bbox": box,
    }


def _box(index: TileIndex, segments: tuple[SegmentRecord, ...]) -> Box | None:
    boxes = []
    for segment in segments:
        if segment.bbox is not None:
            boxes.append(segment.bbox)
        elif segment.name not in index.broken:  # of format 1
            columns = TileColumns.read(index.path, segment)
            boxes.append(extent(columns.bbox, columns.lon, columns.lat))
    return extent(np.array(boxes)) if boxes else None


def _graph(index: TileIndex, check: bool) -> dict[str, Any]:
    """The graph's state: none, current, behind (tiles to be added or gone), damaged."""
    manifest = index.manifest
    record = manifest.graph
    if record is None:
        return {"state": "none", "tiles": 0, "bytes": 0}
    held, live = set(record.segments), {(s.name, s.tiles) for s in manifest.segments}
    state = "current" if held == live else "behind"
    try:
        size = file_size(index.path, record.path)
    except (OSError, TileIndexError):
        size = -1
    if size != record.file.bytes or (check and not Graph.sound(index.path, record)):
        state = "damaged"
    return {"state": state, "tiles": record.count, "bytes": record.file.bytes}
