"""The life of an index over many runs: what is embedded again, and what is kept."""

from __future__ import annotations

import errno
import os
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from journey_samples import Index, told
from killing import stored
from rasterio.transform import from_origin
from samples import SIDE, write_raster

from ngcg_cli.errors import TileIndexError
from ngcg_cli.journeys import committing, files
from ngcg_cli.raster import Raster
from ngcg_cli.search import TileIndex
from ngcg_cli.search.match import matching

# --- new, changed, touched, moved, gone --------------------------------------------------------


def test_a_touched_file_is_unchanged_and_a_changed_one_of_equal_size_is_not(
    tmp_path: Path, reindex: Index
) -> None:
    a, b = write_raster(tmp_path / "a.tif", 1), write_raster(tmp_path / "b.tif", 2, 590_000.0)
    assert reindex(a, b).added == 32
    size = b.stat().st_size
    write_raster(b, 3, 590_000.0)
    assert b.stat().st_size == size
    for path in (a, b):
        os.utime(path, ns=(1, time.time_ns()))
    report = reindex(a, b)
    assert told(report) == [("a.tif", "unchanged", 16), ("b.tif", "indexed", 16)]
    assert (report.added, report.tiles) == (16, 32)
    assert reindex(a, b).added == 0  # the new times are remembered


def test_a_moved_file_keeps_its_tiles(
    tmp_path: Path, reindex: Index, caplog: pytest.LogCaptureFixture
) -> None:
    a = write_raster(tmp_path / "a.tif", 1)
    reindex(a)
    before = stored(tmp_path / "index")
    moved = tmp_path / "deep" / "b.tif"
    moved.parent.mkdir()
    a.rename(moved)
    caplog.set_level("INFO", logger="ngcg_cli")  # whatever a command before left
    report = reindex(moved.parent)
    assert told(report) == [("b.tif", "unchanged", 16)]
    assert (report.added, report.tiles) == (0, 16)
    assert report.sources[0].as_json()["moved_from"] == str(a)
    assert f"{moved}: moved from {a}" in caplog.text
    after = stored(tmp_path / "index")
    assert after.keys() == {(str(moved), window) for _, window in before}
    for (_, window), vector in before.items():
        np.testing.assert_array_equal(after[str(moved), window], vector)


def test_twins_are_both_indexed_and_a_side_file_tells_them_apart(
    tmp_path: Path, reindex: Index
) -> None:
    a = write_raster(tmp_path / "a.tif", 1)
    shutil.copy(a, tmp_path / "twin.tif")
    assert reindex(a, tmp_path / "twin.tif").added == 32
    # One of two of the same content goes: the new path takes its tiles, the other's stay.
    a.rename(tmp_path / "c.tif")
    report = reindex(tmp_path / "c.tif", tmp_path / "twin.tif")
    assert (report.added, report.tiles) == (0, 32)

    # The same pixels under another world file lie elsewhere: that is no move.
    plain = {"crs": None, "transform": None}
    for name, west in (("old", 583_000), ("new", 584_000)):
        write_raster(tmp_path / f"{name}.tif", 7, **plain)
        (tmp_path / f"{name}.tfw").write_text(f"1\n0\n0\n-1\n{west}.5\n4506999.5\n")
        crs = '<PAMDataset><SRS dataAxisToSRSAxisMapping="1,2">EPSG:32618</SRS></PAMDataset>'
        (tmp_path / f"{name}.tif.aux.xml").write_text(crs)
    assert told(reindex(tmp_path / "old.tif")) == [("old.tif", "indexed", 16)]
    for file in tmp_path.glob("old.*"):
        file.unlink()
    assert told(reindex(tmp_path / "new.tif")) == [("new.tif", "indexed", 16)]


def test_prune_drops_what_is_gone_under_its_sources_alone(tmp_path: Path, reindex: Index) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for number, path in enumerate([here / "a.tif", here / "b.tif", there / "c.tif"]):
        write_raster(path, number, 500_000.0 + 1_000 * number)
    reindex(here, there)
    (here / "a.tif").unlink()
    (there / "c.tif").unlink()
    assert reindex(here).tiles == 48
    report = reindex(here, prune=True)
    assert told(report) == [("b.tif", "unchanged", 16)]
    assert (report.pruned, report.as_json()["pruned"], report.tiles) == (1, 1, 32)
    # A folder that is empty now may be a disk that is not mounted.
    report = reindex(there, prune=True)
    assert (told(report), report.tiles) == ([("there", "failed", 0)], 32)
    (there / "other.txt").touch()
    report = reindex(there / "c.tif", prune=True)
    assert (told(report), report.pruned, report.tiles) == ([], 1, 16)


