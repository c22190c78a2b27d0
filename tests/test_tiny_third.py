"""The third course of `tiny`'s recipe, in which the tower rests."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from examples.tiny.recipe import Recipe
from examples.tiny.stages.codes import Code
from examples.tiny.stages.distil import Lesson
from examples.tiny.stages.eyes import open_eyes
from examples.tiny.stages.heads import WIDTH
from examples.tiny.stages.panel import unit
from ngcg_cli.encoder.checkpoint import load_encoder


def test_a_resting_tower_sees_pixels_and_does_not_learn() -> None:
    encoder = load_encoder("tiny", "cpu", precision="float32")
    third = Recipe().third
    course = replace(third, loop=replace(third.loop, precision="float32"))
    vectors = unit(np.ones((2, WIDTH), np.float32))
    module = encoder.module.requires_grad_(True)
    open_eyes(module.vision, third.frozen)
    lesson = Lesson(module, Code([]), vectors, vectors, [(0,), (1,)], course)
    pixels = torch.rand(2, 3, 256, 256)
    seen = lesson.look(pixels)
    torch.testing.assert_close(seen, lesson.look(module.vision.content(pixels)), atol=1e-5, rtol=0)
    seen.sum().backward()
    assert all(parameter.grad is None for parameter in module.vision.parameters())
    assert any(parameter.grad is not None for parameter in module.parameters())
