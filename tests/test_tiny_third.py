"""The courses of `tiny`'s recipe: a tower at rest, how the four follow, tiles of a course's own."""

from __future__ import annotations

import json
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
from examples.tiny.stages.counted import FIRST_SEED
from examples.tiny.stages.distil import Lesson
from examples.tiny.stages.eyes import open_eyes
from examples.tiny.stages.heads import WIDTH
from examples.tiny.stages.panel import unit
from examples.tiny.stages.second import drawn
from examples.town.tiles import make_tile
from ngcg_cli.encoder.checkpoint import load_encoder, save_checkpoint


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

    def go(start: str | None = None, course: Any = "second") -> list[Path]:
        studied.clear()
        make.main(tmp_path, tmp_path, start, [], 60, course, seed=3)
        assert load_encoder(str(tmp_path / "tiny"), "cpu").dim == WIDTH
        shutil.rmtree(tmp_path / "tiny")
        assert balanced.pop() == studied[-1][2] / "mean"
        return [run for _, _, run in studied]

    first, second, third, fourth = go()
    starts = [None, f"{first}/last", f"{second}/last", f"{third}/last"]
    assert [start for start, _, _ in studied] == starts
    wanted = Recipe()
    courses = (wanted.first, wanted.second, wanted.third, wanted.fourth)
    for (_, course, _), own in zip(studied, courses, strict=True):
        loop = replace(own.loop, seed=3)
        # 60 tiles for 14,000: as many fewer of a course's own.
        fresh = (154, 103) if own.fresh == (36_000, 24_000) else (0, 0)
        assert course == replace(own, loop=loop, fresh=fresh)
    assert go(str(second / "last"), "third")[0] == third
    assert go(str(third / "last"), "fourth") == [fourth]
    # A constant of the third course leaves those before it as they were.
    longer = replace(wanted.third, loop=replace(wanted.third.loop, steps=7))
    monkeypatch.setattr(make, "Recipe", partial(Recipe, third=longer))
    again = go()
    assert again[:2] == [first, second]
    assert {third, fourth}.isdisjoint(again)


def test_an_averaged_course_leaves_the_mean_of_its_last_weights_and_its_first(
    tmp_path: Path,
) -> None:
    one, last = load_encoder("tiny", "cpu"), load_encoder("tiny", "cpu")
    wanted = {name: value + 0.25 for name, value in one.module.named_parameters()}
    with torch.no_grad():
        for parameter in last.module.parameters():
            parameter.add_(0.5)
    save_checkpoint(last, tmp_path / "last", {})
    course = Recipe().fourth
    assert make._left(tmp_path, "tiny", replace(course, averaged=False)) == tmp_path / "last"
    left = load_encoder(str(make._left(tmp_path, "tiny", course)), "cpu")
    for name, value in left.module.named_parameters():
        torch.testing.assert_close(value, wanted[name], atol=1e-4, rtol=0)


def test_a_course_may_draw_tiles_of_its_own(tmp_path: Path) -> None:
    recipe = Recipe(tiles=2, counted=2)
    gathered: Any = SimpleNamespace(
        tiles=SimpleNamespace(pixels=np.zeros(2)), facts=["a", "b"],
        counted=SimpleNamespace(pixels=np.zeros(1)), counted_facts=["c"],
    )  # fmt: skip
    facts, pixels = drawn(gathered, tmp_path, recipe, recipe.third)
    assert list(map(str, facts)) == ["a", "b", "c"]
    assert [len(part) for part in pixels] == [2, 1]
    facts, pixels = drawn(gathered, tmp_path, recipe, replace(recipe.third, fresh=(1, 2)))
    seeds = [json.loads(line)["seed"] for file in sorted(tmp_path.glob("*/facts.jsonl"))
             for line in file.read_text().splitlines()]  # fmt: skip
    assert seeds == [FIRST_SEED + 2, FIRST_SEED + 3, recipe.tile_seed + 2]
    assert [len(part) for part in pixels] == [1, 2]
    np.testing.assert_array_equal(pixels[0][0], make_tile(recipe.tile_seed + 2, 150).image)
    assert len(facts) == 3
    assert all(fact.truths for fact in facts)
