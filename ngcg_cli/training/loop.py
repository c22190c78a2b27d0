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
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.utils.data import Dataset

from ngcg_cli.errors import NgcgError, UsageError
from ngcg_cli.progress import Progress
from ngcg_cli.training.course import LoopSettings
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
)
from ngcg_cli.training.stream import stop_signals, stream

logger = logging.getLogger(__name__)

Step = Callable[[nn.Module, Any], dict[str, float]]
Validate = Callable[[], dict[str, float]]
Save = Callable[[Path, dict[str, float]], Any]

_TELL_EVERY = 30.0  # seconds between two lines where no bar is drawn


@dataclass(frozen=True)
class FitResult:
    """A finished run.

    Attributes:
        steps: done, those before a resume included.
        start, metrics, best: the validation before the first step, the last one, the best one,
            each with its step.
    """

    steps: int
    start: dict[str, float] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    best: dict[str, float] = field(default_factory=dict)


class Interrupted(NgcgError):
    """The run was stopped by Ctrl-C or SIGTERM; its state is saved."""

    exit_code = 130


def parameter_groups(
    module: nn.Module, weight_decay: float, rates: Mapping[str, float] | None = None
) -> list[dict[str, Any]]:
    """AdamW's groups: matrices decay; biases, norm gains, scales and temperatures do not.

    The convention of GPT-2 and CLIP trainers: what has fewer than two dimensions is left alone.

    Args:
        module: what is trained.
        weight_decay: of what decays.
        rates: by a part of parameters' names, their learning rate as a `share` of the others'.
    """
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in trainable(module).items():
        share = next((rate for part, rate in (rates or {}).items() if part in name), 1.0)
        groups.setdefault((share, parameter.ndim < 2), []).append(parameter)
    return [
        {"params": groups[key], "weight_decay": 0.0 if key[1] else weight_decay, "share": key[0]}
        for key in sorted(groups, key=lambda key: (-key[0], key[1]))
    ]


def seed_step(seed: int, step: int, rank: int = 0) -> None:
    """Seed torch (every device) from the run's seed, the step and the process, well mixed."""
    state = np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)
    torch.manual_seed(int(state[0]))