def test_a_vrt_is_changed_when_its_source_is(tmp_path: Path, reindex: Index) -> None:
    from rasterio.shutil import copy

    write_raster(tmp_path / "a.tif", 1)
    copy(tmp_path / "a.tif", tmp_path / "a.vrt", driver="VRT")
    assert reindex(tmp_path / "a.vrt").added == 16
    assert reindex(tmp_path / "a.vrt").added == 0
    write_raster(tmp_path / "a.tif", 2)
    os.utime(tmp_path / "a.tif", ns=(1, time.time_ns()))
    assert reindex(tmp_path / "a.vrt").added == 16


def test_a_corrected_side_file_makes_its_source_changed(tmp_path: Path, reindex: Index) -> None:
    path = write_raster(tmp_path / "a.tif", 1, crs=None, transform=None)
    world, crs = tmp_path / "a.tfw", tmp_path / "a.tif.aux.xml"

    def place(west: int, zone: int, when: int) -> float:
        srs = f'<SRS dataAxisToSRSAxisMapping="1,2">EPSG:326{zone}</SRS>'
        world.write_text(f"1\n0\n0\n-1\n{west}.5\n4506999.5\n")
        crs.write_text(f"<PAMDataset>{srs}</PAMDataset>")
        for file in (world, crs):
            os.utime(file, ns=(when, when))
        assert told(reindex(path)) == [("a.tif", "indexed", 16)]
        assert told(reindex(path)) == [("a.tif", "unchanged", 16)]
        bbox = TileIndex.open(tmp_path / "index").sources()[0].segments[0].bbox
        assert bbox is not None
        return bbox[0]

    first = place(583_000, 18, time.time_ns())
    # Corrected by a copy that is older than all that was there.
    assert place(583_500, 18, 10**18) == pytest.approx(first + 0.0059, abs=1e-4)
    assert place(583_500, 17, 10**18) == pytest.approx(first - 5.9941, abs=1e-3)


