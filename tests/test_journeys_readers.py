"""Reader threads: the order of what they read, how far ahead, and how they end."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from samples import SIDE, write_raster

from ngcg_cli.journeys.planning import Job, SourceReport
from ngcg_cli.journeys.reading import CHUNK, read_ahead
from ngcg_cli.raster import Raster, Window
from ngcg_cli.search import SourceRecord


def _jobs(*paths: Path, tile: str = "8px") -> list[Job]:
    cut = {"tile": tile, "overlap": 0.0, "min_valid": 0.25}
    records = [SourceRecord(str(path), None, None, **cut) for path in paths]
    side = SIDE // int(tile.removesuffix("px"))
    return [Job(record, SourceReport(record.path, "indexed"), side**2) for record in records]


def test_readers_keep_the_order_and_stay_within_bounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [write_raster(tmp_path / f"{n}.tif", n, 500_000.0 + 1_000 * n) for n in range(5)]
    read, lock = Raster.read, threading.Lock()
    readers: dict[str, set[int]] = {}
    tiles = {"read": 0, "taken": 0, "waiting": 0}

    def counted(self: Raster, window: Window, max_side: int | None = None) -> Any:
        with lock:
            readers.setdefault(self.path, set()).add(threading.get_ident())
            tiles["read"] += 1
            tiles["waiting"] = max(tiles["waiting"], tiles["read"] - tiles["taken"])
        return read(self, window, max_side)

    monkeypatch.setattr(Raster, "read", counted)
    seen: dict[str, list[tuple[int, ...]]] = {}
    for chunk in read_ahead(_jobs(*paths), 64, tiles_ahead=16, readers=3):
        assert chunk.tiles is not None
        seen.setdefault(chunk.path, []).extend(map(tuple, chunk.tiles.window.tolist()))
        with lock:
            tiles["taken"] += len(chunk.pixels)
    assert list(seen) == [str(path) for path in paths]
    for windows in seen.values():
        assert windows == [(x, y, 8, 8) for y in range(0, SIDE, 8) for x in range(0, SIDE, 8)]
    assert all(len(threads) == 1 for threads in readers.values())
    # Room for the source in turn and for the others, and what each reader has in hand.
    assert tiles["waiting"] <= 2 * (16 + CHUNK) + 3 * CHUNK + CHUNK


def test_readers_end_when_nobody_takes_any_more(tmp_path: Path) -> None:
    paths = [write_raster(tmp_path / f"{n}.tif", n, 500_000.0 + 1_000 * n) for n in range(4)]
    chunks = read_ahead(_jobs(*paths), 64)
    next(chunks)
    chunks.close()
    names = [thread.name for thread in threading.enumerate()]
    assert not [name for name in names if name.startswith("reader-")]
