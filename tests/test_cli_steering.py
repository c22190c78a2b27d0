"""`ngcg query` with questions that add up, filters beyond a box, confidence and refinement."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely
from PIL import Image
from samples import Ngcg

from ngcg_cli.answers.confidence import FEATURES, TERMS, Background, Calibration
from ngcg_cli.encoder.checkpoint import load_encoder


def test_adding_and_subtracting_change_the_order_and_the_name(ask: Ngcg) -> None:
    plain = ask("a pond", "-k", "5").rows
    steering = ("--add", "0.5:many boats", "--subtract", "2:cranes")
    steered = ask("a pond", *steering, "-k", "5").rows
    assert {row["query"] for row in steered} == {"a pond + 0.5:many boats - 2:cranes"}
    assert [row["score"] for row in steered] != [row["score"] for row in plain]
    listed = ask(
        "-", "--add", "0.5:many boats", "--subtract", "2:cranes", "-k", "5", stdin=b"a pond"
    )
    assert [row["window"] for row in listed.rows] == [row["window"] for row in steered]


def test_a_place_finds_itself_and_its_own_picture(ask: Ngcg, tmp_path: Path) -> None:
    there = ask("a pond", "-k", "1").rows[0]
    place = f"{there['lat']},{there['lon']}"
    found = ask("--like", place, "-k", "1")
    assert (found.status, found.rows[0]["query"]) == (0, place)
    assert found.rows[0]["window"] == there["window"]
    assert found.rows[0]["score"] == pytest.approx(1, abs=1e-5)
    column, row, width, height = there["window"]
    with rasterio.open(there["source"]) as dataset:
        window = rasterio.windows.Window(column, row, width, height)
        pixels = np.moveaxis(dataset.read(window=window), 0, -1)[..., :3]
    Image.fromarray(pixels).save(tmp_path / "there.png")
    both = ask("--like", place, "--add", str(tmp_path / "there.png"), "-k", "1").rows
    assert both[0]["window"] == there["window"]


@pytest.mark.parametrize(
    ("args", "status", "told"),
    [
        ((), 2, "give TEXT or --image FILE, or both"),
        (("--subtract", "cranes"), 2, "give TEXT or --image FILE, or both"),
        (("a pond", "--like", "95,10"), 2, "is not LAT,LON"),
        (("a pond", "--like", "-40,10"), 2, "no tile of the index lies at -40,10"),
        (("a pond", "--add", "0:x"), 2, "the weight 0 is not above 0"),
        (("a pond", "--add", "-2:x"), 2, "the weight -2 is not above 0"),
        (("a pond", "--add", "2:gone/Boats.JPG"), 1, "gone/Boats.JPG: no such picture"),
        (("a pond", "--subtract", "a pond"), 2, "cancel each other"),
        (("a pond", "--min-confidence", "0.5"), 2, "has no calibration"),
        (("a pond", "--after", "yesterday"), 2, "'yesterday' is no date"),
        (("a pond", "--after", "2024-06", "--before", "2024-05"), 2, "not earlier than --before"),
        (("a pond", "--area", "gone.geojson"), 1, "there is no such file"),
    ],
)
def test_what_cannot_be_meant_is_told(ask: Ngcg, args: tuple[str, ...], status: int, told: str):
    outcome = ask(*args)
    assert (outcome.status, outcome.out) == (status, "")
    assert told in outcome.err
    assert outcome.err.count("\n") == 1


def test_an_area_keeps_the_tiles_whose_centres_lie_in_it(ask: Ngcg, tmp_path: Path) -> None:
    everything = ask("a pond", "-k", "100").rows
    west, east = (f(row["lon"] for row in everything) for f in (min, max))
    area = shapely.box(west, 40, (west + east) / 2, 60)
    (tmp_path / "area.geojson").write_text(json.dumps(shapely.geometry.mapping(area)))
    inside = ask("a pond", "-k", "100", "--area", str(tmp_path / "area.geojson")).rows
    due = [
        row["window"] for row in everything if area.covers(shapely.Point(row["lon"], row["lat"]))
    ]
    assert [row["window"] for row in inside] == due
    assert 0 < len(due) < len(everything)


def test_a_source_is_chosen_by_its_name(ask: Ngcg, town: Path) -> None:
    rows = ask("a pond", "-k", "100", "--source", "a.*").rows
    assert {row["source"] for row in rows} == {str(town / "a.tif")}


def test_a_source_that_is_not_there_names_those_that_are(ask: Ngcg) -> None:
    outcome = ask("a pond", "--source", "A.tiff")
    assert (outcome.status, outcome.out) == (0, "")
    assert "passes --source A.tiff; sources of the index (2): a.tif, b.tif" in outcome.err


def test_an_area_with_latitude_first_is_told(ask: Ngcg, tmp_path: Path) -> None:
    there = ask("a pond", "-k", "1").rows[0]
    file = tmp_path / "area.geojson"
    around = shapely.Point(there["lat"], there["lon"]).buffer(0.001)
    file.write_text(json.dumps(shapely.geometry.mapping(around)))
    # The town lies at 74 degrees west: with latitude first its area is a place near the pole.
    outcome = ask("a pond", "--area", file)
    assert (outcome.status, outcome.out) == (0, "")
    assert "--area would match: were latitude and longitude swapped?" in outcome.err


def test_refined_hits_have_a_point_in_a_smaller_footprint(ask: Ngcg) -> None:
    plain = {tuple(row["window"]): row for row in ask("a pond", "-k", "3").rows}
    refined = ask("a pond", "-k", "3", "--refine").rows
    assert [row["rank"] for row in refined] == [1, 2, 3]
    assert [row["score"] for row in refined] == sorted((r["score"] for r in refined), reverse=True)
    tile = next(iter(plain))
    for row in refined:
        west, south, east, north = row["bbox"]
        lon, lat = row["point"]
        assert west <= lon <= east
        assert south <= lat <= north
        assert row["window"][2:] == [tile[2] // 2, tile[3] // 2]
    table = ask("a pond", "-k", "3", "--refine", "--format", "csv").out
    points = [float(row["point_lon"]) for row in csv.DictReader(io.StringIO(table))]
    assert points == [row["point"][0] for row in refined]


def test_a_raster_that_is_gone_leaves_its_hits_as_they_are(
    ngcg: Ngcg, town: Path, fake_backbone: Path, tmp_path: Path
) -> None:
    moved = tmp_path / "moved.tif"
    moved.write_bytes((town / "a.tif").read_bytes())
    index = ("--index", tmp_path / "index")
    assert ngcg("index", moved, *index, "--model", fake_backbone, "-q").status == 0
    moved.unlink()
    model = ("--model", fake_backbone)
    plain = ngcg("query", "a pond", "-k", "2", *index, *model)
    for more, told in (("--refine",), "not refined"), (("--rerank", fake_backbone), "not looked"):
        outcome = ngcg("query", "a pond", "-k", "2", *more, *index, *model)
        assert outcome.status == 3  # done in part
        assert told in outcome.err
        assert outcome.rows == plain.rows


def test_sources_without_a_time_are_told_where_a_date_is_asked(
    ngcg: Ngcg, town: Path, fake_backbone: Path, tmp_path: Path
) -> None:
    for name in ("plain.tif", "seen_20160620.tif"):
        (tmp_path / name).write_bytes((town / "a.tif").read_bytes())
    index = ("--index", tmp_path / "index")
    model = ("--model", fake_backbone)
    assert ngcg("index", tmp_path, *index, *model, "-q").status == 0
    told = "1 of 2 sources are left out: no time of acquisition is known"
    later = ngcg("query", "a pond", "-k", "2", "--after", "2016", *index, *model)
    assert {Path(row["source"]).name for row in later.rows} == {"seen_20160620.tif"}
    assert told in later.err
    earlier = ngcg("query", "a pond", "--before", "2016", *index, *model)
    assert (earlier.status, earlier.out) == (0, "")
    assert told in earlier.err
    assert "known of 1 of 2 sources, 2016-06-20 to 2016-06-20" in earlier.err
    dated = ngcg("query", "a pond", "--after", "2016", "--source", "seen*", *index, *model)
    assert dated.err == ""


@pytest.fixture(params=[(5.0, -3.0)])
def calibrated(
    fake_backbone: Path,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A calibration in the user's own data that takes the cosine for the chance, nearly."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    encoder = load_encoder(str(fake_backbone), "cpu")
    rng = np.random.default_rng(0)
    some = rng.normal(size=(40, encoder.dim)).astype(np.float32)
    some /= np.linalg.norm(some, axis=1, keepdims=True)
    as_it_is = np.repeat([[0.0], [1.0]], FEATURES, axis=1)
    slope, constant = request.param
    coefficients = np.array([constant, slope, *np.zeros(TERMS - 2)])
    beside = Background(some, some)
    made = Calibration(beside, as_it_is, coefficients, encoder.fingerprint, {"data": "drawn"})
    from ngcg_cli.answers.confidence import search_paths

    path = search_paths(encoder.tokenizer.folder, encoder.fingerprint, encoder.dim)[-1]
    path.parent.mkdir(parents=True, exist_ok=True)
    made.save(path)


def test_a_calibrated_model_tells_its_confidence(ask: Ngcg, calibrated: None) -> None:
    rows = ask("a pond", "-k", "32").rows
    for row in rows:
        assert row["confidence"] == pytest.approx(1 / (1 + np.exp(3 - 5 * row["score"])), abs=2e-3)
    floor = (rows[10]["confidence"] + rows[11]["confidence"]) / 2
    assert ask("a pond", "-k", "32", "--min-confidence", str(floor)).rows == rows[:11]


def test_in_a_sum_the_confidence_is_that_of_the_words(ask: Ngcg, calibrated: None) -> None:
    by_place = lambda rows: {(r["lon"], r["lat"]): r["confidence"] for r in rows}  # noqa: E731
    alone = ask("a pond", "-k", "999", "--keep-overlaps").rows
    place = f"{alone[-1]['lat']},{alone[-1]['lon']}"
    steered = ask("a pond", "-k", "999", "--keep-overlaps", "--like", f"3:{place}").rows
    assert by_place(steered) == pytest.approx(by_place(alone), abs=2e-4)
    assert steered[0]["confidence"] < alone[0]["confidence"]
    outcome = ask("--like", place, "--min-confidence", "0.5")
    assert (outcome.status, outcome.out) == (2, "")
    assert "has no words" in outcome.err


def test_a_confidence_that_no_hit_reaches_is_told(ask: Ngcg, calibrated: None) -> None:
    best = ask("a pond", "-k", "1").rows[0]["confidence"]
    outcome = ask("a pond", "-k", "5", "--min-confidence", "1")
    assert (outcome.status, outcome.out) == (0, "")
    assert f"reaches --min-confidence 1 (best: {best:.4f})" in outcome.err


@pytest.mark.parametrize("calibrated", [(-5.0, 3.0)], indirect=True)
def test_a_confidence_is_looked_for_beyond_the_first_hits(ask: Ngcg, calibrated: None) -> None:
    # Here confidence rises as the score falls, so that no hit of the first two is good enough.
    rows = ask("a pond", "-k", "32").rows
    floor = (rows[7]["confidence"] + rows[8]["confidence"]) / 2
    found = ask("a pond", "-k", "2", "--min-confidence", str(floor)).rows
    assert [row["window"] for row in found] == [row["window"] for row in rows[8:10]]
    assert [row["rank"] for row in found] == [1, 2]


def test_another_model_orders_the_best_hits_by_its_own_vectors(
    ask: Ngcg, fake_backbone: Path, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    from ngcg_cli.datasets.images import read_image

    other = tmp_path / "other"
    shutil.copytree(fake_backbone, other)
    weights = load_file(other / "model.safetensors")
    changed = {name: 1.1 * weight for name, weight in weights.items()}
    save_file(changed, other / "model.safetensors", {"format": "pt"})
    candidates = ask("a pond", "-k", "6").rows
    reranked = ask("a pond", "-k", "3", "--rerank", other, "--depth", "6").rows
    encoder = load_encoder(str(other), "cpu")
    question = encoder.encode_texts(["a pond"])[0]
    scores = []
    for row in candidates:
        with rasterio.open(row["source"]) as dataset:
            window = rasterio.windows.Window(*row["window"])
            pixels = np.moveaxis(dataset.read(window=window), 0, -1)[..., :3]
        Image.fromarray(pixels).save(tmp_path / "tile.png")
        image = encoder.encode_images([read_image(tmp_path / "tile.png")])[0]
        scores.append(float(image @ question))
    assert [row["score"] for row in reranked] == pytest.approx(
        sorted(scores, reverse=True)[:3], abs=1e-4
    )
    assert [row["rank"] for row in reranked] == [1, 2, 3]


def test_a_place_cannot_be_asked_of_another_model(ask: Ngcg, fake_backbone: Path) -> None:
    there = ask("a pond", "-k", "1").rows[0]
    outcome = ask("--like", f"{there['lat']},{there['lon']}", "--rerank", fake_backbone)
    assert (outcome.status, outcome.out) == (2, "")
    assert "Leave --rerank away" in outcome.err


def test_a_lone_question_is_told_that_nothing_looks_like_it(ask: Ngcg, calibrated: None) -> None:
    away = ("--subtract", "10:a pond", "-k", "2")
    told = "nothing here looks like that"
    assert told in ask("a pond", *away).err
    assert told not in ask("-", *away, stdin=b"a pond\na road\n").err
    assert told not in ask("a pond", "-k", "2").err


def test_calibrating_on_images_and_on_places_gives_hits_a_confidence(
    ask: Ngcg,
    ngcg: Ngcg,
    town: Path,
    fake_backbone: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    rows = []
    for number in range(24):
        Image.fromarray(rng.integers(0, 255, (32, 32, 3), np.uint8)).save(
            tmp_path / f"{number}.png"
        )
        place = {"image": f"{number}.png", "captions": [f"thing {number}"], "place": number % 6}
        rows.append(json.dumps(place))
    images, places = tmp_path / "images.jsonl", tmp_path / "places.jsonl"
    images.write_text("\n".join(rows))
    hits = ask("a pond", "-k", "8").rows
    asked = [
        {"captions": [f"spot {hit['rank']}"], "lon": hit["lon"], "lat": hit["lat"]} for hit in hits
    ]
    places.write_text("\n".join(map(json.dumps, asked)))
    calibrate = ("calibrate", images, places, "--background", images, "--model", fake_backbone)
    missing = ngcg(*calibrate)
    assert (missing.status, missing.out) == (2, "")
    assert "its captions have no images" in missing.err
    few = tmp_path / "few.jsonl"
    few.write_text("\n".join(rows[:10]))
    small = ngcg("calibrate", images, "--background", few, "--model", fake_backbone)
    assert (small.status, small.out) == (1, "")
    assert "holds 10 images, at least 20 are compared with" in small.err
    made = ngcg(*calibrate, "--index", town / "index", "--json")
    assert made.status == 0, made.err
    facts = json.loads(made.out)
    assert [(one["captions"], one["places"]) for one in facts["of"]] == [(24, 6), (8, 8)]
    assert all(0 <= one["ece"] <= 1 and 0 <= one["auroc"] <= 1 for one in facts["of"])
    told = [hit["confidence"] for hit in ask("a pond", "-k", "3").rows]
    assert all(0 <= chance <= 1 for chance in told), told  # a number: null means none was found