def test_a_raster_is_opened_once_and_hashed_once(
    tmp_path: Path, reindex: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = write_raster(tmp_path / "a_2020-05-15.tif", 1)
    opened, hashed = [], []
    real_open, real_hash = Raster.open, files._digest

    def count_open(path: Any) -> Raster:
        opened.append(path)
        return real_open(path)

    def count_hash(path: str, stopped: Any) -> bytes:
        hashed.append(path)
        return real_hash(path, stopped)

    monkeypatch.setattr(Raster, "open", count_open)
    monkeypatch.setattr(files, "_digest", count_hash)
    for seed in (1, 2):
        write_raster(a, seed)
        os.utime(a, ns=(seed, time.time_ns()))
        opened.clear(), hashed.clear()
        assert told(reindex(a)) == [(a.name, "indexed", 16)]
        assert (opened, hashed) == ([str(a)], [str(a)])
    (record,) = TileIndex.open(tmp_path / "index").sources()
    assert record.acquired == "2020-05-15"
    assert record.content == files.content_of(str(a))


def test_one_raster_by_several_names_is_one_source(tmp_path: Path, reindex: Index) -> None:
    write_raster(tmp_path / "real" / "a.tif", 1)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    link = tmp_path / "link" / "a.tif"
    assert reindex(tmp_path / "link").sources[0].path == str(link)
    for other in (tmp_path / "real", tmp_path / "link", tmp_path / "real" / "a.tif"):
        report = reindex(other)
        assert (report.sources[0].path, report.sources[0].status) == (str(link), "unchanged")
        assert report.tiles == 16
    opened = TileIndex.open(tmp_path / "index")
    for name in (tmp_path / "real" / "a.tif", tmp_path / "real", link):
        assert matching(opened, str(name)) == [str(link)]


def test_odd_rasters_never_end_the_run(
    tmp_path: Path, reindex: Index, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "r"
    write_raster(folder / "1.tif", 1)
    write_raster(folder / "2.tif", 2, crs="EPSG:4978")
    past_pole = from_origin(10, 100, 0.1, 0.1)
    write_raster(folder / "3.tif", 3, crs="EPSG:4326", transform=past_pole)
    # A window with its centre on the Earth is kept, clipped; the others are told.
    world = Affine(36_080_100 / SIDE, 0, -18_040_050, 0, -18_040_100 / SIDE, 9_020_050)
    write_raster(folder / "4.tif", 4, crs="ESRI:54009", transform=world)
    write_raster(folder / "5.tif", 5)
    report = reindex(folder)
    assert told(report) == [
        ("1.tif", "indexed", 16),
        ("2.tif", "failed", 0),
        ("3.tif", "failed", 0),
        ("4.tif", "indexed", 12),
        ("5.tif", "indexed", 16),
    ]
    assert "geocentric" in (report.sources[1].reason or "")
    assert "past the pole" in (report.sources[2].reason or "")
    assert "4 of its 16 windows have their centre off the Earth" in caplog.text


def test_a_folder_of_somebody_else_is_refused_before_a_byte_is_written(
    tmp_path: Path, reindex: Index
) -> None:
    a = write_raster(tmp_path / "a.tif", 1)
    (tmp_path / "index").mkdir()
    (tmp_path / "index" / "letter.txt").write_text("dear")
    with pytest.raises(TileIndexError, match=r"it holds 'letter\.txt'"):
        reindex(a)
    assert os.listdir(tmp_path / "index") == ["letter.txt"]


# --- blocks, and what stops them ---------------------------------------------------------------


def test_a_source_goes_on_where_it_was_cut_short(
    tmp_path: Path, reindex: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = write_raster(tmp_path / "a.tif", 1)
    small = {"tile": "8px", "block_tiles": 32}  # 256 tiles
    commit, commits = TileIndex.commit, []

    def fail_at_third(self: TileIndex, blocks: Any) -> None:
        commits.append(blocks)
        if len(commits) == 3:
            raise TileIndexError("cannot be written: No space left on device", where="x")
        commit(self, blocks)

    monkeypatch.setattr(TileIndex, "commit", fail_at_third)
    with pytest.raises(TileIndexError, match="No space left"):
        reindex(a, **small)
    monkeypatch.setattr(TileIndex, "commit", commit)
    (record,) = TileIndex.open(tmp_path / "index").sources()
    assert (record.complete, record.done, record.tiles, record.windows) == (False, 64, 64, 256)

    moved = tmp_path / "moved.tif"
    a.rename(moved)
    report = reindex(moved, **small)
    # What was embedded is known by its content even before the source is complete.
    assert report.added == (192 if record.content else 256)
    disturbed = stored(tmp_path / "index")
    shutil.rmtree(tmp_path / "index")
    reindex(moved, tile="8px", batch_size=5)
    undisturbed = stored(tmp_path / "index")
    assert len(undisturbed) == 256
    own = {key: vector for key, vector in disturbed.items() if key[0] == str(moved)}
    assert own.keys() == undisturbed.keys()
    for key, vector in undisturbed.items():
        np.testing.assert_allclose(own[key], vector, atol=2e-6)


def test_small_sources_share_commits(
    tmp_path: Path, reindex: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit, counts = TileIndex.commit, []

    def count(self: TileIndex, blocks: Any) -> None:
        counts.append(sum(len(block.tiles) for block in blocks))
        commit(self, blocks)

    monkeypatch.setattr(TileIndex, "commit", count)
    for number in range(6):
        write_raster(tmp_path / "r" / f"{number}.tif", number, 500_000.0 + 1_000 * number)
    reindex(tmp_path / "r", block_tiles=48)
    assert sum(counts) == 96
    assert len(counts) <= 3
    # An old block is committed though it is not full.
    counts.clear()
    monkeypatch.setattr(committing.Committer.__init__, "__defaults__", (48, 0.0))
    reindex(tmp_path / "r", force=True)
    assert len(counts) > 3


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs POSIX")
def test_a_full_disk_is_one_error_and_keeps_what_was_committed(
    tmp_path: Path, reindex: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = write_raster(tmp_path / "a.tif", 1)
    reindex(a)
    fsync, calls = os.fsync, []

    def full(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) > 4:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    b = write_raster(tmp_path / "b.tif", 2, 590_000.0)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TileIndexError, match="No space left"):
        reindex(b, tile="8px", block_tiles=32)
    monkeypatch.setattr(os, "fsync", fsync)
    kept = TileIndex.open(tmp_path / "index").tile_count
    assert 16 <= kept < 16 + 256
    assert reindex(a, b, tile="8px").tiles == 512
