"""`train --teacher`: relations between vectors, with and without captions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from samples import Ngcg
from small_models import smolvlm, write_tokenizer
from torch import Tensor

from ngcg_cli.encoder.checkpoint import load_encoder
from ngcg_cli.errors import DataError
from ngcg_cli.training.anchors import Anchors
from ngcg_cli.training.distil import relations

pytestmark = pytest.mark.slow  # small models of torch that train or talk: seconds in all


def unit(rows: int, dim: int, seed: int) -> Tensor:
    drawn = torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(drawn, dim=-1)


def test_relations_are_those_of_the_formula() -> None:
    student, teacher = unit(5, 4, 0), unit(5, 6, 1)

    def answer(vectors: Tensor, asking: int, asked: list[int]) -> np.ndarray:
        scores = np.array([10 * float(vectors[asking] @ vectors[other]) for other in asked])
        return np.exp(scores) / np.exp(scores).sum()

    images, texts = [0, 1, 2], [3, 4]
    sides = []
    for rows in (images, texts):
        for columns in (images, texts):
            row_losses = []
            for row in rows:
                asked = [column for column in columns if column != row]
                p, q = answer(teacher, row, asked), answer(student, row, asked)
                row_losses.append((p * np.log(p / q)).sum())
            sides.append(np.mean(row_losses))
    assert relations(student, teacher, 3, 10.0).item() == pytest.approx(np.mean(sides), abs=1e-6)


def test_the_same_relations_in_other_dimensions_cost_nothing() -> None:
    teacher = unit(6, 5, 2)
    turned, _ = torch.linalg.qr(torch.randn(8, 5, generator=torch.Generator().manual_seed(3)))
    assert relations(teacher @ turned.T, teacher, 4, 30.0).item() == pytest.approx(0, abs=1e-5)
    # In equal dimensions the space itself counts too.
    mirrored = teacher * torch.tensor([-1.0, 1, 1, 1, 1])
    assert relations(mirrored, teacher, 4, 30.0).item() > 0.01
    assert relations(teacher, teacher, 4, 30.0).item() == pytest.approx(0, abs=1e-5)
    assert relations(teacher[:1], teacher[:1, :4], 1, 30.0).item() == 0, "nobody to ask about"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Eight pictures, without captions but for two."""
    (tmp_path / "data").mkdir()
    rows = []
    for number in range(8):
        colours = np.random.default_rng(number).integers(0, 256, (4, 4, 3), np.uint8)
        Image.fromarray(np.kron(colours, np.ones((8, 8, 1), np.uint8))).save(
            tmp_path / f"data/{number}.png"
        )
        captions = {"captions": [f"pond {number}"]} if number < 2 else {}
        rows.append({"image": f"{number}.png", **captions})
    path = tmp_path / "data/a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def student(tmp_path: Path) -> Path:
    """Narrower than the fake backbone, and it sees smaller pictures."""
    from transformers import SmolVLMModel

    config: Any = smolvlm()
    config.text_config.hidden_size = 32
    config.vision_config.image_size = 16
    torch.manual_seed(1)
    SmolVLMModel(config).save_pretrained(tmp_path / "student")
    write_tokenizer(tmp_path / "student")
    return tmp_path / "student"


def losses(run: str) -> list[float]:
    return [
        json.loads(line)["loss"] for line in Path(run, "metrics.jsonl").read_text().splitlines()
    ]


def test_a_student_of_other_dimensions_learns_from_pictures_alone(
    ngcg: Ngcg, data: Path, fake_backbone: Path, student: Path
) -> None:
    words: list[object] = [
        "--batch-size",
        "8",
        "--workers",
        "0",
        "--lr",
        "3e-3",
        "--log-every",
        "1",
        "--tuning",
        "full",
    ]
    words += ["--augment", "none", "--temperature", 0.2, "--model", student]
    outcome = ngcg("train", data, *words, "--out", "none", "--steps", 1)
    assert outcome.status == 1, "without a teacher captions are needed"
    assert 'a.jsonl:3: no "captions"' in outcome.err

    words += ["--teacher", fake_backbone]
    outcome = ngcg("train", data, *words, "--out", "whole", "--steps", 15)
    assert outcome.status == 0, outcome.err
    assert "no negatives" not in outcome.err
    whole = losses("whole")
    assert whole[-1] < 0.5 * whole[0]
    stamp = json.loads(Path("whole/ngcg.json").read_text())
    assert stamp["training"]["teacher"] == str(fake_backbone)
    assert (stamp["data"]["images"], stamp["data"]["captions"]) == (8, 2)

    # In parts, through the gradient cache: the same first step, and so the same second loss.
    assert (
        ngcg("train", data, *words, "--out", "parts", "--steps", 2, "--micro-batch", 3).status == 0
    )
    assert losses("parts") == pytest.approx(whole[:2], rel=1e-4)
    again = ngcg("train", data, *words, "--out", "whole", "--steps", 15, "--resume")
    assert again.status == 0
    other = [*words[:-1], student]
    refused = ngcg("train", data, *other, "--out", "whole", "--steps", 15, "--resume")
    assert refused.status == 2
    assert "had teacher = " in refused.err


def test_anchors_are_sentences_that_the_seed_decides(tmp_path: Path) -> None:
    stock = Anchors()
    drawn = [stock.draw(np.random.default_rng(number)) for number in range(200)]
    assert drawn == [stock.draw(np.random.default_rng(number)) for number in range(200)]
    assert len(set(drawn)) > 150
    assert not [text for text in drawn if "{" in text or "/" in text or "  " in text]
    path = tmp_path / "lines.txt"
    path.write_text("a pond\n\n  two jetties \n")
    own = Anchors(path)
    assert {own.draw(np.random.default_rng(n)) for n in range(20)} == {"a pond", "two jetties"}
    assert own.fingerprint != stock.fingerprint
    for content in (b"\n \n", b"\xff\xfe"):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"lines\.txt"):
            Anchors(path)


def test_texts_are_held_where_pictures_have_no_captions(
    ngcg: Ngcg, data: Path, fake_backbone: Path, student: Path
) -> None:
    """What the student makes of sentences comes nearer to the teacher, too."""
    asked = ["a harbour with white boats", "two ponds", "a red-roofed building", "many planes"]

    def apart(model: str | Path) -> float:
        sides = [load_encoder(each, "cpu").encode_texts(asked) for each in (model, fake_backbone)]
        own, theirs = (torch.from_numpy(vectors) for vectors in sides)
        return relations(own, theirs, 0, 5.0).item()

    Path("words.txt").write_text("\n".join(asked))
    bare = [{"image": f"{number}.png"} for number in range(8)]
    data.write_text("".join(json.dumps(row) + "\n" for row in bare))
    words: list[object] = ["--tuning", "full", "--lr", "3e-3", "--temperature", 0.2]
    words += ["--workers", 0, "--augment", "none", "--batch-size", 8, "--model", student]
    refused = ngcg("train", data, *words, "--out", "none", "--anchors", "words.txt")
    assert (refused.status, refused.err.count("\n")) == (2, 1)
    words += ["--teacher", fake_backbone]
    before = apart(student)
    done = ngcg("train", data, *words, "--anchors", "words.txt", "--out", "own", "--steps", 20)
    assert done.status == 0, done.err
    assert apart("own") < 0.3 * before
