"""What an index in Milvus holds and how it is; see `search.describe`."""

from __future__ import annotations

from typing import Any

import numpy as np

from ngcg_cli.errors import TileIndexError
from ngcg_cli.search.blocks import Block
from ngcg_cli.search.describe import told_of
from ngcg_cli.search.extent import extent
from ngcg_cli.search.milvus.catalogue import VERSION, Entry
from ngcg_cli.search.milvus.view import View, any_part


def describe(view: View, check: bool) -> dict[str, Any]:
    """The object that `ngcg info --json` prints.

    `bytes` is None on a server, which does not tell. The tiles of each source are counted; with
    `check` every one is read too.
    """
    place, model = view.engine.place, view.state.model
    troubles: dict[str, str] = {}
    for path in sorted(lost_sources(view)):
        troubles[path] = "tiles are missing"
    if check:
        for entry in view.entries:
            trouble = _trouble(view, entry)
            if trouble:
                troubles[entry.record.path] = trouble
    boxes = [entry.box for entry in view.entries if entry.box]
    return {
        "index": place.name,
        "format": VERSION,
        "model": model.name,
        "fingerprint": model.fingerprint,
        "dim": model.dim,
        "precision": model.precision,
        "revision": model.revision,
        "tiles": view.count,
        "bbox": extent(np.array(boxes)) if boxes else None,
        "bytes": _bytes(view),
        "graph": {"state": "none" if view.engine.embedded else "the server's", "tiles": 0,
                  "bytes": 0},
        "health": {
            "ok": not troubles,
            "checked": "contents" if check else "counts",
            "damaged": [f"{path}: {what}" for path, what in troubles.items()],
            "upgrade": False,
            "sealed": True,  # no file of it is open to others than the engine
        },
        "sources": [
            told_of(entry.record, entry.record.path in troubles, entry.box)
            for entry in view.entries
        ],
    }  # fmt: skip


def lost_sources(view: View) -> frozenset[str]:
    """The sources of which fewer (or more) tiles are there than were committed."""
    collection = view.engine.place.collection
    expected = view.count + sum(one.tiles for one in view.dead)
    if view.engine.count(collection, f"part < {view.state.next_part}") == expected:
        return frozenset()
    return frozenset(
        entry.record.path
        for entry in view.entries
        if entry.ranges
        and view.engine.count(collection, any_part(entry.ranges)) != entry.record.tiles
    )


def _trouble(view: View, entry: Entry) -> str:
    """What is wrong with the tiles of a source, all of them read."""
    count = 0
    try:
        for rows in view.read(entry.ranges):
            Block(entry.record, rows.tiles, rows.vectors).check(view.state.model.dim)
            count += len(rows.tiles)
    except TileIndexError as error:
        return error.what
    return "" if count == entry.record.tiles else "tiles are missing"


def _bytes(view: View) -> int | None:
    folder = view.engine.place.file
    if folder is None:
        return None
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
