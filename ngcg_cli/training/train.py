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

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from ngcg_cli.choices import TrainPrecision
from ngcg_cli.datasets import ImageFailures, data_fingerprint, drop_missing, load_pairs
from ngcg_cli.datasets.pairs import Pair
from ngcg_cli.encoder.checkpoint import load_encoder, save_checkpoint
from ngcg_cli.encoder.dora import norms_taken_once
from ngcg_cli.encoder.encoder import Encoder
from ngcg_cli.encoder.lora import LoraSettings, adapter_settings, add_lora
from ngcg_cli.encoder.pixels import normalise
from ngcg_cli.encoder.precision import settle
from ngcg_cli.errors import NgcgError, UsageError
from ngcg_cli.progress import Progress
from ngcg_cli.training import gradcache
from ngcg_cli.training.batches import Batch, PairBatches
from ngcg_cli.training.course import LoopSettings
from ngcg_cli.training.loop import FitResult, Run
from ngcg_cli.training.loss import Temperature, gather, info_nce, related
from ngcg_cli.training.plot import PLOT_FILE, plot_run
from ngcg_cli.training.settings import LEARNING_RATES, Course, TrainSettings, settings_of
from ngcg_cli.training.state import BEST, LAST, METRICS_FILE, check_out
from ngcg_cli.training.validation import Recall

logger = logging.getLogger(__name__)

# Steps between two saved states when an epoch is longer: what a crash can cost.
_SAVE_EVERY = 500


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


class Trained(nn.Module):
    """What learns: the encoder's module, and the temperature where it is learned."""

    def __init__(self, encoder: nn.Module, temperature: Temperature) -> None:
        super().__init__()
        self.encoder = encoder
        self.temperature = temperature


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
    with _processes() as (rank, world):
        data = _load(settings, settings.data, "train")
        val = _load(settings, settings.val, "test") if settings.val else None
        # Forked tokenizers warn about threads that they do not use here.
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        encoder = prepare(settings)
        objective = _Objective(settings, encoder, data, rank, world)
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


