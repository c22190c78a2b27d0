"""What `train` refuses before it writes, and what it says of data that teaches little."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from samples import Ngcg

pytestmark = pytest.mark.slow  # small models of torch that train or talk: seconds in all


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Four pictures with a caption each."""
    (tmp_path / "data").mkdir()
    return write(tmp_path / "data/a.jsonl", [f"a pond beside {n} trees" for n in range(4)])


def write(path: Path, captions: list[str], **more: object) -> Path:
    rows = []
    for number, caption in enumerate(captions):
        colours = np.random.default_rng(number).integers(0, 256, (32, 32, 3), np.uint8)
        Image.fromarray(colours).save(path.parent / f"{number}.png")
        rows.append({"image": f"{number}.png", "captions": [caption], **more})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def options(model: Path, out: object) -> list[object]:
    return ["--model", model, "--out", out, "--steps", 1, "--batch-size", 4, "--workers", 0]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    "names",
    [
        ["best/photo-of-the-year.jpg", "last/thesis.txt", "notes.txt"],
        ["adapter_config.json", "adapter_model.safetensors"],
        ["config.json", "model.safetensors", "ngcg.json"],
        [".hidden"],
    ],
)
def test_a_folder_that_is_not_a_runs_is_refused_untouched(
    ngcg: Ngcg, data: Path, fake_backbone: Path, tmp_path: Path, names: list[str]
) -> None:
    for name in names:
        path = tmp_path / "taken" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
    before = contents(tmp_path / "taken")
    for more in ([], ["--resume"], ["--tuning", "full"]):
        outcome = ngcg("train", data, *options(fake_backbone, "taken"), *more)
        assert outcome.status == 2
        assert "taken: holds " in outcome.err
        assert outcome.err.count("\n") == 1
    assert contents(tmp_path / "taken") == before


def test_a_run_holds_its_own_and_spares_a_foreign_best(
    ngcg: Ngcg, data: Path, fake_backbone: Path, tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()  # an empty folder is nobody's
    assert ngcg("train", data, *options(fake_backbone, "run")).status == 0
    assert ngcg("train", data, *options(fake_backbone, "run")).status == 2
    (tmp_path / "run/notes.txt").write_text("mine")
    assert ngcg("train", data, *options(fake_backbone, "run"), "--resume").status == 0
    assert (tmp_path / "run/notes.txt").read_text() == "mine"
    (tmp_path / "run/best").mkdir()
    (tmp_path / "run/best/photo.jpg").write_text("mine")
    outcome = ngcg("train", data, *options(fake_backbone, "run"), "--resume")
    assert outcome.status == 2
    assert "run: holds best, which no training run has written" in outcome.err
    assert (tmp_path / "run/best/photo.jpg").read_text() == "mine"


def test_an_out_where_no_folder_can_be_is_one_line(
    ngcg: Ngcg, data: Path, fake_backbone: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("x")
    outcome = ngcg("train", data, *options(fake_backbone, "file"))
    assert (outcome.status, outcome.err) == (
        2, "ngcg: file: is a file. Name a folder with --out.\n",
    )  # fmt: skip
    outcome = ngcg("train", data, *options(fake_backbone, "file/run"), "-q")
    assert outcome.status == 1
    assert outcome.err.startswith("ngcg: file/run: no run can be written here (")


def test_training_without_a_negative_and_a_cut_text_are_told(
    ngcg: Ngcg, data: Path, fake_backbone: Path
) -> None:
    outcome = ngcg("train", data, *options(fake_backbone, "good"))
    assert "warning" not in outcome.err
    captions = [f"pond {n} " + "and trees " * (400 if n == 2 else 4) for n in range(4)]
    write(data, captions, place="the one place")
    outcome = ngcg("train", data, *options(fake_backbone, "alone"), "--steps", 2, "-q")
    assert outcome.status == 0
    assert outcome.err.count("a batch of 4 pairs has no negatives") == 1
    assert "1 of 4 texts are longer than 300 tokens" in outcome.err
    assert "begins 'pond 2 and" in outcome.err


def test_half_a_character_is_replaced_and_named(
    ngcg: Ngcg, data: Path, fake_backbone: Path
) -> None:
    rows = [json.loads(line) for line in data.open()]
    rows[2]["captions"] = ["a nice pond \ud83c"]
    rows[3]["place"] = "pond \udc3a"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    outcome = ngcg("train", data, *options(fake_backbone, "run"))
    assert outcome.status == 0
    assert "a.jsonl:3: half a character in 'a nice pond \\ud83c' was replaced" in outcome.err
    rest = ["--model", fake_backbone, "--no-cache", "--per-query", "rows.csv", "-q"]
    assert ngcg("eval", data, *rest).status == 0
    assert "a nice pond \ufffd" in Path("rows.csv").read_text("utf-8")


def test_the_start_is_measured_and_before_and_after_are_told(
    ngcg: Ngcg, data: Path, fake_backbone: Path
) -> None:
    words = [*options(fake_backbone, "run"), "--val", data, "--tuning", "full", "--lr", "1e-3"]
    outcome = ngcg("train", data, *words, "--steps", 3)
    assert outcome.status == 0
    first, *_, last = [
        json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()
    ]
    assert first["step"] == 0
    assert "loss" not in first
    measured = ngcg("eval", data, "--model", fake_backbone, "--no-cache", "--json").rows[0]
    assert first["val_mean"] == measured["mean"]
    told = f"mean recall {first['val_mean']:.2f} before, "
    assert told in outcome.err
    assert f"{last['val_mean']:.2f} after 3 steps" in outcome.err


def test_shuffled_batches_hold_a_place_twice_and_count_it_as_a_negative(
    ngcg: Ngcg, data: Path, fake_backbone: Path
) -> None:
    write(data, [f"pond {n}" for n in range(4)], place="the one place")
    outcome = ngcg("train", data, *options(fake_backbone, "run"), "--batches", "shuffle")
    assert "no negatives" not in outcome.err
    (row,) = (json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines())
    assert row["loss"] > 0.1
    stamp = json.loads(Path("run/ngcg.json").read_text())
    assert stamp["training"]["batches"] == "shuffle"
