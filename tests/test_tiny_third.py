"""The courses of `tiny`'s recipe: a tower at rest, and how the three follow."""

from __future__ import annotations

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from examples.tiny import make
from examples.tiny.recipe import Course, Recipe
from examples.tiny.stages.codes import Code
from examples.tiny.stages.distil import Lesson
from examples.tiny.stages.eyes import open_eyes
from examples.tiny.stages.heads import WIDTH
from examples.tiny.stages.panel import unit
from ngcg_cli.encoder.checkpoint import load_encoder


def test_a_resting_tower_sees_pixels_and_does_not_learn() -> None:
    encoder = load_encoder("tiny", "cpu", precision="float32")
    third = Recipe().third
    course = replace(third, frozen=None, loop=replace(third.loop, precision="float32"))
    vectors = unit(np.ones((2, WIDTH), np.float32))
    module = encoder.module.requires_grad_(True)
    open_eyes(module.vision, course.frozen)
    lesson = Lesson(module, Code([]), vectors, vectors, [(0,), (1,)], course)
    pixels = torch.rand(2, 3, 256, 256)
    seen = lesson.look(pixels)
    torch.testing.assert_close(seen, lesson.look(module.vision.content(pixels)), atol=1e-5, rtol=0)
    seen.sum().backward()
    assert all(parameter.grad is None for parameter in module.vision.parameters())
    assert any(parameter.grad is not None for parameter in module.parameters())


@pytest.mark.slow  # eight seconds: models are copied and loaded
def test_each_course_goes_on_from_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What is learned, and from what, is left out: it takes hours.
    bundled = load_encoder("tiny", "cpu").folder
    studied: list[tuple[str | None, Course, Path]] = []

    def study(start: Any, course: Course, run: Path, val: Any) -> None:
        studied.append((start, course, run))
        shutil.copytree(bundled, run / "last", dirs_exist_ok=True)

    monkeypatch.setattr(make, "gather", lambda *_: SimpleNamespace(photographs=None, val=None))
    monkeypatch.setattr(make, "_data", lambda _: [])
    monkeypatch.setattr(make.first, "prepare", lambda *_: None)
    monkeypatch.setattr(make.second, "prepare", lambda _, start, *rest: start)
    monkeypatch.setattr(make, "_study", study)
    balanced: list[Path] = []
    monkeypatch.setattr(make, "balance", lambda encoder, _: balanced.append(encoder.folder))
    monkeypatch.setattr(make, "validate", lambda encoder, _: {})

    def go(start: str | None = None, *, words: bool = False) -> list[Path]:
        studied.clear()
        make.main(tmp_path, tmp_path, start, [], 60, words, seed=3)
        assert load_encoder(str(tmp_path / "tiny"), "cpu").dim == WIDTH
        shutil.rmtree(tmp_path / "tiny")
        assert balanced.pop() == studied[-1][2] / "last"
        return [run for _, _, run in studied]

    first, second, third = go()
    assert [start for start, _, _ in studied] == [None, f"{first}/last", f"{second}/last"]
    wanted = Recipe()
    for (_, course, _), own in zip(
        studied, (wanted.first, wanted.second, wanted.third), strict=True
    ):
        assert course == replace(own, loop=replace(own.loop, seed=3))
    assert go(str(second / "last"), words=True) == [third]
    assert len(go("tiny")) == 2
    # A constant of the third course leaves those before it as they were.
    longer = replace(wanted.third, loop=replace(wanted.third.loop, steps=7))
    monkeypatch.setattr(make, "Recipe", partial(Recipe, third=longer))
    again = go()
    assert again[:2] == [first, second]
    assert again[2] != third