class _Objective:
    """What a run learns, in one process: the module, its batches, the loss, and how it is saved."""

    def __init__(
        self, settings: TrainSettings, encoder: Encoder, data: _Data, rank: int, world: int
    ) -> None:
        if settings.batch_size % world:
            raise UsageError(f"--batch-size {settings.batch_size} is not a multiple of {world}")
        self.settings, self.encoder, self.failures = settings, encoder, data.failures
        self.rank = rank
        self.fingerprint = data_fingerprint(data.pairs)
        self.told_alone = False
        encoder.tell_of_cut([caption for pair in data.pairs for caption in pair.captions])
        self.spread = settings.batches == "spread"
        self.batches = PairBatches(
            data.pairs,
            encoder,
            settings.batch_size,
            spread=self.spread,
            augmentations=settings.augment,
            seed=settings.seed,
            rank=rank,
            world=world,
        )
        self.module = Trained(
            encoder.module, Temperature(settings.temperature, settings.learn_temperature)
        ).to(encoder.device)
        epoch = self.batches.batches_per_epoch
        self.loop = LoopSettings(
            **{setting.name: getattr(settings, setting.name) for setting in settings_of(Course)},
            steps=settings.steps or max(1, round(settings.epochs * epoch)),
            lr=settings.lr or LEARNING_RATES[encoder.backbone.model_type],
            precision=self._precision(),
            validate_every=settings.validate_every or epoch,
            save_every=settings.save_every or min(epoch, _SAVE_EVERY),
        )
        # What a resumed run must share with the first, beside the loop's own settings.
        self.identity = {
            "model": encoder.fingerprint,
            "data": self.fingerprint,
            "pooling": encoder.module.pooling,
            "lora": None if encoder.module.adapter is None else self._lora(),
            "batch-size": settings.batch_size,
            "micro-batch": settings.micro_batch,
            "processes": world,
            "temperature": settings.temperature,
            "learn-temperature": settings.learn_temperature,
            "direction": settings.direction,
            "augment": sorted(settings.augment),
            # Runs of earlier versions know one way only, and do not say it.
            **({} if self.spread else {"batches": settings.batches}),
        }

    def step(self, module: nn.Module, batch: Batch) -> dict[str, float]:
        """Forward and backward over this process's part of the batch, through the cache."""
        assert isinstance(module, Trained)
        for path, reason in batch.broken:
            if path not in self.failures.reasons:
                logger.warning("%s: %s; another pair takes its place", path, reason)
            self.failures.add(path, reason)
        device, micro = self.encoder.device, self.settings.micro_batch or len(batch.ids)

        def embed_texts(chunk: tuple[Tensor, Tensor]) -> Tensor:
            with self.loop.autocast(device):
                return self.encoder.module.embed_texts(*(part.to(device) for part in chunk))

        def embed_images(chunk: np.ndarray) -> Tensor:
            pixels = normalise(chunk, self.encoder.backbone).to(device)
            with self.loop.autocast(device):
                return self.encoder.module.embed_images(pixels)

        keys = gather(batch.keys.to(device))
        if self.spread and not self.told_alone and self.rank == 0 and related(keys).all():
            self.told_alone = True
            logger.warning(
                "a batch of %d pairs has no negatives, all are of one place, image or caption: "
                "nothing can be learned from it",
                len(keys),
            )

        def loss(texts: Tensor, images: Tensor) -> Tensor:
            scale = module.temperature()
            # Each process sees the whole loss: one of them alone counts the temperature's part.
            scale = scale if self.rank == 0 else scale.detach()
            masked = keys if self.spread else None
            return info_nce(gather(texts), gather(images), scale, masked, self.settings.direction)

        with norms_taken_once(self.encoder.module):
            value = gradcache.backward(
                loss,
                gradcache.Side(embed_texts, batch.texts(micro)),
                gradcache.Side(embed_images, batch.pictures(micro)),
            )
        figures = {"loss": value.item(), "pairs": float(len(keys))}
        if self.settings.learn_temperature:
            figures["temperature"] = module.temperature.value
        return figures

    def save(self, folder: Path, figures: dict[str, float]) -> None:
        """Write the encoder as a checkpoint with what `ngcg.json` must say of the run."""
        chosen = {
            **{k: _plain(v) for k, v in asdict(self.settings).items()},
            **{k: _plain(v) for k, v in asdict(self.loop).items()},
        }
        items = self.batches
        extra = {
            "temperature": round(self.module.temperature.value, 6),
            "data": {
                "path": str(self.settings.data),
                "fingerprint": self.fingerprint,
                "images": len(items.pairs),
                "captions": len(items.items),
            },
            "training": chosen,
            "metrics": figures,
        }
        save_checkpoint(self.encoder, folder, extra)

    def _lora(self) -> dict[str, Any]:
        return adapter_settings(self.encoder.module.adapter)

    def _precision(self) -> TrainPrecision:
        settled = settle(self.settings.precision, self.encoder.device.type)
        return "bfloat16" if settled == "bfloat16" else "float32"


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    return list(value) if isinstance(value, tuple) else value


@dataclass(frozen=True)
class _Data:
    """A data set without the pairs whose image file is missing, and those by name."""

    pairs: list[Pair]
    failures: ImageFailures


def _load(settings: TrainSettings, path: Path, default_split: str) -> _Data:
    pairs = load_pairs(
        path,
        settings.data_format,
        images=settings.images,
        default_split=default_split,
        views=settings.views,
        image_type=settings.image_type,
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
        beside = out / f".{file.name}.partial"
        beside.unlink(missing_ok=True)
        try:
            os.link(file, beside)  # the same bytes need no second place on disk
        except OSError:
            shutil.copyfile(file, beside)
        beside.replace(out / file.name)


def _plot(out: Path) -> None:
    try:
        plot_run(out / METRICS_FILE, out / PLOT_FILE)
    except NgcgError as error:
        logger.warning("%s", error)
