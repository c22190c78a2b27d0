"""Recall on a validation set, by the ranking core that `ngcg eval` uses."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ngcg_cli.datasets import ImageFailures, load_image
from ngcg_cli.datasets.pairs import Pair
from ngcg_cli.encoder.backbones import Backbone
from ngcg_cli.encoder.encoder import Encoder
from ngcg_cli.encoder.pixels import resize_images
from ngcg_cli.encoder.precision import Precision
from ngcg_cli.errors import DataError
from ngcg_cli.evaluation.retrieval import recall
from ngcg_cli.training.stream import stream

logger = logging.getLogger(__name__)

_BLOCK = 64  # images in memory at once


class Recall:
    """R@1, R@5 and R@10 both ways, and their mean, in percent; same place = correct.

    Args:
        pairs: the validation set.
        failures: is told the images that cannot be read.
        encoder: its module is the one in training.
        workers: processes that decode images.
        batch_size: rows through the model at once.
        precision: what it computes in: that of the training, so that `ngcg eval` with the same
            `--precision` finds the same figures.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        failures: ImageFailures,
        encoder: Encoder,
        *,
        workers: int = 0,
        batch_size: int = 32,
        precision: Precision = "float32",
    ) -> None:
        self.blocks = _Blocks(pairs, encoder.backbone)
        self.encoder = encoder
        self.workers = workers
        self.batch_size = batch_size
        self.failures = failures
        self.precision: Precision = precision

    def __call__(self) -> dict[str, float]:
        """Embed everything anew and rank it."""
        encoder = self.encoder.rounded(self.precision)
        kept: list[Pair] = []
        parts = []
        for images, pairs, broken in stream(self.blocks, 0, len(self.blocks), self.workers):
            for path, reason in broken:
                if path not in self.failures.reasons:
                    logger.warning("%s: %s; left out of the validation", path, reason)
                self.failures.add(path, reason)
            if pairs:
                kept += pairs
                parts.append(encoder.encode_images(images, self.batch_size))
        texts = [caption for pair in kept for caption in pair.captions]
        vectors = encoder.encode_texts(texts, self.batch_size)
        figures = recall(kept, np.concatenate(parts), vectors).figures
        flat = {
            f"{short} {name}": value
            for short, side in (("t2i", "text_to_image"), ("i2t", "image_to_text"))
            for name, value in figures[side].items()
        }
        return {**flat, "mean": figures["mean"]}


class _Blocks:
    """Decodes block after block; light enough to be sent to worker processes."""

    def __init__(self, pairs: Sequence[Pair], backbone: Backbone) -> None:
        self.pairs = pairs
        self.backbone = backbone

    def __len__(self) -> int:
        return -(-len(self.pairs) // _BLOCK)

    def __call__(self, number: int) -> tuple[np.ndarray, list[Pair], list[tuple[Path, str]]]:
        """Pixels of the block's readable images, their pairs, and what could not be read."""
        images, pairs, broken = [], [], []
        for pair in self.pairs[number * _BLOCK : (number + 1) * _BLOCK]:
            try:
                images.append(load_image(pair))
                pairs.append(pair)
            except DataError as error:
                broken.append((pair.image, error.what))
        return resize_images(images, self.backbone), pairs, broken
