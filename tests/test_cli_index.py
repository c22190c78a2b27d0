"""`ngcg index` as a user meets it, in this process."""

from __future__ import annotations

import io
import os
import shutil
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import rasterio
from samples import SIDE, TILE, Ngcg, write_raster

from ngcg_cli.journeys.files import from_root


def test_index_adds_what_is_new_and_what_changed(
    ngcg: Ngcg, tmp_path: Path, fake_backbone: Path
) -> None:
    sources = tmp_path / "rasters"
    write_raster(sources / "a.tif", 1)
    write_raster(sources / "deep" / "B.TIFF", 2, west=590_000.0)
    (sources / "notes.txt").write_text("no raster")
    common = ["--tile", f"{TILE}px", "--overlap", "0", "--json"]

    first = ngcg("index", sources, "--model", fake_backbone, *common)
    (report,) = first.rows
    assert first.status == 0
    assert set(report) == {"index", "model", "dim", "tiles", "added", "sources", "seconds"}
    assert (report["tiles"], report["added"], report["dim"]) == (32, 32, 64)
    assert report["index"] == "ngcg-index"
    assert report["model"] == str(fake_backbone)
    assert report["sources"] == [
        {"path": str(sources / "a.tif"), "status": "indexed", "tiles": 16},
        {"path": str(sources / "deep" / "B.TIFF"), "status": "indexed", "tiles": 16},
    ]
    warning, _ = first.err.splitlines()  # the other is the summary
    assert "and 1 more: a tile is 32 x 32 of its pixels" in warning

    (again,) = ngcg("index", sources, "--json").rows
    assert [s["status"] for s in again["sources"]] == ["unchanged", "unchanged"]
    assert (again["tiles"], again["added"]) == (32, 0)

    write_raster(sources / "a.tif", 3)
    os.utime(sources / "a.tif", ns=(1, time.time_ns()))
    write_raster(sources / "c.tif", 4, west=600_000.0)
    (third,) = ngcg("index", sources, "--json").rows  # tile size and model are remembered
    assert [(s["status"], s["tiles"]) for s in third["sources"]] == [
        ("indexed", 16),
        ("indexed", 16),
        ("unchanged", 16),
    ]
    assert (third["tiles"], third["added"]) == (48, 32)

    (recut,) = ngcg("index", sources / "c.tif", "--tile", "64px", "--json").rows
    assert [(s["status"], s["tiles"]) for s in recut["sources"]] == [("indexed", 4)]
    assert recut["tiles"] == 36
    (forced,) = ngcg("index", sources / "c.tif", "--force", "--json").rows
    assert (forced["added"], forced["tiles"]) == (4, 36)


