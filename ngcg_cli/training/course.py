"""What decides the course of a training run: steps, rates, decay, precision."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch

from ngcg_cli.errors import UsageError

Schedule = Literal["linear", "cosine"]
TrainPrecision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class LoopSettings:
    """How a run goes. The defaults are the paper's (arXiv 2604.10721, reference run, SmolVLM).

    Attributes:
        steps: optimiser steps of the whole run.
        lr: peak learning rate.
        warmup: share of the steps in which the rate climbs from 0 to `lr`.
        floor: the last step's rate as a share of `lr`.
        schedule: how the rate falls from `lr` to `floor * lr`.
        weight_decay: AdamW's decoupled decay; matrices only, see `parameter_groups`.
        betas: AdamW's decay rates of the two moments.
        clip: largest gradient norm; 0 turns clipping off.
        seed: seeds torch anew for each step, together with the step's number.
        precision: what `autocast` computes in; weights and moments stay as they are.
        ema: decay of an exponential moving average of the weights, or None. With an average,
            `validate` and `save` see the averaged weights.
        log_every: steps between two lines of metrics.jsonl.
        save_every: steps between two saved states; 0 saves only at the end.
        validate_every: steps between two validations; 0 validates only at the end.
    """

    steps: int
    lr: float = 1e-4
    warmup: float = 0.05
    floor: float = 0.001
    schedule: Schedule = "linear"
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.999)
    clip: float = 1.0
    seed: int = 0
    precision: TrainPrecision = "float32"
    ema: float | None = None
    log_every: int = 10
    save_every: int = 500
    validate_every: int = 0

    def __post_init__(self) -> None:
        for name, fine in (
            ("steps", self.steps > 0),
            ("lr", self.lr > 0),
            ("warmup", 0 <= self.warmup <= 1),
            ("floor", 0 <= self.floor <= 1),
            ("weight_decay", self.weight_decay >= 0),
            ("clip", self.clip >= 0),
            ("ema", self.ema is None or 0 < self.ema < 1),
            ("log_every", self.log_every > 0),
        ):
            if not fine:
                raise UsageError(f"{name} cannot be {getattr(self, name)}", where="training")

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
