"""`train`: the encoder, a data set, the loss and the loop, joined."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from ngcg_cli.beside import beside
from ngcg_cli.datasets import ImageFailures, drop_missing, load_pairs
from ngcg_cli.datasets.pairs import Pair
from ngcg_cli.encoder.checkpoint import load_encoder
from ngcg_cli.encoder.encoder import Encoder
from ngcg_cli.encoder.lora import LoraSettings, adapter_settings, add_lora
from ngcg_cli.errors import NgcgError, UsageError
from ngcg_cli.progress import Progress
from ngcg_cli.training.loop import FitResult, Run
from ngcg_cli.training.objective import Objective
from ngcg_cli.training.plot import PLOT_FILE, plot_run
from ngcg_cli.training.settings import TrainSettings
from ngcg_cli.training.state import BEST, LAST, METRICS_FILE, check_out
from ngcg_cli.training.validation import Recall

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainResult:
    """What a run left behind.

    Attributes:
        checkpoint: the folder to give to `--model`.
        steps: optimiser steps done, those before a resume included.
        trainable_parameters, total_parameters: of the encoder, adapter included.
        best: the best validation's step and figures; empty without a validation set.
        start: those of the model as it was before.
        seconds: of this call.
        broken: images that could not be read, with the reason.
    """

    checkpoint: Path
    steps: int
    trainable_parameters: int
    total_parameters: int
    best: dict[str, float]
    seconds: float
    start: dict[str, float] = field(default_factory=dict)
    broken: dict[Path, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The object that `ngcg train --json` prints."""
        names = ("steps", "trainable_parameters", "total_parameters", "best")
        return {
            "checkpoint": str(self.checkpoint),
            **{name: getattr(self, name) for name in names},
            "seconds": round(self.seconds, 2),
        }


