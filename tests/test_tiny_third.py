"""The third course of `tiny`'s recipe: a text teacher tuned as a whole, and a tower that rests."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel, BertTokenizer

from examples.tiny.recipe import Recipe, Tuning
from examples.tiny.stages.codes import Code
from examples.tiny.stages.distil import Lesson
from examples.tiny.stages.heads import WIDTH, Lexicon
from examples.tiny.stages.panel import unit
from examples.tiny.stages.tuned import TunedReader, train_tuned
from ngcg_cli.encoder.checkpoint import load_encoder
from ngcg_cli.training.course import LoopSettings

TEXTS = ["a pond in a park", "two boats", "planes on an apron"]
LEXICON = Lexicon(["water", "an airport"], np.array([0, 1]), np.array([0, 0, 1]))
LOOP = LoopSettings(steps=1)


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    """A text model of the teacher's kind, small and untrained, in a folder."""
    words = sorted({word for text in [*TEXTS, *LEXICON.sentences] for word in text.split()})
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
    folder = tmp_path / "teacher"
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    BertTokenizer(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    BertModel(
        BertConfig(
            vocab_size=len(vocabulary), hidden_size=32, num_hidden_layers=1,
            num_attention_heads=2, intermediate_size=64,
        )
    ).save_pretrained(folder)  # fmt: skip
    return folder


def test_a_tuned_teacher_reads_into_the_photographs_space(teacher: Path, tmp_path: Path) -> None:
    seen = unit(np.random.default_rng(0).normal(size=(3, WIDTH)).astype(np.float32))
    path = tmp_path / "tuned.safetensors"
    settings = Tuning(epochs=80, batch=6, lexicon=2, rate=3e-3, head_rate=3e-3)

    def train() -> TunedReader:
        return train_tuned(
            teacher, [seen], TEXTS, [(0,), (1,), (2,)], unit(-seen), LEXICON, path,
            settings=settings, loop=LOOP,
        )  # fmt: skip

    reader = train()
    said = reader.say(TEXTS, tmp_path)
    np.testing.assert_allclose(np.linalg.norm(said, axis=1), 1, atol=1e-5)
    assert (said @ seen.T).argmax(1).tolist() == [0, 1, 2]
    # A word of the lexicon is near the photographs of its scene.
    water, airport = reader.say(LEXICON.sentences, tmp_path) @ seen.T
    assert water[:2].min() > water[2]
    assert airport[2] > airport[:2].max()
    # Kept, and read back: nothing is trained anew.
    written = path.stat().st_mtime_ns
    again = train().say(TEXTS, tmp_path / "other")
    assert path.stat().st_mtime_ns == written
    np.testing.assert_allclose(again, said, atol=1e-5)


def test_parts_of_like_length_come_back_in_order(teacher: Path, tmp_path: Path) -> None:
    reader = TunedReader(teacher, tmp_path / "new.safetensors", LOOP).eval()
    with torch.inference_mode():
        torch.testing.assert_close(reader(TEXTS, parts=3), reader(TEXTS), atol=1e-5, rtol=0)


def test_a_resting_tower_sees_pixels_and_does_not_learn() -> None:
    encoder = load_encoder("tiny", "cpu", precision="float32")
    third = Recipe().third
    course = replace(third, loop=replace(third.loop, precision="float32"))
    vectors = unit(np.ones((2, WIDTH), np.float32))
    module = encoder.module.requires_grad_(True)
    module.vision.requires_grad_(False)
    lesson = Lesson(module, Code([]), vectors, vectors, [(0,), (1,)], course)
    pixels = torch.rand(2, 3, 256, 256)
    seen = lesson.look(pixels)
    torch.testing.assert_close(seen, lesson.look(module.vision.content(pixels)), atol=1e-5, rtol=0)
    seen.sum().backward()
    assert all(parameter.grad is None for parameter in module.vision.parameters())
    assert any(parameter.grad is not None for parameter in module.parameters())
