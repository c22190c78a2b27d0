"""The project's training loop: any module, any loss, exact resume.

A run is a pure function of its settings: batch `i` depends on `i` alone, and torch's generators are
seeded anew for each step, so a run that was stopped after any step and resumed ends with bitwise
the same weights as one that was not (on one kind of hardware, where torch's kernels are
deterministic).
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.utils.data import Dataset

from ngcg_cli.errors import NgcgError, UsageError
from ngcg_cli.training.course import LoopSettings
from ngcg_cli.training.progress import progress
from ngcg_cli.training.state import (
    BEST,
    LAST,
    METRICS_FILE,
    STATE_FILE,
    check_out,
    claim,
    keep_rows_until,
    load_state,
    save_state,
    trainable,
    write_folder,
)
from ngcg_cli.training.stream import stop_signals, stream

logger = logging.getLogger(__name__)

Step = Callable[[nn.Module, Any], dict[str, float]]
Validate = Callable[[nn.Module, int], dict[str, float]]
Save = Callable[[nn.Module, Path, dict[str, float]], None]


@dataclass(frozen=True)
class FitResult:
    """A finished run: steps done, seconds of this call, last validation, best validation."""

    steps: int
    seconds: float
    metrics: dict[str, float] = field(default_factory=dict)
    best: dict[str, float] = field(default_factory=dict)


class Interrupted(NgcgError):
    """The run was stopped by Ctrl-C or SIGTERM; its state is saved."""

    exit_code = 130


def fit(
    module: nn.Module,
    batches: Callable[[int], Any] | Dataset[Any],
    step: Step,
    settings: LoopSettings,
    out: Path,
    *,
    validate: Validate | None = None,
    best: str | None = None,
    save: Save | None = None,
    resume: bool = False,
    identity: dict[str, Any] | None = None,
    workers: int = 0,
    quiet: bool = False,
) -> FitResult:
    """Train what requires a gradient in `module`, in place.

    Leaves in `out`: `metrics.jsonl`, the state to resume from, and through `save` the folders
    `last` and `best`. Under `torch.distributed` the gradients are summed over the processes (so
    each `step` leaves its share of the whole gradient) and process 0 alone validates and writes.

    Args:
        module: on its device already; frozen companions (teachers) belong outside of it.
        batches: `batches(i)` or `batches[i]` is batch `i`, a pure function of `i` (from 0).
        step: runs forward AND backward, leaves the gradients in `.grad`, and returns the step's
            figures: `loss`, perhaps others; `pairs`, if there, gives the speed.
        settings: see `LoopSettings`.
        out: the run's folder; made when missing.
        validate: `validate(module, steps_done)` in eval mode without gradients -> figures.
        best: name of the validation figure to maximise; `save` is called on each new best.
        save: `save(module, folder, figures)` writes the model into an empty folder.
        resume: go on from the state in `out`; without one the run starts at step 0.
        identity: JSON values that a resumed run must share with the first (data, loss, model).
        workers: processes that make batches ahead of the model; 0 makes them in this one.
        quiet: no progress on stderr.

    Raises:
        UsageError: `out` holds a run and `resume` is off, or its settings were others.
        NgcgError: the loss or the gradient is not finite.
        Interrupted: Ctrl-C or SIGTERM; the state of the last finished step is saved.
    """
    return _Run(
        module, settings, out, step, validate, best, save, identity or {}, workers, quiet
    ).go(batches, resume)


def parameter_groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """AdamW's groups: matrices decay; biases, norm gains, scales and temperatures do not.

    The convention of GPT-2 and CLIP trainers: what has fewer than two dimensions is left alone.
    """
    learning = list(trainable(module).values())
    return [
        {"params": [p for p in learning if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in learning if p.ndim < 2], "weight_decay": 0.0},
    ]


def seed_step(seed: int, step: int, rank: int = 0) -> None:
    """Seed torch (every device) from the run's seed, the step and the process, well mixed."""
    state = np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)
    torch.manual_seed(int(state[0]))


