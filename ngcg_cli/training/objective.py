"""What a training run learns: the loss over a batch, and the checkpoint that comes of it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ngcg_cli.choices import TrainPrecision
from ngcg_cli.datasets import ImageFailures, data_fingerprint
from ngcg_cli.datasets.pairs import Pair
from ngcg_cli.encoder.checkpoint import save_checkpoint
from ngcg_cli.encoder.dora import norms_taken_once
from ngcg_cli.encoder.encoder import Encoder
from ngcg_cli.encoder.lora import adapter_settings
from ngcg_cli.encoder.pixels import normalise
from ngcg_cli.encoder.precision import settle
from ngcg_cli.errors import UsageError
from ngcg_cli.training import gradcache
from ngcg_cli.training.anchors import Anchors
from ngcg_cli.training.batches import Batch, PairBatches
from ngcg_cli.training.course import LoopSettings
from ngcg_cli.training.distil import relations
from ngcg_cli.training.loss import Temperature, gather, info_nce, related
from ngcg_cli.training.settings import LEARNING_RATES, Course, TrainSettings, settings_of

logger = logging.getLogger(__name__)

# Steps between two saved states when an epoch is longer: what a crash can cost.
_SAVE_EVERY = 500


class Trained(nn.Module):
    """What learns: the encoder's module, and the temperature where it is learned."""

    def __init__(self, encoder: nn.Module, temperature: Temperature) -> None:
        super().__init__()
        self.encoder = encoder
        self.temperature = temperature


class Objective:
    """What a run learns, in one process: the module, its batches, the loss, and how it is saved."""

    def __init__(
        self,
        settings: TrainSettings,
        encoder: Encoder,
        teacher: Encoder | None,
        pairs: Sequence[Pair],
        failures: ImageFailures,
        rank: int,
        world: int,
    ) -> None:
        if settings.batch_size % world:
            raise UsageError(f"--batch-size {settings.batch_size} is not a multiple of {world}")
        self.settings, self.encoder, self.teacher = settings, encoder, teacher
        self.failures, self.rank = failures, rank
        self.fingerprint = data_fingerprint(pairs)
        self.told_alone = False
        encoder.tell_of_cut([caption for pair in pairs for caption in pair.captions])
        self.spread = settings.batches == "spread"
        self.batches = PairBatches(
            pairs,
            encoder,
            settings.batch_size,
            teacher=teacher,
            anchors=Anchors(settings.anchors) if teacher else None,
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
            **({"teacher": teacher.fingerprint} if teacher else {}),
            **({"anchors": self.batches.anchors.fingerprint} if self.batches.anchors else {}),
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
        said = gather(batch.said.to(device))
        alone = self.spread and self.teacher is None and bool(related(keys).all())
        if alone and not self.told_alone and self.rank == 0:
            self.told_alone = True
            logger.warning(
                "a batch of %d pairs has no negatives, all are of one place, image or caption: "
                "nothing can be learned from it",
                len(keys),
            )

        seen = None if self.teacher is None else self._taught(batch, micro)

        def loss(texts: Tensor, images: Tensor) -> Tensor:
            scale = module.temperature()
            # Each process sees the whole loss: one of them alone counts the temperature's part.
            scale = scale if self.rank == 0 else scale.detach()
            masked = keys[said] if self.spread else None
            texts, images = gather(texts), gather(images)
            value = texts.sum() * 0
            if said.any():
                told = texts[said]
                own = info_nce(told, images[said], scale, masked, self.settings.direction)
                value = value + own
            if seen is not None:
                taught_texts, taught_images = (gather(part) for part in seen)
                student = torch.cat([images, texts])
                teacher = torch.cat([taught_images, taught_texts])
                # A temperature that is learned is learned from captions alone.
                value = value + relations(student, teacher, len(images), scale.detach())
            return value

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

    def _taught(self, batch: Batch, micro: int) -> tuple[Tensor, Tensor]:
        """The teacher's vectors of this process's texts and images, (n, dim) each."""
        assert self.teacher is not None
        assert batch.taught is not None
        device, module = self.teacher.device, self.teacher.module
        ids, mask, images = batch.taught
        with torch.no_grad():
            parts = zip(ids.split(micro), mask.split(micro), strict=True)
            texts = [module.embed_texts(i.to(device), m.to(device)) for i, m in parts]
            pixels = (images[at : at + micro] for at in range(0, len(images), micro))
            seen = [
                module.embed_images(normalise(part, self.teacher.backbone).to(device))
                for part in pixels
            ]
        return torch.cat(texts), torch.cat(seen)

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
                "captions": sum(len(pair.captions) for pair in items.pairs),
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
