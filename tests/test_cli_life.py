"""`ngcg info`, `ngcg remove`, `ngcg merge`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from samples import Ngcg
from tile_samples import MODEL, row_of_tiles, source, unit

from ngcg_cli.errors import UsageError
from ngcg_cli.search import ModelStamp, TileIndex
from ngcg_cli.search.lock import writer_lock
from ngcg_cli.search.match import matching


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TileIndex:
    monkeypatch.chdir(tmp_path)
    index = TileIndex.create("north", MODEL)
    index.put(source("photos/one.tif"), row_of_tiles(3), unit(3))
    index.put(
        source("photos/two.tif", complete=False, done=4, windows=9, skipped=1),
        row_of_tiles(2, west=-175),
        unit(2, seed=1),
    )
    index.put(source("black.tif"), row_of_tiles(0), unit(0))
    return index


def told(ngcg: Ngcg, *args: Any, status: int = 0) -> Any:
    outcome = ngcg(*args)
    assert outcome.status == status, outcome.err
    return json.loads(outcome.out)


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


def test_info(ngcg: Ngcg, index: TileIndex) -> None:
    report = told(ngcg, "info", "--index", "north", "--json")
    assert (report["model"], report["dim"], report["tiles"]) == ("tiny", MODEL.dim, 5)
    assert (report["format"], report["graph"]["state"]) == (3, "none")
    named = [f for f in files_of(index.path) if f.startswith(("tiles/", "vectors/"))]
    assert report["bytes"] == sum((index.path / name).stat().st_size for name in named)
    # Across the antimeridian the short way.
    assert report["bbox"] == pytest.approx([10, 50, -174.998, 50.001])
    assert report["health"]["ok"]
    rows = {row["path"]: row for row in report["sources"]}
    assert [row["status"] for row in rows.values()] == ["complete", "partial", "complete"]
    assert rows["photos/two.tif"]["done"] == 4
    assert rows["black.tif"]["bbox"] is None
    table = ngcg("info", "--index", "north", "--check")
    assert table.status == 0
    for words in ("good, by checksums", "partial, 4 of 9 windows, 1 unreadable", "photos/one.tif"):
        assert words in table.out


def test_info_of_a_damaged_index(ngcg: Ngcg, index: TileIndex) -> None:
    file = index.path / "vectors/000001.npy"
    good = file.read_bytes()
    file.write_bytes(good[:-4] + b"\0\0\0\0")  # only the checksum tells
    assert told(ngcg, "info", "--index", "north", "--json")["health"]["ok"]
    report = told(ngcg, "info", "--index", "north", "--check", "--json", status=1)
    assert report["health"]["damaged"] == ["vectors/000001.npy: differs from what was committed"]
    assert [row["status"] for row in report["sources"]] == ["damaged", "partial", "complete"]
    file.unlink()
    outcome = ngcg("info", "--index", "north")
    assert outcome.status == 1
    assert "vectors/000001.npy is missing" in outcome.out
    assert outcome.err.splitlines()[-1].startswith("ngcg: north: is damaged (vectors/000001.npy")
    outcome = ngcg("info", "--index", "nowhere")
    assert (outcome.status, outcome.out) == (1, "")


def test_remove(ngcg: Ngcg, index: TileIndex, tmp_path: Path) -> None:
    for name, near in (("photos/ones.tif", "photos/one.tif"), ("two.tif", "photos/two.tif")):
        outcome = ngcg("remove", "black.tif", name, "--index", "north")
        assert outcome.status == 1
        assert name in outcome.err
        assert f"Is it {near}" in outcome.err
    assert len(TileIndex.open("north").sources()) == 3
    whole = os.fspath(tmp_path / "photos" / "one.tif")
    report = told(ngcg, "remove", whole, "black.tif", "--index", "north", "--json")
    assert report["removed"] == [
        {"path": "photos/one.tif", "tiles": 3},
        {"path": "black.tif", "tiles": 0},
    ]
    assert report["tiles"] == 2
    index.put(source("photos2/x.tif"), row_of_tiles(1), unit(1))
    assert ngcg("remove", "photos", "--index", "north").status == 0  # the folder
    assert [s.path for s in TileIndex.open("north").sources()] == ["photos2/x.tif"]
    assert TileIndex.open("north").verify() == []


def test_an_empty_name_removes_nothing(ngcg: Ngcg, index: TileIndex) -> None:
    outcome = ngcg("remove", "", "--index", "north")
    assert (outcome.status, outcome.out) == (2, "")
    with pytest.raises(UsageError, match="a path is empty"):
        matching(index, "")
    assert len(TileIndex.open("north").sources()) == 3


def test_merge(ngcg: Ngcg, index: TileIndex) -> None:
    south = TileIndex.create("south", ModelStamp("renamed", MODEL.fingerprint, MODEL.dim))
    south.put(source("photos/two.tif", mtime_ns=1), row_of_tiles(4, west=30), unit(4, seed=2))
    south.put(source("photos/one.tif", mtime_ns=1), row_of_tiles(1, west=40), unit(1, seed=2))
    south.put(source("south.tif"), row_of_tiles(2, west=50), unit(2, seed=3))
    before = files_of(index.path), files_of(south.path)
    outcome = ngcg("merge", "north", "south", "--out", "both", "--json")
    assert outcome.status == 0
    report = json.loads(outcome.out)
    assert (report["tiles"], report["sources"]) == (9, 4)
    assert report["duplicates"] == [
        {"path": "photos/one.tif", "kept": "north", "left_out": ["south"]},  # newer
        {"path": "photos/two.tif", "kept": "south", "left_out": ["north"]},  # complete
    ]
    assert "photos/two.tif: kept from south, left out of north" in outcome.err
    assert (files_of(index.path), files_of(south.path)) == before
    both = TileIndex.open("both")
    assert both.verify() == []
    tiles = {s.path: (s.tiles, s.complete) for s in both.sources()}
    assert tiles["photos/one.tif"] == (3, True)
    assert tiles["photos/two.tif"] == (4, True)
    for asked, parent, name in (
        (unit(1), index, "photos/one.tif"),
        (unit(1, seed=3), south, "south.tif"),
    ):
        hit, theirs = both.search(asked)[0][0], parent.search(asked)[0][0]
        assert hit == theirs
        assert hit.source == name
    both.put(source("later.tif"), row_of_tiles(1), unit(1))  # the parents stay as they are
    both.drop("south.tif")
    assert (files_of(index.path), files_of(south.path)) == before


def test_merge_refuses(
    ngcg: Ngcg, index: TileIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = TileIndex.create("other", ModelStamp("large", "b" * 64, MODEL.dim))
    other.put(source("x"), row_of_tiles(1), unit(1))
    outcome = ngcg("merge", "north", "other", "--out", "both")
    assert outcome.status == 1
    assert "'tiny'" in outcome.err
    assert "'large'" in outcome.err
    assert ngcg("merge", "north", "--out", "both").status == 2
    assert ngcg("merge", "north", "./north", "--out", "both").status == 2
    south = TileIndex.create("south", MODEL)
    south.put(source("s"), row_of_tiles(1), unit(1))
    outcome = ngcg("merge", "north", "south", "--out", "other")
    assert "other: is there already" in outcome.err

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", full)
        patch.setattr("shutil.copyfile", full)
        outcome = ngcg("merge", "north", "south", "--out", "both")
        assert (outcome.status, outcome.out) == (1, "")
        assert "No space left on device" in outcome.err
    assert sorted(f.name for f in tmp_path.iterdir()) == ["north", "other", "south"]
    with monkeypatch.context() as patch:  # another disk: copies instead of links
        patch.setattr(os, "link", full)
        assert ngcg("merge", "north", "south", "--out", "deep/both").status == 0
    assert TileIndex.open("deep/both").verify() == []


def test_merge_clears_what_a_killed_one_left(ngcg: Ngcg, index: TileIndex, tmp_path: Path) -> None:
    left = tmp_path / ".partial-both"
    (left / "tiles").mkdir(parents=True)
    (left / "tiles" / "000001.parquet").write_bytes(b"half")
    (left / "manifest.json").write_bytes(b"half")
    TileIndex.create("south", MODEL).put(source("s"), row_of_tiles(1), unit(1))
    with writer_lock(left):  # another that is still at work
        outcome = ngcg("merge", "north", "south", "--out", "both")
        assert (outcome.status, (left / "tiles").exists()) == (1, True)
        assert "is being written by process" in outcome.err
    assert ngcg("merge", "north", "south", "--out", "both").status == 0
    assert TileIndex.open("both").verify() == []
    assert not left.exists()
