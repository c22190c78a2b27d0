"""A large model is asked about hits: `--rerank-by yes` and `--explain`."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio
from samples import Ngcg
from small_models import write_siglip

from ngcg_cli.answers import cost
from ngcg_cli.answers.asking import first_sentence
from ngcg_cli.answers.captions import Filter, tidy

pytestmark = pytest.mark.slow  # small models of torch that train or talk: seconds in all


def pixels(row: dict) -> np.ndarray:
    with rasterio.open(row["source"]) as dataset:
        window = rasterio.windows.Window(*row["window"])
        return np.moveaxis(dataset.read(window=window), 0, -1)[..., :3]


def test_hits_are_ordered_by_how_likely_the_model_says_yes(ask: Ngcg, talker: Path) -> None:
    from ngcg_cli.encoder.generator import open_generator

    candidates = ask("a pond.", "-k", "12").rows
    by = ("--rerank", talker, "--rerank-by", "yes", "--depth", "12")
    outcome = ask("a pond.", "-k", "5", *by)
    asked = "Does this image show a pond? Answer yes or no."
    tiles = [pixels(row) for row in candidates]
    chances = open_generator(talker, "cpu").chances(tiles, [asked] * 12)
    due = sorted(zip(chances, candidates, strict=True), key=lambda pair: -pair[0])[:5]
    assert [row["window"] for row in outcome.rows] == [row["window"] for _, row in due]
    scores = [row["score"] for row in outcome.rows]
    assert scores == pytest.approx([float(chance) for chance, _ in due], abs=1e-5)
    assert [row["rank"] for row in outcome.rows] == [1, 2, 3, 4, 5]
    assert f"{talker} is asked yes or no about 12 tiles" in outcome.err
    # The question of a list, in words, and not twice of one tile.
    twice = ask("-", "-k", "5", *by, stdin=b"a pond.\na pond.\n")
    assert twice.rows == outcome.rows * 2
    assert "about 12 tiles" in twice.err


def test_each_hit_is_explained_in_every_format(ask: Ngcg, talker: Path, tmp_path: Path) -> None:
    plain = ask("a pond", "-k", "3").rows
    outcome = ask("a pond", "-k", "3", "--explain", talker)
    rows = outcome.rows
    why = [row.pop("explanation") for row in rows]
    assert rows == plain
    assert len(set(why)) == 3
    assert all("\n" not in text and text == first_sentence(text) for text in why)
    assert f"{talker} says why of up to 3 hits" in outcome.err
    explained = ("a pond", "-k", "3", "--explain", talker)
    table = csv.DictReader(io.StringIO(ask(*explained, "--format", "csv").out))
    assert len([row["explanation"] for row in table]) == 3
    collection = json.loads(ask(*explained, "--format", "geojson").out)
    assert [hit["properties"]["explanation"] for hit in collection["features"]] == why
    shown = ask(*explained, "--format", "table").out.splitlines()
    assert [line[:3] for line in shown[-4:-1]] == ["1  ", "2  ", "3  "]
    for name in ("hits.kml", "hits.gpx", "hits.parquet"):
        assert ask(*explained, "-o", tmp_path / name).status == 0
    import pyarrow.parquet as pq

    assert pq.read_table(tmp_path / "hits.parquet")["explanation"].to_pylist() == why


def test_hits_of_a_photo_are_described(ask: Ngcg, talker: Path, tmp_path: Path) -> None:
    from PIL import Image

    from ngcg_cli.encoder.generator import open_generator

    top = ask("a pond", "-k", "1").rows[0]
    Image.fromarray(pixels(top)).save(tmp_path / "photo.png")
    found = ask("--image", tmp_path / "photo.png", "-k", "1", "--explain", talker)
    asked = "In one short sentence, say what this overhead image shows."
    said = open_generator(talker, "cpu").answers([pixels(top)], [asked], 48)
    assert found.rows[0]["explanation"] == first_sentence(said[0])
    by = ("--rerank", talker, "--rerank-by", "yes")
    outcome = ask("--image", tmp_path / "photo.png", *by)
    assert (outcome.status, outcome.out) == (2, "")
    assert "has no words to ask the model with" in outcome.err


def test_words_of_a_sum_are_said(ask: Ngcg) -> None:
    from ngcg_cli.journeys.questions import Question, content_part, place_part

    steering = [content_part("2:boats"), content_part("cranes", -1), place_part("47.9,10.5")]
    assert Question.of("a harbour", steering).words == "a harbour and boats, but not cranes"
    assert Question((place_part("47.9,10.5"), content_part("cranes", -1))).words == ""


def test_what_cannot_be_asked_is_one_line(
    ask: Ngcg, fake_backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    dual = tmp_path / "dual"
    dual.mkdir()
    write_siglip(dual, 1)
    cases = [
        (("--rerank-by", "yes"), 2, "--rerank-by yes goes with --rerank"),
        (("--depth", "9"), 2, "--depth 9 goes with --rerank"),
        (("--rerank", dual, "--rerank-by", "yes"), 1, "a dual encoder, which compares"),
        (("--explain", dual), 1, "a dual encoder, which compares"),
        (("--explain", "tiny"), 1, "made to embed, and has no words"),
        (("--explain", fake_backbone), 1, "it has no chat template"),
        (("--explain", "someone/nowhere"), 1, "someone/nowhere"),
    ]
    for args, status, told in cases:
        outcome = ask("a pond", *args)
        assert (outcome.status, outcome.out) == (status, ""), args
        assert told in outcome.err
        assert outcome.err.count("\n") == 1


def test_hits_whose_raster_is_gone_come_last_and_unexplained(
    ngcg: Ngcg, town: Path, fake_backbone: Path, talker: Path, tmp_path: Path
) -> None:
    shutil.copy(town / "a.tif", tmp_path / "moved.tif")
    shutil.copy(town / "b.tif", tmp_path / "kept.tif")
    index = ("--index", tmp_path / "index", "--model", fake_backbone)
    cut = ("--tile", "32px", "--overlap", "0", "-q")
    assert ngcg("index", tmp_path / "moved.tif", tmp_path / "kept.tif", *index, *cut).status == 0
    (tmp_path / "moved.tif").unlink()
    asked = ("query", "a pond", "-k", "32", *index)
    outcome = ngcg(*asked, "--rerank", talker, "--rerank-by", "yes", "--explain", talker)
    assert outcome.status == 3  # done in part
    names = [Path(row["source"]).name for row in outcome.rows]
    assert names == ["kept.tif"] * 16 + ["moved.tif"] * 16
    assert [bool(row["explanation"]) for row in outcome.rows[16:]] == [False] * 16
    assert "not looked at again" in outcome.err


def test_the_time_left_is_told_once_and_only_if_it_is_long(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, told = [0.0], []
    monkeypatch.setattr(cost.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(cost.logger, "info", lambda line, *values: told.append(line % values))
    for total in (90, 20):
        work = cost.Cost(f"{total} tiles", total)
        for _ in range(2):
            clock[0] += 4
            work.done(8)
    assert told == ["90 tiles", "0.5 s each, about 41 s left", "20 tiles"]
    assert [cost.duration(s) for s in (40, 720, 12_600)] == ["40 s", "12 min", "3.5 h"]


def test_captions_that_teach_nothing_are_left_out() -> None:
    keep = Filter(["A pond beside two white barns."])
    assert keep.fault("") == keep.fault(" ... ") == keep.fault("Pond.") == "empty"
    assert keep.fault("a pond beside two white barns") == "repeated"
    assert keep.fault("Two white barns by the pond, beside.") == "near_equal"
    assert keep.fault("the road and the road and the road and the road") == "circular"
    assert keep.fault("A pond beside three white barns.") is None
    assert keep.fault("A pond beside three white barns.") == "repeated"


def test_answers_are_tidied() -> None:
    assert tidy(' "A pond.\nIt is green." ', "short") == "A pond."
    assert tidy("A pond. It is green. Beside it lies", "long") == "A pond. It is green."
    assert tidy("pond, two\tbarns, ro", "attributes") == "pond, two barns, ro"
    assert first_sentence("It is 2.5 m wide. And long.") == "It is 2.5 m wide."
