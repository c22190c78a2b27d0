"""Windows that cannot be read, and files that vanish: what is left out, named, and done later."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
from journey_samples import Index, told
from killing import stored
from samples import SIDE, write_raster

from ngcg_cli.errors import RasterError
from ngcg_cli.raster import Raster, Window
from ngcg_cli.search import TileIndex


@pytest.fixture
def unreadable(monkeypatch: pytest.MonkeyPatch) -> set[tuple[int, int]]:
    """Corners (column, row) of windows that `Raster.read` cannot read."""
    corners: set[tuple[int, int]] = set()
    read = Raster.read

    def fail(self: Raster, window: Window, max_side: int | None = None) -> Any:
        if (window.column, window.row) in corners:
            raise RasterError(f"the pixels of window {list(window)} cannot be read: bad block")
        return read(self, window, max_side)

    monkeypatch.setattr(Raster, "read", fail)
    return corners


def test_an_unreadable_window_is_left_out_and_named(
    tmp_path: Path, reindex: Index, unreadable: set[tuple[int, int]]
) -> None:
    a = write_raster(tmp_path / "a.tif", 1)
    unreadable.add((32, 64))
    report = reindex(a)
    assert report.partly
    assert told(report) == [("a.tif", "indexed", 15)]
    reason = "1 of its 16 windows left out: the pixels of window [32, 64, 32, 32] cannot be read"
    assert (report.sources[0].reason or "").startswith(reason)
    windows = {window[:2] for _, window in stored(tmp_path / "index")}
    assert len(windows) == 15
    assert (32, 64) not in windows
    (record,) = TileIndex.open(tmp_path / "index").sources()
    assert (record.skipped, record.done, record.complete) == (1, 16, True)
    again = reindex(a)
    assert told(again) == [("a.tif", "unchanged", 15)]
    assert (again.partly, again.sources[0].reason is None) == (False, False)


def test_a_raster_without_a_readable_window_failed_and_keeps_its_old_tiles(
    tmp_path: Path, reindex: Index, unreadable: set[tuple[int, int]]
) -> None:
    a = write_raster(tmp_path / "a.tif", 1)
    reindex(a)
    write_raster(a, 2)
    os.utime(a, ns=(1, time.time_ns()))
    unreadable.update((x, y) for x in range(0, SIDE, 32) for y in range(0, SIDE, 32))
    report = reindex(a)
    assert told(report) == [("a.tif", "failed", 16)]
    reason = report.sources[0].reason or ""
    assert "none of its windows can be read" in reason
    assert reason.endswith("Check the file with gdalinfo -checksum, or fetch it again.")
    assert report.added == 0
    unreadable.clear()
    assert reindex(a).added == 16


def test_whatever_a_raster_provokes_the_others_are_indexed(
    tmp_path: Path, reindex: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = (write_raster(tmp_path / f"{name}.tif", 1) for name in "ab")
    opened = Raster.open

    def fail(path: str) -> Raster:
        if path.endswith("a.tif"):
            raise TypeError("data type 'complex_int16' not understood")
        return opened(path)

    monkeypatch.setattr(Raster, "open", fail)
    report = reindex(a, b)
    assert told(report) == [("a.tif", "failed", 0), ("b.tif", "indexed", 16)]
    assert report.sources[0].reason == "TypeError: data type 'complex_int16' not understood"


def test_a_file_that_vanishes_breaks_off_and_is_finished_later(
    tmp_path: Path, reindex: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, away = write_raster(tmp_path / "a.tif", 1), tmp_path / "away"
    read = Raster.read

    def vanish(self: Raster, window: Window, max_side: int | None = None) -> Any:
        if window.row >= 64:
            if a.exists():
                a.rename(away)
            raise RasterError("the device is gone", where=a)
        return read(self, window, max_side)

    monkeypatch.setattr(Raster, "read", vanish)
    report = reindex(a)
    assert told(report) == [("a.tif", "failed", 8)]
    assert "vanished" in (report.sources[0].reason or "")
    monkeypatch.setattr(Raster, "read", read)
    away.rename(a)
    report = reindex(a)
    assert (told(report), report.added) == ([("a.tif", "indexed", 16)], 8)
