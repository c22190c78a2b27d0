"""`ngcg query` as a user meets it, in this process."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from samples import Ngcg, Outcome


def test_query_prints_ranked_hits_and_nothing_else(ask: Ngcg, town: Path) -> None:
    outcome = ask("a pond")
    assert (outcome.status, outcome.err) == (0, "")
    assert len(outcome.rows) == 10
    fields = ["query", "rank", "score", "lon", "lat", "bbox", "source", "window"]
    fields += ["tile_m", "confidence"]
    scores = []
    for rank, hit in enumerate(outcome.rows, 1):
        assert list(hit) == fields
        assert (hit["query"], hit["rank"]) == ("a pond", rank)
        assert hit["source"] in {str(town / "a.tif"), str(town / "b.tif")}
        west, south, east, north = hit["bbox"]
        assert west < hit["lon"] < east
        assert south < hit["lat"] < north
        assert hit["tile_m"] == pytest.approx(32, abs=0.1)
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


@pytest.mark.parametrize("name", ["csv", "geojson"])
def test_a_question_that_fails_leaves_no_head_behind(ask: Ngcg, name: str) -> None:
    outcome = ask("a pond", "--after", "yesterday", "--format", name)
    assert (outcome.status, outcome.out) == (2, "")


def test_stdin_lines_that_are_not_utf8_are_named(ask: Ngcg) -> None:
    outcome = ask("-", "-k", "1", stdin=b"a pond\na caf\xe9\na harbour\n")
    assert outcome.status == 3
    assert [hit["query"] for hit in outcome.rows] == ["a pond", "a harbour"]
    assert "line 2" in outcome.err


def test_damaged_tiles_are_left_out_and_told(
    ngcg: Ngcg, town: Path, fake_backbone: Path, tmp_path: Path
) -> None:
    shutil.copytree(town / "index", tmp_path / "index")
    (tmp_path / "index" / "vectors" / "000002.npy").unlink()
    outcome = ngcg("query", "a pond", "-k", 99, "--index", "index", "--model", fake_backbone)
    assert outcome.status == 3
    assert {Path(hit["source"]).name for hit in outcome.rows} == {"a.tif"}
    assert "b.tif (vectors/000002.npy is missing)" in outcome.err


BOM = "\ufeff"


@pytest.mark.parametrize(
    "data",
    [
        f"{BOM}a pond\n{BOM}a road\n".encode(),  # two files joined
        f"{BOM}a pond\r\na road\r\n".encode("utf-16-le"),
        f"{BOM}a pond\na road".encode("utf-16-be"),
        f"{BOM}a pond\na road\n".encode("utf-32-le"),
        b"a pond\ra road\r",
        b"\r\r\na pond\n\ra road\r\n\r",
    ],
)
@pytest.mark.parametrize("piece", [1, 2, 3, 5, 1000])
def test_a_list_is_read_whatever_wrote_it(data: bytes, piece: int) -> None:
    from ngcg_cli.journeys.lines import LineReader

    class Stream(io.BytesIO):
        def read1(self, size: int | None = -1, /) -> bytes:
            return super().read1(piece)

    reader = LineReader(Stream(data))
    assert [text for block in reader for text in block] == ["a pond", "a road"]
    assert reader.unreadable == 0


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ("a pond\na road\n".encode("utf-16-be"), "NUL characters: it is UTF-16"),
        (b"a pond\0a road\0", "separated by NUL"),
        (f"{BOM}a pond\n\ud800".encode("utf-16-le", "surrogatepass"), "damaged after line"),
        (b"a pond " * 200_000, "longer than"),
    ],
)
def test_what_is_no_list_of_questions_is_refused_in_a_line(
    ask: Ngcg, data: bytes, told: str
) -> None:
    outcome = ask("-", "-k", "1", stdin=data)
    assert outcome.status == 1
    assert "standard input" in outcome.err
    assert told in outcome.err
    assert outcome.err.count("\n") == 1


def test_nothing_found_says_why(ask: Ngcg) -> None:
    best = ask("a pond", "-k", "1").rows[0]
    lat, lon = best["lat"], best["lon"]
    swapped = ask("a pond", "--near", f"{lon},{lat}", "--within", "900")
    assert (swapped.status, swapped.out, swapped.err.count("\n")) == (0, "", 1)
    assert f"--near {lat:g},{lon:g} --within 900 would match" in swapped.err
    assert "none of 32 tiles passes --near" in swapped.err
    assert "the index covers -74." in swapped.err
    box = f"{lat - 1},{lon - 1},{lat + 1},{lon + 1}"
    assert "swapped?" in ask("-", "--bbox", box, stdin=b"a pond\na road\n").err
    elsewhere = ask("-", "--bbox", "1,2,3,4", stdin=b"a pond\na road\n")
    assert (elsewhere.status, elsewhere.out, elsewhere.err.count("\n")) == (0, "", 1)
    assert "swapped" not in elsewhere.err


def test_a_typed_line_is_answered_before_the_next(town: Path) -> None:
    from ngcg_cli.journeys.lines import LineReader

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