class _Run:
    """One call of `fit`: what it works with, and where it stands."""

    def __init__(
        self,
        module: nn.Module,
        settings: LoopSettings,
        out: Path,
        step: Step,
        validate: Validate | None,
        best: str | None,
        save: Save | None,
        identity: dict[str, Any],
        workers: int,
        quiet: bool,
    ) -> None:
        self.module, self.settings, self.out = module, settings, out
        self.step, self.validate, self.best_name, self.save = step, validate, best, save
        self.workers = workers
        self.many = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
        self.rank = dist.get_rank() if self.many else 0
        self.quiet = quiet or self.rank > 0
        self.parameters = trainable(module)
        if not self.parameters:
            raise UsageError("nothing to train: every parameter is frozen", where="training")
        self.optimizer = torch.optim.AdamW(
            parameter_groups(module, settings.weight_decay), lr=settings.lr, betas=settings.betas
        )
        self.average = (
            {name: p.detach().clone() for name, p in self.parameters.items()}
            if settings.ema
            else None
        )
        self.identity = {**settings.course(), **identity}
        self.done = 0
        self.window: dict[str, float] = {}  # sums since the last line of metrics.jsonl
        self.metrics: dict[str, float] = {}
        self.best: dict[str, float] = {}

    def go(self, batches: Callable[[int], Any] | Dataset[Any], resume: bool) -> FitResult:
        began = time.monotonic()
        self._start(resume)
        self.module.train()
        start, steps = self.done, self.settings.steps
        logged = time.monotonic()
        pairs, seconds = 0.0, 0.0
        with stop_signals() as stop, progress(steps, start, self.quiet) as report:
            for batch in stream(batches, start, steps, self.workers):
                figures = self._one_step(batch)
                now = time.monotonic()
                pairs, seconds = pairs + figures.pop("pairs", 0.0), seconds + now - logged
                logged = now
                for name, value in {**figures, "count": 1}.items():
                    self.window[name] = self.window.get(name, 0.0) + value
                report(self.done, figures.get("loss", math.nan), pairs / max(seconds, 1e-9))
                if self._after_step(pairs / max(seconds, 1e-9)):
                    logged, pairs, seconds = time.monotonic(), 0.0, 0.0
                if self._agreed(stop.is_set()) and self.done < steps:
                    self._save_state()
                    self._save_model(LAST, self.metrics)
                    raise Interrupted(
                        f"stopped after step {self.done} of {steps}, which is saved",
                        where=self.out,
                        hint="Run the same command with --resume to go on.",
                    )
        return FitResult(self.done, time.monotonic() - began, self.metrics, self.best)

    def _start(self, resume: bool) -> None:
        check_out(self.out, resume=resume)
        if self.rank == 0:
            claim(self.out)
        if (self.out / STATE_FILE).exists():
            info = load_state(self.out, self.module, self.optimizer, self.average, self.identity)
            self.done, self.window = info["step"], info["window"]
            self.metrics, self.best = info["metrics"], info["best"]
        elif resume:
            logger.info("%s: nothing to resume, starting at step 0", self.out)
        if self.many:  # the same start everywhere, whatever each process drew
            for parameter in self.parameters.values():
                dist.broadcast(parameter.data, 0)
        if self.rank == 0:
            keep_rows_until(self.out / METRICS_FILE, self.done)

    def _one_step(self, batch: Any) -> dict[str, float]:
        """Forward, backward, clip, update. Returns the step's figures."""
        seed_step(self.settings.seed, self.done, self.rank)
        rate = self.settings.rate(self.done)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        figures = dict(self.step(self.module, batch))
        if self.many:
            self._sum_gradients()
        norm = nn.utils.clip_grad_norm_(
            self.parameters.values(), self.settings.clip or math.inf
        ).item()
        if not math.isfinite(norm) or not all(map(math.isfinite, figures.values())):
            raise NgcgError(
                f"step {self.done + 1} has a gradient norm of {norm} and {figures}",
                where=self.out,
                hint="Lower --lr, lengthen --warmup, or look for broken data.",
            )
        self.optimizer.step()
        self.done += 1
        if self.average is not None and self.settings.ema:
            # A short memory at first, so that the random start is forgotten.
            decay = min(self.settings.ema, (1 + self.done) / (10 + self.done))
            with torch.no_grad():
                for name, parameter in self.parameters.items():
                    self.average[name].lerp_(parameter, 1 - decay)
        return {**figures, "grad_norm": norm}

    def _sum_gradients(self) -> None:
        for parameter in self.parameters.values():
            # A process whose share does not touch a parameter still takes part in the sum.
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            dist.all_reduce(parameter.grad)

    def _after_step(self, speed: float) -> bool:
        """Validate, log and save as the settings say; True when a line was logged."""
        settings, last = self.settings, self.done == self.settings.steps
        row: dict[str, float] = {}
        log = last or self.done % settings.log_every == 0
        if log:
            count = self.window.pop("count")
            row = {k: v / count for k, v in self.window.items()}
            row |= {"lr": settings.rate(self.done - 1)}
            row |= {"pairs_per_second": round(speed, 2)} if speed else {}
            self.window = {}
        if self.validate and (last or _due(self.done, settings.validate_every)):
            row |= {f"val_{name}": value for name, value in self._validate().items()}
        if row and self.rank == 0:
            with (self.out / METRICS_FILE).open("a") as file:
                file.write(json.dumps({"step": self.done, **row}) + "\n")
        if last or _due(self.done, settings.save_every):
            self._save_state()
            self._save_model(LAST, self.metrics)
        return log

    def _validate(self) -> dict[str, float]:
        figures: dict[str, float] = {}
        if self.rank == 0 and self.validate:
            with self._shown():
                figures = self.validate(self.module, self.done)
            self.metrics = {"step": self.done, **figures}
            name = self.best_name
            if name and figures[name] > self.best.get(name, -math.inf):
                self.best = dict(self.metrics)
                self._save_model(BEST, self.best)
        if self.many:
            dist.barrier()
        return figures

    @contextmanager
    def _shown(self) -> Iterator[None]:
        """The module as it would be used: eval mode, no gradients, averaged weights if any."""
        modes = [(part, part.training) for part in self.module.modules()]
        average = self.average or {}
        live = {name: self.parameters[name].detach().clone() for name in average}
        with torch.no_grad():
            for name, value in average.items():
                self.parameters[name].copy_(value)
            self.module.eval()
            try:
                yield
            finally:
                for name, value in live.items():
                    self.parameters[name].copy_(value)
                for part, mode in modes:
                    part.training = mode

    def _save_state(self) -> None:
        if self.rank == 0:
            info = {
                "step": self.done,
                "window": self.window,
                "metrics": self.metrics,
                "best": self.best,
                "run": self.identity,
            }
            save_state(self.out, self.module, self.optimizer, self.average, info)
        if self.many:
            dist.barrier()

    def _save_model(self, name: str, figures: dict[str, float]) -> None:
        save = self.save
        if save is not None and self.rank == 0:
            with self._shown():
                write_folder(self.out / name, lambda folder: save(self.module, folder, figures))

    def _agreed(self, stop: bool) -> bool:
        """Whether any process was told to stop: all stop after the same step or they hang."""
        if not self.many:
            return stop
        vote = torch.tensor(float(stop), device=next(iter(self.parameters.values())).device)
        dist.all_reduce(vote)
        return bool(vote.item())


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0
