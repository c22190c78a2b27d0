"""The commands as a user meets them, in this process: exit statuses, streams, every option."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from ngcg_cli.app import run

TILE = 32
SIDE = 128  # so a raster has 4 x 4 tiles without overlap


def write_raster(path: Path, seed: int, west: float = 583_000.0, **changes: Any) -> Path:
    """A small georeferenced RGB GeoTIFF: UTM 18N, 1 m, blocks of random colours."""
    colours = np.random.default_rng(seed).integers(0, 256, (3, 4, 4), np.uint8)
    pixels = np.kron(colours, np.ones((1, SIDE // 4, SIDE // 4), np.uint8))
    profile = {
        "driver": "GTiff",
        "width": SIDE,
        "height": SIDE,
        "count": 3,
        "dtype": "uint8",
        "crs": "EPSG:32618",
        "transform": from_origin(west, 4_507_000.0, 1, 1),
        **changes,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(path, "w", **profile) as dataset:
        dataset.write(pixels)
    return path


@dataclass
class Outcome:
    status: int
    out: str
    err: str

    @property
    def rows(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


Ngcg = Callable[..., Outcome]


@pytest.fixture
def ngcg(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Ngcg:
    """Runs a command line; file descriptors are watched, so C libraries cannot hide."""
    monkeypatch.chdir(tmp_path)
    for name in ("NGCG_INDEX", "NGCG_MODEL", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)

    def command(*args: object, stdin: bytes = b"") -> Outcome:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capfd.readouterr()
        status = run([str(arg) for arg in args])
        captured = capfd.readouterr()
        return Outcome(status, captured.out, captured.err)

    return command


@pytest.fixture(scope="session")
def town(tmp_path_factory: pytest.TempPathFactory, fake_backbone: Path) -> Path:
    """A folder with an index of two rasters, 16 tiles each, and the rasters."""
    folder = tmp_path_factory.mktemp("town")
    write_raster(folder / "a.tif", 1)
    write_raster(folder / "b.tif", 2, west=583_000.0 + 10 * SIDE)
    args = ["--index", folder / "index", "--model", fake_backbone, "--overlap", 0]
    sources = [folder / "a.tif", folder / "b.tif"]
    assert run(["index", *map(str, [*sources, "--tile", f"{TILE}px", *args, "-q"])]) == 0
    return folder


# --- all commands ----------------------------------------------------------------------------


def test_version_and_help_are_results(ngcg: Ngcg) -> None:
    assert ngcg("--version").out.startswith("ngcg 0.")
    for command in ((), ("index",), ("query",), ("models",), ("eval",)):
        outcome = ngcg(*command, "--help")
        assert (outcome.status, outcome.err) == (0, "")
        assert "Example:" in outcome.out
        assert "  ngcg " in outcome.out


def test_no_command_shows_the_help_on_stderr(ngcg: Ngcg) -> None:
    outcome = ngcg()
    assert (outcome.status, outcome.out) == (2, "")
    assert "Commands:" in outcome.err


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["indx"], "No such command 'indx'. Did you mean 'index'?"),
        (["query", "--nope", "x"], "--nope"),
        (["index"], "Missing argument"),
        (["query"], "TEXT or --image"),
        (["query", "a", "--image", "b.jpg"], "TEXT or --image"),
        (["query", "  "], "TEXT is empty"),
        (["query", "a", "-k", "0"], "-k"),
        (["query", "a", "--format", "xml"], "jsonl"),
        (["query", "a", "--near", "1,2"], "--within"),
        (["query", "a", "--within", "10"], "--near"),
        (["query", "a", "--near", "1,2", "--within", "-5"], "above 0"),
        (["query", "a", "--near", "1,2", "--within", "nan"], "above 0"),
        (["query", "a", "--near", "95,2", "--within", "5"], "latitude 95"),
        (["query", "a", "--near", "1", "--within", "5"], "LAT,LON"),
        (["query", "a", "--bbox", "1,2,3"], "W,S,E,N"),
        (["query", "a", "--bbox", "1,2,3,x"], "'1,2,3,x'"),
        (["query", "a", "--bbox", "1,2,3,nan"], "W,S,E,N"),
        (["query", "a", "--bbox", "1,4,3,2"], "south 4 lies above north 2"),
        (["query", "a", "--bbox", "-190,1,3,2"], "longitude -190"),
        (["index", "a.tif", "--tile", "224"], "px"),
        (["index", "a.tif", "--min-valid", "2"], "--min-valid"),
        (["index", "a.tif", "--batch-size", "0"], "--batch-size"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(ngcg: Ngcg, args: list[str], told: str) -> None:
    outcome = ngcg(*args)
    assert (outcome.status, outcome.out) == (2, "")
    assert told in outcome.err
    assert outcome.err.startswith("ngcg: ")
    assert outcome.err.count("\n") == 1


def test_overlap_out_of_range_is_wrong_usage(ngcg: Ngcg, town: Path) -> None:
    outcome = ngcg("index", town / "a.tif", "--overlap", "1.5", "--index", "new")
    assert (outcome.status, outcome.out) == (2, "")
    assert "overlap" in outcome.err


def test_an_unexpected_error_is_one_line_and_a_traceback_only_with_v(
    ngcg: Ngcg, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(*_: object, **__: object) -> None:
        raise RuntimeError("a bug\nover two lines")

    monkeypatch.setattr("ngcg_cli.journeys.querying.Finder.__init__", explode)
    outcome = ngcg("query", "a")
    assert (outcome.status, outcome.out) == (1, "")
    assert outcome.err.count("\n") == 1
    assert "RuntimeError: a bug over two lines" in outcome.err
    assert "-v" in outcome.err
    for args in (["query", "a", "-v"], ["-v", "query", "a"]):
        assert "Traceback" in ngcg(*args).err


def test_an_interruption_ends_with_130(ngcg: Ngcg, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ngcg_cli.journeys.querying.Finder.__init__", interrupt)
    outcome = ngcg("query", "a")
    assert (outcome.status, outcome.out, outcome.err) == (130, "", "ngcg: interrupted\n")


# --- index -----------------------------------------------------------------------------------


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
    assert first.err.count("\n") == 1  # the summary

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
    for name in ("missing.tif", "broken.tif", "text.tif", "empty"):
        assert by_path[name]["status"] == "failed"
        assert by_path[name]["reason"]
        assert by_path[name]["tiles"] == 0
        (line,) = [line for line in outcome.err.splitlines() if f"/{name}: " in line]
        assert by_path[name]["reason"] in line
    assert (report["tiles"], report["added"]) == (16, 16)


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


# --- query -----------------------------------------------------------------------------------


@pytest.fixture
def ask(ngcg: Ngcg, town: Path, monkeypatch: pytest.MonkeyPatch) -> Ngcg:
    def command(*args: object, **more: Any) -> Outcome:
        monkeypatch.setenv("NGCG_INDEX", str(town / "index"))
        return ngcg("query", *args, **more)

    return command


def test_query_prints_ranked_hits_and_nothing_else(ask: Ngcg, town: Path) -> None:
    outcome = ask("a pond")
    assert (outcome.status, outcome.err) == (0, "")
    assert len(outcome.rows) == 10
    fields = ["query", "rank", "score", "lon", "lat", "bbox", "source", "window"]
    scores = []
    for rank, hit in enumerate(outcome.rows, 1):
        assert list(hit) == fields
        assert (hit["query"], hit["rank"]) == ("a pond", rank)
        assert hit["source"] in {str(town / "a.tif"), str(town / "b.tif")}
        west, south, east, north = hit["bbox"]
        assert west < hit["lon"] < east
        assert south < hit["lat"] < north
        scores.append(hit["score"])
    assert scores == sorted(scores, reverse=True)


def test_coordinates_are_those_of_rasterio_and_pyproj(ask: Ngcg) -> None:
    from pyproj import Transformer

    hits = ask("a pond", "-k", "32", "--exact").rows
    assert len({(h["source"], *h["window"]) for h in hits}) == 32
    for hit in hits:
        column, row, width, height = hit["window"]
        with rasterio.open(hit["source"]) as dataset:
            x, y = dataset.transform @ (column + width / 2, row + height / 2)
            to_wgs84 = Transformer.from_crs(dataset.crs, "EPSG:4326", always_xy=True)
        assert (hit["lon"], hit["lat"]) == pytest.approx(to_wgs84.transform(x, y), abs=1e-7)


def test_top_may_be_more_than_there_is(ask: Ngcg) -> None:
    assert len(ask("a pond", "-k", "3").rows) == 3
    assert len(ask("a pond", "--top", "1000").rows) == 32


def test_the_formats_tell_the_same(ask: Ngcg, tmp_path: Path) -> None:
    geopandas = pytest.importorskip("geopandas")
    rows = ask("a pond", "--format", "jsonl").rows
    table = list(csv.DictReader(io.StringIO(ask("a pond", "--format", "csv").out)))
    assert [float(r["score"]) for r in table] == [r["score"] for r in rows]
    assert [float(r["lon"]) for r in table] == [r["lon"] for r in rows]
    assert [[int(r[name]) for name in ("column", "row", "width", "height")] for r in table] == (
        [r["window"] for r in rows]
    )
    path = tmp_path / "hits.geojson"
    path.write_text(ask("a pond", "--format", "geojson").out)
    frame = geopandas.read_file(path)
    assert frame["rank"].tolist() == list(range(1, 11))
    assert frame["source"].tolist() == [r["source"] for r in rows]
    assert frame.crs.to_epsg() == 4326
    assert frame.geometry.is_valid.all()
    boxes = np.array([r["bbox"] for r in rows])
    assert frame.geometry.bounds.to_numpy() == pytest.approx(boxes, abs=2e-7)
    shown = ask("a pond", "--format", "table").out
    assert all(f"{r['lat']:.7f}" in shown for r in rows)


def test_stdin_gives_a_query_a_line(ask: Ngcg) -> None:
    lines = "\ufeffa pond\r\n\n   \na harbour\nten boats".encode()
    outcome = ask("-", "-k", "2", stdin=lines)
    assert outcome.status == 0
    told = [(hit["query"], hit["rank"]) for hit in outcome.rows]
    assert told == [(q, r) for q in ("a pond", "a harbour", "ten boats") for r in (1, 2)]
    alone = ask("a harbour", "-k", "2").rows
    together = [hit for hit in outcome.rows if hit["query"] == "a harbour"]
    assert [h["window"] for h in alone] == [h["window"] for h in together]
    assert [h["score"] for h in alone] == pytest.approx([h["score"] for h in together], abs=2e-6)


def test_stdin_in_many_blocks_keeps_the_order(ask: Ngcg) -> None:
    queries = [f"a pond beside {number} ponds" for number in range(1, 601)]
    outcome = ask("-", "-k", "1", stdin="\n".join(queries).encode())
    assert [hit["query"] for hit in outcome.rows] == queries


def test_stdin_without_queries_prints_nothing_and_loads_nothing(
    ask: Ngcg, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ngcg_cli.journeys.querying.load_model", None)
    assert ask("-", stdin=b"\n\n") == Outcome(0, "", "")
    assert ask("-", "--format", "csv").out.count("\n") == 1
    assert json.loads(ask("-", "--format", "geojson").out)["features"] == []


def test_stdin_lines_that_are_not_utf8_are_named(ask: Ngcg) -> None:
    outcome = ask("-", "-k", "1", stdin=b"a pond\na caf\xe9\na harbour\n")
    assert outcome.status == 3
    assert [hit["query"] for hit in outcome.rows] == ["a pond", "a harbour"]
    assert "line 2" in outcome.err


def test_a_typed_line_is_answered_before_the_next(town: Path) -> None:
    from ngcg_cli.journeys.querying import LineReader

    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as stream, os.fdopen(writing, "wb", buffering=0) as keyboard:
        blocks = iter(LineReader(stream))
        keyboard.write(b"first\n")
        assert next(blocks) == ["first"]
        keyboard.write(b"sec")
        keyboard.write(b"ond\nthird\nfour")
        assert next(blocks) == ["second", "third"]
        keyboard.close()
        assert next(blocks) == ["four"]
        assert next(blocks, None) is None


def test_bbox_and_near_keep_what_lies_inside(ask: Ngcg) -> None:
    everything = ask("a pond", "-k", "100").rows
    middle = sorted(hit["lon"] for hit in everything)[len(everything) // 2] - 1e-9
    box = f"{middle},40,-73,41"
    for args in (["--bbox", box], [f"--bbox={box}"]):
        inside = ask("a pond", "-k", "100", *args).rows
        assert inside
        assert {_key(hit) for hit in inside} == {
            _key(hit) for hit in everything if hit["lon"] >= middle
        }
    assert ask("a pond", "--bbox", "-75,-3,-74,-2").out == ""  # nothing there is no error
    assert ask("a pond", "--bbox", "170,-90,-170,90").out == ""
    assert len(ask("a pond", "-k", "100", "--bbox", "0,-90,-1,90").rows) == len(everything)

    from pyproj import Geod

    best = everything[0]
    near = f"{best['lat']},{best['lon']}"
    found = ask("a pond", "-k", "100", "--near", near, "--within", "40").rows
    distances = {
        _key(hit): Geod(ellps="WGS84").inv(best["lon"], best["lat"], hit["lon"], hit["lat"])[2]
        for hit in everything
    }
    assert {_key(hit) for hit in found} == {key for key, d in distances.items() if d <= 40}
    assert 1 < len(found) < len(everything)
    assert [hit["rank"] for hit in found] == list(range(1, len(found) + 1))


def _key(hit: dict[str, Any]) -> tuple[Any, ...]:
    return (hit["source"], *hit["window"])


def test_overlapping_tiles_count_once_unless_kept(
    ngcg: Ngcg, town: Path, fake_backbone: Path
) -> None:
    args = ["--model", fake_backbone, "--tile", "64px", "--overlap", "0.75", "-q"]
    assert ngcg("index", town / "a.tif", *args).status == 0
    kept = ngcg("query", "a pond", "-k", 100, "--keep-overlaps").rows
    assert len(kept) == 25
    left = ngcg("query", "a pond", "-k", 100).rows
    assert 4 <= len(left) < 25
    assert left[0]["window"] == kept[0]["window"]
    for i, one in enumerate(left):
        for other in left[:i]:
            assert _shared(one["window"], other["window"]) <= 64 * 64 / 2


def _shared(a: list[int], b: list[int]) -> int:
    wide = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    high = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    return max(0, wide) * max(0, high)


def test_a_photo_finds_its_own_tile(ask: Ngcg, town: Path, tmp_path: Path) -> None:
    from PIL import Image

    with rasterio.open(town / "b.tif") as dataset:
        pixels = np.moveaxis(dataset.read(window=((32, 64), (64, 96))), 0, -1)
    photo = tmp_path / "photo.png"
    Image.fromarray(np.ascontiguousarray(pixels)).save(photo)
    hit, *_ = ask("--image", photo).rows
    assert (hit["query"], hit["rank"]) == (str(photo), 1)
    assert hit["source"] == str(town / "b.tif")
    assert hit["window"] == [64, 32, 32, 32]
    assert hit["score"] == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("content", [None, b"no picture"])
def test_a_photo_that_cannot_be_read_is_told(
    ask: Ngcg, tmp_path: Path, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / "photo.jpg").write_bytes(content)
    outcome = ask("--image", "photo.jpg")
    assert (outcome.status, outcome.out) == (1, "")
    assert outcome.err.startswith("ngcg: photo.jpg: ")
    assert outcome.err.count("\n") == 1


def test_a_missing_index_says_what_to_do(ngcg: Ngcg) -> None:
    outcome = ngcg("query", "a pond", "--index", "nowhere")
    assert (outcome.status, outcome.out) == (1, "")
    assert "nowhere" in outcome.err
    assert "ngcg index" in outcome.err
    assert outcome.err.count("\n") == 1


def test_exact_and_graph_agree_on_a_small_index(ask: Ngcg) -> None:
    assert ask("a pond", "--exact").out == ask("a pond").out


def test_progress_is_drawn_only_on_a_terminal(
    ngcg: Ngcg, town: Path, fake_backbone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    args = ["index", town / "a.tif", "--model", fake_backbone, "--tile", "16px", "--overlap", 0]
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "120")
    drawn = {}
    for name, more in (("bar", []), ("quiet", ["-q"])):
        monkeypatch.setattr(sys, "stderr", Terminal())
        assert ngcg(*args, "--index", name, *more).status == 0
        drawn[name] = sys.stderr.getvalue()
    assert "tiles/s" in drawn["bar"]
    assert "64/64" in drawn["bar"]
    assert "eta" in drawn["bar"]
    assert drawn["quiet"] == ""