def train(settings: TrainSettings, progress: Progress | None = None) -> TrainResult:
    """Train a model on captions of images; see `TrainSettings`.

    Leaves the checkpoint in `settings.out` itself (the best by validation where there is one),
    beside it `best/`, `last/`, `metrics.jsonl`, `training.png` and the state to resume from.
    Started by `torchrun` or `accelerate launch`, the processes share each batch.

    Args:
        settings: all that the run depends on.
        progress: is told how far it is, in the first process.

    Raises:
        NgcgError: in one of its kinds, with what, where and what to do.
    """
    began = time.monotonic()
    check_out(settings.out, resume=settings.resume)
    if settings.anchors is not None and settings.teacher is None:
        raise UsageError("--anchors hold the texts of a --teacher's student; there is no teacher")
    with _processes() as (rank, world):
        data = _load(settings, settings.data, "train", bare=settings.teacher is not None)
        val = _load(settings, settings.val, "test") if settings.val else None
        # Forked tokenizers warn about threads that they do not use here.
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        encoder = prepare(settings)
        teacher = _teacher(settings)
        objective = Objective(settings, encoder, teacher, data.pairs, data.failures, rank, world)
        workers = min(8, (os.cpu_count() or 1) // 2)
        workers = workers if settings.workers is None else settings.workers
        validate = None
        if val is not None:
            validate = Recall(
                val.pairs,
                val.failures,
                encoder,
                workers=workers,
                batch_size=settings.micro_batch or 32,
                precision=objective.loop.precision,
            )
        result = Run(
            objective.module,
            objective.batches,
            objective.step,
            objective.loop,
            settings.out,
            validate=validate,
            best="mean" if validate else None,
            save=objective.save,
            resume=settings.resume,
            identity=objective.identity,
            workers=workers,
            progress=progress if progress and rank == 0 else Progress(),
        ).go()
        if rank == 0:
            _publish(settings.out, BEST if val else LAST)
            _plot(settings.out)
            _tell(settings.out, result)
    counts = [(p.numel(), p.requires_grad) for p in encoder.module.parameters()]
    return TrainResult(
        checkpoint=settings.out,
        steps=result.steps,
        trainable_parameters=sum(count for count, learns in counts if learns),
        total_parameters=sum(count for count, _ in counts),
        best=result.best,
        start=result.start,
        seconds=time.monotonic() - began,
        broken={**data.failures.reasons, **(val.failures.reasons if val else {})},
    )


def _tell(out: Path, result: FitResult) -> None:
    """Say what the training brought."""
    if not result.start:
        return
    before, best = result.start["mean"], result.best["mean"]
    logger.info(
        "%s: mean recall %.2f before, %.2f at its best (step %d), %.2f after %d steps",
        out, before, best, result.best["step"], result.metrics["mean"], result.steps,
    )  # fmt: skip
    if best < before:
        logger.warning(
            "%s: the model was better before; try a lower --lr, more captions or fewer steps", out
        )


def prepare(settings: TrainSettings) -> Encoder:
    """The model to train, with its adapter in place and everything else frozen, or all free.

    A LoRA checkpoint goes on with its own adapter, so that what comes out is one adapter on the
    same base model; with full tuning its adapter is merged first.
    """
    torch.manual_seed(settings.seed)
    lora = settings.tuning == "lora"
    encoder = load_encoder(
        settings.model,
        _device(settings.device),
        pooling=settings.pooling,
        trainable=lora,
        precision="float32",
    )
    module = encoder.module
    if settings.pooling not in (None, module.pooling):
        raise UsageError(
            f"{settings.model} was trained with {module.pooling} pooling",
            where=f"--pooling {settings.pooling}",
            hint="Leave the option out, or start from the base model.",
        )
    asked = LoraSettings(settings.rank, settings.alpha, settings.dropout, settings.dora)
    if not lora:
        module.requires_grad_(True)
    elif module.adapter is None:
        add_lora(module, asked)
        module.to(encoder.device)
    elif (own := adapter_settings(module.adapter)) != {**asdict(asked), "targets": own["targets"]}:
        shown = ", ".join(f"{k} {v}" for k, v in own.items() if k != "targets")
        logger.warning("%s goes on with its own adapter: %s", settings.model, shown)
    if settings.gradient_checkpointing:
        module.gradient_checkpointing()
    return encoder


def _teacher(settings: TrainSettings) -> Encoder | None:
    if settings.teacher is None:
        return None
    teacher = load_encoder(settings.teacher, _device(settings.device), precision=settings.precision)
    logger.info("%s teaches %s", teacher.name, settings.model)
    return teacher


@dataclass(frozen=True)
class _Data:
    """A data set without the pairs whose image file is missing, and those by name."""

    pairs: list[Pair]
    failures: ImageFailures


def _load(settings: TrainSettings, path: Path, default_split: str, *, bare: bool = False) -> _Data:
    pairs = load_pairs(
        path,
        settings.data_format,
        images=settings.images,
        default_split=default_split,
        views=settings.views,
        image_type=settings.image_type,
        bare=bare,
    )
    failures = ImageFailures(len(pairs))
    present = drop_missing(pairs, failures)
    for image, reason in failures.reasons.items():
        logger.warning("%s: %s; left out", image, reason)
    return _Data(present, failures)


def is_first_process() -> bool:
    """Whether this process is the one that speaks, among those that a launcher started."""
    return int(os.environ.get("RANK", "0")) == 0


@contextmanager
def _processes() -> Iterator[tuple[int, int]]:
    """(rank, world size) as `torchrun` or `accelerate launch` set them up; alone, (0, 1)."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1 or dist.is_initialized():
        yield (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        return
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield dist.get_rank(), world
    finally:
        dist.destroy_process_group()


def _device(device: str) -> str:
    """`cuda` of a process among several is the GPU of its local rank."""
    if "LOCAL_RANK" in os.environ and torch.cuda.is_available() and device in ("auto", "cuda"):
        local = int(os.environ["LOCAL_RANK"])
        torch.cuda.set_device(local)
        return f"cuda:{local}"
    return device


def _publish(out: Path, chosen: str) -> None:
    """Make `out` itself the chosen checkpoint; `ngcg.json` comes last, as the sign of a whole."""
    files = sorted((out / chosen).iterdir(), key=lambda file: (file.name == "ngcg.json", file.name))
    for file in files:
        with beside(out / file.name, alone=True) as partial:
            partial.unlink(missing_ok=True)
            try:
                os.link(file, partial)  # the same bytes need no second place on disk
            except OSError:
                shutil.copyfile(file, partial)


def _plot(out: Path) -> None:
    try:
        plot_run(out / METRICS_FILE, out / PLOT_FILE)
    except NgcgError as error:
        logger.warning("%s", error)
