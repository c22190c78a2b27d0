"""`ngcg caption`: rows that `train` takes, whole after a kill, and never twice."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image
from samples import Ngcg

pytestmark = pytest.mark.slow  # small models of torch that train or talk: seconds in all

CUT = ("--tile", "32px", "--overlap", "0")


def rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_tiles_of_a_raster_get_captions_that_train_takes(
    ngcg: Ngcg, town: Path, talker: Path, fake_backbone: Path, tmp_path: Path
) -> None:
    made = ngcg(
        *("caption", town / "a.tif", *CUT, "--model", talker, "--out", "captions.jsonl"),
        *("--style", "short,attributes", "--json", "--limit", "10"),
    )
    assert made.status == 0, made.err
    report = json.loads(made.out)
    written = rows(tmp_path / "captions.jsonl")
    dropped = tmp_path / "captions-images" / "dropped.jsonl"
    left = rows(dropped) if dropped.exists() else []
    assert report["tiles"] == 10 == len(written) + len(left)
    assert report["rows"] == len(written) > 4
    assert report["captions"] == sum(len(row["captions"]) for row in written)
    assert f"{talker} writes short, attributes captions of 10 tiles" in made.err
    with rasterio.open(town / "a.tif") as dataset:
        for row in written:
            window = rasterio.windows.Window(*row["window"])
            seen = np.asarray(Image.open(tmp_path / row["image"]))
            np.testing.assert_array_equal(seen, np.moveaxis(dataset.read(window=window), 0, -1))
            assert row["source"] == str(town / "a.tif")
    trained = ngcg(
        *("train", "captions.jsonl", "--model", fake_backbone, "--out", "run", "--steps", "2"),
        *("--batch-size", "4", "--device", "cpu", "--rank", "2", "--json"),
    )
    assert trained.status == 0, trained.err
    assert (tmp_path / "run" / "last" / "ngcg.json").is_file()


def test_a_run_that_was_killed_goes_on_and_ends_as_if_it_had_not_been(
    ngcg: Ngcg, town: Path, talker: Path, tmp_path: Path
) -> None:
    whole = ("caption", town / "a.tif", *CUT, "--model", talker)
    assert ngcg(*whole, "--out", "whole.jsonl").status == 0
    # After some rows: one is half written, and a picture is there of which no row is.
    assert ngcg(*whole, "--out", "cut.jsonl").status == 0
    cut = tmp_path / "cut.jsonl"
    lines = cut.read_bytes().splitlines(keepends=True)
    cut.write_bytes(b"".join(lines[:5]) + lines[5][: len(lines[5]) // 2])
    before = json.loads(lines[0])["image"]
    stamp = (tmp_path / before).stat().st_mtime_ns
    again = ngcg(*whole, "--out", "cut.jsonl", "--json")
    assert again.status == 0, again.err
    report = json.loads(again.out)
    assert report["before"] >= 5
    assert "are done" in again.err
    assert cut.read_text() == (tmp_path / "whole.jsonl").read_text().replace("whole-", "cut-")
    assert (tmp_path / before).stat().st_mtime_ns == stamp
    # Nothing is left to do; more tiles join.
    assert json.loads(ngcg(*whole, "--out", "cut.jsonl", "--json").out)["rows"] == 0
    more = ngcg("caption", town, *CUT, "--model", talker, "--out", "cut.jsonl", "--json")
    assert json.loads(more.out)["before"] == 16
    assert len({row["image"] for row in rows(cut)}) == len(rows(cut))


def test_a_larger_limit_adds_to_a_smaller_one(
    ngcg: Ngcg, town: Path, talker: Path, tmp_path: Path
) -> None:
    args = ("caption", town / "index", "--model", talker, "--out", "few.jsonl", "--json")
    few = json.loads(ngcg(*args, "--limit", "3").out)
    assert (few["tiles"], few["before"]) == (3, 0)
    more = json.loads(ngcg(*args, "--limit", "5").out)
    assert (more["tiles"], more["before"]) == (5, 3)
    due = {(row["source"], *row["window"]) for row in rows(tmp_path / "few.jsonl")}
    sources = {source for source, *_ in due}
    assert sources <= {str(town / "a.tif"), str(town / "b.tif")}


def test_nothing_is_written_where_something_else_is(
    ngcg: Ngcg, town: Path, talker: Path, tmp_path: Path
) -> None:
    args = ("caption", town / "a.tif", *CUT, "--limit", "2")
    (tmp_path / "mine.jsonl").write_text("precious\n")
    (tmp_path / "other-images").mkdir()
    (tmp_path / "other-images" / "photo.png").write_text("precious")
    for out, told in (
        ("mine.jsonl", "is there already"),
        ("other.jsonl", "holds 'photo.png'"),
        (".", "is a folder"),
    ):
        refused = ngcg(*args, "--model", talker, "--out", out)
        assert (refused.status, refused.out) == (2, "")
        assert told in refused.err
    assert (tmp_path / "mine.jsonl").read_text() == "precious\n"
    assert not (tmp_path / "mine-images").exists()
    assert ngcg(*args, "--model", talker, "--out", "ours.jsonl").status == 0
    refused = ngcg(*args, "--model", talker, "--out", "ours.jsonl", "--style", "long")
    assert refused.status == 2
    assert "was begun with styles short, not long" in refused.err


def test_what_cannot_be_captioned_is_told(
    ngcg: Ngcg, town: Path, talker: Path, tmp_path: Path
) -> None:
    model = ("--model", talker, "--out", "c.jsonl")
    (tmp_path / "broken.tif").write_bytes(b"II*\0")
    cases = [
        (("caption", town / "a.tif", "--out", "c.jsonl"), 2, "no model that converses is bundled"),
        (("caption", town / "a.tif", "--model", "tiny", "--out", "c.jsonl"), 1, "has no words"),
        (("caption", town / "a.tif", *model, "--style", "odd"), 2, "--style 'odd' is none of"),
        (("caption", town / "index", town / "a.tif", *model), 2, "an index stands alone"),
        (("caption", town / "index", *model, "--tile", "9px"), 2, "has its tiles already"),
        (("caption", town / "a.tif", "--model", talker, "--out", "no/c.jsonl"), 2, "no folder"),
        (("caption", tmp_path / "broken.tif", *model), 1, "none of the sources can be read"),
    ]
    for args, status, told in cases:
        outcome = ngcg(*args)
        assert (outcome.status, outcome.out) == (status, ""), args
        assert told in outcome.err
        assert not (tmp_path / "c-images").exists(), args
    partly = ngcg("caption", town / "a.tif", tmp_path / "broken.tif", *CUT, *model)
    assert partly.status == 3
    assert "broken.tif" in partly.err
    empty = tmp_path / "index"
    (tmp_path / "gone.tif").write_bytes((town / "a.tif").read_bytes())
    args = ("--index", empty, "--model", talker)
    assert ngcg("index", tmp_path / "gone.tif", *args, *CUT, "-q").status == 0
    assert ngcg("remove", tmp_path / "gone.tif", "--index", empty).status == 0
    outcome = ngcg("caption", empty, "--model", talker, "--out", "e.jsonl")
    assert outcome.status == 1
    assert "has no tiles to be captioned" in outcome.err
    assert not (tmp_path / "e-images").exists()


def test_a_raster_that_is_gone_is_tried_again(
    ngcg: Ngcg, town: Path, talker: Path, tmp_path: Path
) -> None:
    moved = tmp_path / "moved.tif"
    moved.write_bytes((town / "a.tif").read_bytes())
    index = ("--index", tmp_path / "index", "--model", talker)
    assert ngcg("index", moved, *index, *CUT, "-q").status == 0
    moved.rename(tmp_path / "away.tif")
    args = ("caption", tmp_path / "index", "--model", talker, "--out", "c.jsonl", "--limit", "3")
    outcome = ngcg(*args)
    assert outcome.status == 1
    assert outcome.err.count("not captioned") == 1  # not once for each of its tiles
    (tmp_path / "away.tif").rename(moved)
    assert ngcg(*args).status == 0
    assert len(rows(tmp_path / "c.jsonl")) > 1


@pytest.mark.parametrize("asked", [("caption", "--help"), ("query", "--help")])
def test_help_shows_how(ngcg: Ngcg, asked: tuple[str, ...]) -> None:
    assert "smolvlm-500m" in ngcg(*asked).out