def test_an_unchanged_run_loads_no_model(
    ngcg: Ngcg, town: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ngcg_cli.encoder.checkpoint.load_encoder", None)
    outcome = ngcg("index", town / "a.tif", "--index", town / "index", "-q")
    assert (outcome.status, outcome.out, outcome.err) == (0, "", "")


def test_a_source_named_twice_is_indexed_once(
    ngcg: Ngcg, town: Path, tmp_path: Path, fake_backbone: Path
) -> None:
    shutil.copy(town / "a.tif", tmp_path / "a.tif")
    (tmp_path / "link.tif").symlink_to(tmp_path / "a.tif")
    sources = ["a.tif", tmp_path / "a.tif", "./a.tif", tmp_path, "link.tif"]
    outcome = ngcg("index", *sources, "--model", fake_backbone, "--tile", "64px", "--json")
    (report,) = outcome.rows
    assert [s["path"] for s in report["sources"]] == [str(tmp_path / "a.tif")]


def test_a_url_of_a_file_and_an_archive_are_known_from_every_folder(
    ngcg: Ngcg, fake_backbone: Path, tmp_path: Path
) -> None:
    write_raster(tmp_path / "a b.tif", 1)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(tmp_path / "a b.tif", "c.tif")
        archive.write(tmp_path / "a b.tif", "d.tif")
    how = ["--model", fake_backbone, "--tile", "64px", "--json"]
    url = (tmp_path / "a b.tif").as_uri()
    assert "%20" in url
    done = ngcg("index", "a b.tif", url, "/vsizip/a.zip/c.tif", "/vsizip/{a.zip}/d.tif", *how)
    assert [(row["path"], row["status"]) for row in done.rows[0]["sources"]] == [
        (f"{tmp_path}/a b.tif", "indexed"),
        (f"/vsizip/{tmp_path}/a.zip/c.tif", "indexed"),
        (f"/vsizip/{{{tmp_path}/a.zip}}/d.tif", "indexed"),
    ]
    for remote in ("/vsizip/{/vsicurl/https://a.org/a.zip}/b.tif", "/vsizip//vsis3/a/b.zip/c.tif"):
        assert from_root(remote) == remote
    refused = ngcg("index", "a.zip", *how)
    assert f"Name a raster in the archive: /vsizip/{tmp_path}/a.zip/NAME.tif." in refused.err


def test_failed_sources_are_named_and_the_rest_is_done(
    ngcg: Ngcg, town: Path, tmp_path: Path, fake_backbone: Path
) -> None:
    broken = tmp_path / "broken.tif"
    whole = write_raster(tmp_path / "whole.tif", 5, compress="deflate", tiled=True, blockxsize=16,
                         blockysize=16)  # fmt: skip
    broken.write_bytes(whole.read_bytes()[:-200])
    (tmp_path / "text.tif").write_text("no raster at all")
    (tmp_path / "empty").mkdir()
    missing = tmp_path / "missing.tif"
    sources = [missing, town / "a.tif", broken, tmp_path / "text.tif", tmp_path / "empty"]
    model = ["--model", fake_backbone, "--tile", f"{TILE}px", "--overlap", 0]
    outcome = ngcg("index", *sources, *model, "--json")
    assert outcome.status == 3
    (report,) = outcome.rows
    by_path = {Path(s["path"]).name: s for s in report["sources"]}
    assert len(by_path) == 5
    assert by_path["a.tif"] == {"path": str(town / "a.tif"), "status": "indexed", "tiles": 16}
    for name in ("missing.tif", "text.tif", "empty"):
        assert by_path[name]["status"] == "failed"
        assert by_path[name]["reason"]
        assert by_path[name]["tiles"] == 0
        (line,) = [line for line in outcome.err.splitlines() if f"/{name}: " in line]
        assert by_path[name]["reason"] in line
    # Of the truncated one the whole tiles are there, and the others are named.
    assert (by_path["broken.tif"]["status"], by_path["broken.tif"]["tiles"]) == ("indexed", 12)
    assert "4 of its 16 windows left out: the pixels of window [0, 96, 32, 32]" in outcome.err
    assert by_path["broken.tif"]["reason"] in outcome.err
    assert (report["tiles"], report["added"]) == (28, 28)


def test_when_all_sources_fail_the_status_is_1_and_no_index_is_made(ngcg: Ngcg) -> None:
    outcome = ngcg("index", "nowhere.tif", "--json", "-q")
    assert outcome.status == 1
    (report,) = outcome.rows
    assert (report["tiles"], report["dim"]) == (0, None)
    assert report["sources"][0]["status"] == "failed"
    assert outcome.err.count("\n") == 1
    assert "nowhere.tif" in outcome.err
    assert not Path("ngcg-index").exists()


def test_a_changed_source_that_broke_keeps_its_old_tiles(
    ngcg: Ngcg, tmp_path: Path, fake_backbone: Path
) -> None:
    source = write_raster(tmp_path / "a.tif", 1)
    ngcg("index", source, "--model", fake_backbone, "--tile", "64px", "--overlap", 0)
    source.write_bytes(b"no longer a raster")
    outcome = ngcg("index", source, "--json")
    (report,) = outcome.rows
    assert (outcome.status, report["tiles"], report["added"]) == (1, 4, 0)
    assert ngcg("query", "a pond").rows


def test_tiles_without_enough_data_are_skipped(
    ngcg: Ngcg, tmp_path: Path, fake_backbone: Path
) -> None:
    source = write_raster(tmp_path / "a.tif", 1, nodata=0)
    with rasterio.open(source, "r+") as dataset:
        pixels = np.maximum(dataset.read(), 1)
        pixels[:, :, 40:] = 0  # a full column of tiles, a quarter of the next, nothing else
        dataset.write(pixels)
    args = ["--tile", f"{TILE}px", "--overlap", 0, "--json", "--model", fake_backbone]
    tiles = {}
    for least in ("0", "0.25", "0.3"):
        (report,) = ngcg("index", source, "--min-valid", least, "--index", least, *args).rows
        tiles[least] = report["tiles"]
    assert tiles == {"0": 8, "0.25": 8, "0.3": 4}

    with rasterio.open(source, "r+") as dataset:
        dataset.write(np.zeros((3, SIDE, SIDE), np.uint8))
    outcome = ngcg("index", source, "--index", "none", *args)
    assert outcome.status == 0
    assert outcome.rows[0]["sources"] == [{"path": str(source), "status": "indexed", "tiles": 0}]
    assert "warning" in outcome.err
    assert ngcg("query", "a pond", "--index", "none").out == ""


def test_small_rasters_share_batches_and_keep_their_own_vectors(
    ngcg: Ngcg, tmp_path: Path, fake_backbone: Path
) -> None:
    """Five rasters in batches of 3 give each the vectors that it has when indexed alone."""
    from ngcg_cli.encoder.checkpoint import load_encoder
    from ngcg_cli.raster import Raster, Window

    for seed in range(5):
        write_raster(tmp_path / f"{seed}.tif", seed, west=500_000.0 + 1_000 * seed)
    args = ["--model", fake_backbone, "--tile", "64px", "--overlap", 0, "--batch-size", 3]
    assert ngcg("index", tmp_path, *args).status == 0
    hits = ngcg("query", "a pond", "-k", 20, "--exact").rows
    assert len(hits) == 20
    encoder = load_encoder(str(fake_backbone), "cpu")
    (query,) = encoder.encode_texts(["a pond"])
    for hit in hits[::7]:
        with Raster.open(hit["source"]) as raster:
            pixels, _ = raster.read(Window(*hit["window"]))
        (vector,) = encoder.encode_images([pixels])
        assert hit["score"] == pytest.approx(float(query @ vector), abs=1e-5)


def test_an_index_refuses_another_model_with_both_names(
    ngcg: Ngcg, town: Path, tmp_path: Path, fake_backbone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for command in (["index", town / "a.tif"], ["query", "a pond"]):
        outcome = ngcg(*command, "--index", town / "index", "--model", "smolvlm-256m")
        assert (outcome.status, outcome.out) == (1, "")
        assert "'smolvlm-256m'" in outcome.err
        assert str(fake_backbone) in outcome.err
        assert outcome.err.count("\n") == 1
    monkeypatch.setenv("NGCG_MODEL", "internvl3.5-1b")
    assert "'internvl3.5-1b'" in ngcg("query", "a pond", "--index", town / "index").err
    monkeypatch.delenv("NGCG_MODEL")

    # A folder is known by its fingerprint: a copy is the same model, other weights are not.
    moved = tmp_path / "moved"
    shutil.copytree(fake_backbone, moved)
    same = ngcg("query", "a pond", "--index", town / "index", "--model", moved)
    assert (same.status, len(same.rows)) == (0, 10)
    _change_weights(moved)
    outcome = ngcg("query", "a pond", "--index", town / "index", "--model", moved)
    assert (outcome.status, outcome.out) == (1, "")
    assert str(moved) in outcome.err
    assert str(fake_backbone) in outcome.err


def _change_weights(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    state = load_file(path)
    save_file({name: tensor + 0.01 for name, tensor in state.items()}, path, {"format": "pt"})


def test_a_model_that_is_nowhere_says_so(ngcg: Ngcg, town: Path) -> None:
    outcome = ngcg("index", town / "a.tif", "--model", "no-such-model", "--index", "new")
    assert (outcome.status, outcome.out) == (1, "")
    assert "no-such-model" in outcome.err
    assert outcome.err.count("\n") == 1
    assert not Path("new").exists()


def test_progress_is_drawn_only_on_a_terminal(
    ngcg: Ngcg, town: Path, fake_backbone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    args = ["index", town / "a.tif", "--model", fake_backbone, "--tile", "64px", "--overlap", 0]
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "120")
    drawn = {}
    for name, more in (("bar", []), ("quiet", ["-q"])):
        monkeypatch.setattr(sys, "stderr", Terminal())
        assert ngcg(*args, "--index", name, *more).status == 0
        drawn[name] = sys.stderr.getvalue()
    assert "tiles/s" in drawn["bar"]
    assert "4/4" in drawn["bar"]
    assert "opening" in drawn["bar"]
    assert "eta" in drawn["bar"]
    assert drawn["quiet"] == ""


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(
    ngcg: Ngcg, fake_backbone: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "r"
    write_raster(folder / "a.tif", 1)
    write_raster(folder / "b.tif", 2)
    (folder / "broken.tif").write_text("no raster")
    for name in ("c.img", "map.png", "map.pgw", "holiday.jpg", "notes.txt"):
        (folder / name).touch()
    cut = ["--tile", "32px", "--overlap", 0, "--model", fake_backbone, "--device", "cpu"]
    before = sorted(tmp_path.rglob("*"))
    outcome = ngcg("index", folder, *cut, "--index", "i", "--dry-run", "--json")
    assert outcome.status == 3
    (report,) = outcome.rows
    assert (report["sources"], report["tiles"]) == (2, 32)
    assert list(report) == ["sources", "tiles", "seconds", "bytes"]
    assert report["seconds"] > 0
    assert 32 * 4 * 64 < report["bytes"] < 32 * 4 * 64 + 32 * 1000
    assert sorted(tmp_path.rglob("*")) == before
    assert "passed over" in outcome.err
    assert "c.img" in outcome.err
    assert "map.png" in outcome.err
    assert "holiday.jpg" not in outcome.err
    # What is done is not counted again.
    (folder / "broken.tif").unlink()
    assert ngcg("index", folder / "a.tif", *cut, "--index", "i").status == 0
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "i").rglob("*")}
    outcome = ngcg("index", folder, *cut, "--index", "i", "--dry-run")
    assert outcome.status == 0
    assert outcome.out.startswith("1 source to read, 16 tiles, about ")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "i").rglob("*")} == files


def test_small_tiles_and_imagery_that_no_model_knows_are_told(
    ngcg: Ngcg, fake_backbone: Path, tmp_path: Path
) -> None:
    from rasterio.transform import from_origin

    coarse = from_origin(583_000.0, 4_507_000.0, 30, 30)
    write_raster(tmp_path / "a.tif", 1, transform=coarse)
    cut = ["--model", fake_backbone, "--device", "cpu"]
    outcome = ngcg("index", "a.tif", *cut, "--tile", "32px")
    assert outcome.status == 0
    assert "a tile is 32 x 32 of its pixels" in outcome.err
    assert "a pixel is 30 m of ground" in outcome.err
    write_raster(tmp_path / "b.tif", 1)
    assert "a tile is" not in ngcg("index", "b.tif", *cut, "--tile", "64px", "--index", "j").err
