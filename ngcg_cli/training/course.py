"""What decides the course of a training run: steps, rates, decay, precision."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import torch

from ngcg_cli.choices import TrainPrecision
from ngcg_cli.training.settings import Course, Told


@dataclass(frozen=True, kw_only=True)
class LoopSettings(Course):
    """How a run goes: the shared settings, and those that have been worked out.

    The defaults are the paper's (arXiv 2604.10721, reference run, SmolVLM).

    Attributes:
        steps: optimiser steps of the whole run.
        lr: peak learning rate.
        betas: AdamW's decay rates of the two moments.
        precision: what `autocast` computes in; weights and moments stay as they are.
        ema: decay of an exponential moving average of the weights, or None. With an average,
            validating and saving see the averaged weights.
        save_every: steps between two saved states; 0 saves only at the end.
        validate_every: steps between two validations; 0 validates only at the end.
    """

    steps: Annotated[int, Told("", least=1)]
    lr: Annotated[float, Told("", above=0)] = 1e-4
    betas: tuple[float, float] = (0.9, 0.999)
    precision: TrainPrecision = "float32"
    ema: Annotated[float | None, Told("", above=0, below=1)] = None
    save_every: int = 500
    validate_every: int = 0

    def rate(self, step: int) -> float:
        """Learning rate of step `step` (from 0): a climb to `lr`, then a fall to the floor."""
        climb = round(self.warmup * self.steps)
        if step < climb:
            return self.lr * (step + 1) / climb
        done = (step - climb) / max(1, self.steps - 1 - climb)
        if self.schedule == "cosine":
            done = (1 - math.cos(math.pi * done)) / 2
        return self.lr * (1 - done * (1 - self.floor))

    def autocast(self, device: torch.device | str) -> AbstractContextManager[Any]:
        """What a step enters around its forward passes (not its backward) to get `precision`."""
        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(torch.device(device).type, dtype=torch.bfloat16)

    def course(self) -> dict[str, Any]:
        """The settings that decide the weights; how often to save or look does not."""
        free = {"log_every", "save_every", "validate_every"}
        return {name: value for name, value in asdict(self).items() if name not in free}