@dataclass
class Run:
    """Trains what requires a gradient in `module`, in place.

    Leaves in `out`: `metrics.jsonl`, the state to resume from, and through `save` the folders
    `last` and `best`. Under `torch.distributed` the gradients are summed over the processes (so
    each `step` leaves its share of the whole gradient) and process 0 alone validates and writes.

    Attributes:
        module: on its device already; frozen companions (teachers) belong outside of it.
        batches: `batches(i)` or `batches[i]` is batch `i`, a pure function of `i` (from 0).
        step: `step(module, batch)` runs forward AND backward, leaves the gradients in `.grad`, and
            returns the step's figures: `loss`, perhaps others; `pairs`, if there, gives the speed.
        settings: see `LoopSettings`.
        out: the run's folder; made when missing.
        validate: called in eval mode without gradients, before the first step and then as the
            settings say; returns figures.
        best: name of the validation figure to maximise; `save` is called on each new best.
        save: `save(folder, figures)` writes the model there, whole or not at all.
        resume: go on from the state in `out`; without one the run starts at step 0.
        identity: JSON values that a resumed run must share with the first (data, loss, model).
        rates: see `parameter_groups`; a resumed run must share them, too.
        workers: processes that make batches ahead of the model; 0 makes them in this one.
        progress: is told how far the run is.
    """

    module: nn.Module
    batches: Callable[[int], Any] | Dataset[Any]
    step: Step
    settings: LoopSettings
    out: Path
    _: KW_ONLY
    validate: Validate | None = None
    best: str | None = None
    save: Save | None = None
    resume: bool = False
    identity: dict[str, Any] = field(default_factory=dict)
    rates: Mapping[str, float] = field(default_factory=dict)
    workers: int = 0
    progress: Progress = field(default_factory=Progress)

    def __post_init__(self) -> None:
        self.many = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
        self.rank = dist.get_rank() if self.many else 0
        self.parameters = trainable(self.module)
        if not self.parameters:
            raise UsageError("nothing to train: every parameter is frozen", where="training")
        groups = parameter_groups(self.module, self.settings.weight_decay, self.rates)
        self.optimizer = torch.optim.AdamW(groups, lr=self.settings.lr, betas=self.settings.betas)
        self.average = (
            {name: p.detach().clone() for name, p in self.parameters.items()}
            if self.settings.ema
            else None
        )
        self.identity = {**self.settings.course(), **self.identity}
        if self.rates:
            self.identity["rates"] = dict(self.rates)
        self.done = 0
        self.window: dict[str, float] = {}  # sums since the last line of metrics.jsonl
        self.found = FitResult(0)

    def go(self) -> FitResult:
        """Train from the start, or from where the run was stopped, to the end.

        Raises:
            UsageError: `out` is not a run's, or holds one and `resume` is off, or its settings
                were others.
            NgcgError: the loss or the gradient is not finite.
            Interrupted: Ctrl-C or SIGTERM; the state of the last finished step is saved.
        """
        self._start()
        self.module.train()
        start, steps = self.done, self.settings.steps
        self.progress.start("training", steps)
        self.progress.advance(start)
        logged = told = time.monotonic()
        pairs, seconds = 0.0, 0.0
        with stop_signals() as stop:
            for batch in stream(self.batches, start, steps, self.workers):
                figures = self._one_step(batch)
                now = time.monotonic()
                pairs, seconds = pairs + figures.pop("pairs", 0.0), seconds + now - logged
                logged = now
                for name, value in {**figures, "count": 1}.items():
                    self.window[name] = self.window.get(name, 0.0) + value
                speed = pairs / max(seconds, 1e-9)
                news = f"loss {figures.get('loss', math.nan):.4f}, {speed:.3g} pairs/s"
                self.progress.advance(1)
                self.progress.note(news)
                if now - told > _TELL_EVERY and not self.progress.is_shown:
                    told = now
                    logger.info("step %d of %d: %s", self.done, steps, news)
                if self._after_step(speed):
                    logged, pairs, seconds = time.monotonic(), 0.0, 0.0
                if self._agreed(stop.is_set()) and self.done < steps:
                    self._save()
                    raise Interrupted(
                        f"stopped after step {self.done} of {steps}, which is saved",
                        where=self.out,
                        hint="Run the same command with --resume to go on.",
                    )
        return replace(self.found, steps=self.done)

    def _start(self) -> None:
        check_out(self.out, resume=self.resume)
        if self.rank == 0:
            claim(self.out)
        if (self.out / STATE_FILE).exists():
            info = load_state(self.out, self.module, self.optimizer, self.average, self.identity)
            self.done, self.window = info["step"], info["window"]
            start = info.get("start", {})  # states of earlier versions have none
            self.found = FitResult(self.done, start, info["metrics"], info["best"])
        elif self.resume:
            logger.info("%s: nothing to resume, starting at step 0", self.out)
        if self.many:  # the same start everywhere, whatever each process drew
            for parameter in self.parameters.values():
                dist.broadcast(parameter.data, 0)
        if self.rank == 0:
            keep_rows_until(self.out / METRICS_FILE, self.done or -1)
        if self.validate and not self.done:
            self.found = replace(self.found, start=self._validated())
            self._write_row({f"val_{k}": v for k, v in self.found.start.items() if k != "step"})

    def _one_step(self, batch: Any) -> dict[str, float]:
        """Forward, backward, clip, update. Returns the step's figures."""
        seed_step(self.settings.seed, self.done, self.rank)
        rate = self.settings.rate(self.done)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["share"]
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
            figures = self._validated()
            self.found = replace(self.found, metrics=figures)
            row |= {f"val_{name}": value for name, value in figures.items() if name != "step"}
            best = self.found.best.get(self.best or "", -math.inf)
            if self.best and self.rank == 0 and figures[self.best] > best:
                self.found = replace(self.found, best=figures)
                self._save_model(BEST, figures)
        self._write_row(row)
        if last or _due(self.done, settings.save_every):
            self._save()
        return log

    def _write_row(self, row: dict[str, float]) -> None:
        if row and self.rank == 0:
            with (self.out / METRICS_FILE).open("a") as file:
                file.write(json.dumps({"step": self.done, **row}) + "\n")

    def _validated(self) -> dict[str, float]:
        """The validation's figures with the step; nothing in all processes but the first."""
        figures: dict[str, float] = {}
        if self.rank == 0 and self.validate:
            with self._shown():
                figures = {"step": self.done, **self.validate()}
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

    def _save(self) -> None:
        """The last model, then the state: killed between them, a run repeats steps and saves both.

        The other way round a run that has no step left would keep the model of the save before.
        """
        self._save_model(LAST, self.found.metrics)
        self._save_state()

    def _save_state(self) -> None:
        if self.rank == 0:
            info = {
                "step": self.done,
                "window": self.window,
                "start": self.found.start,
                "metrics": self.found.metrics,
                "best": self.found.best,
                "run": self.identity,
            }
            save_state(self.out, self.module, self.optimizer, self.average, info)
        if self.many:
            dist.barrier()

    def _save_model(self, name: str, figures: dict[str, float]) -> None:
        if self.save is not None and self.rank == 0:
            with self._shown():
                self.save(self.out / name, figures)

    def _agreed(self, stop: bool) -> bool:
        """Whether any process was told to stop: all stop after the same step or they hang."""
        if not self.many:
            return stop
        vote = torch.tensor(float(stop), device=next(iter(self.parameters.values())).device)
        dist.all_reduce(vote)
        return bool(vote.item())


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0
