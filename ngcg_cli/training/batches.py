"""From pairs on disk to batches that are ready for the model."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ngcg_cli.choices import Augmentation
from ngcg_cli.datasets import load_image
from ngcg_cli.datasets.pairs import Pair
from ngcg_cli.encoder.encoder import Encoder
from ngcg_cli.encoder.pixels import resize_images
from ngcg_cli.errors import DataError
from ngcg_cli.training.anchors import Anchors
from ngcg_cli.training.augment import augment
from ngcg_cli.training.loss import pair_keys
from ngcg_cli.training.sampler import SpreadBatches

# An unreadable image is replaced by another pair; so many in a row mean that nothing is readable.
_TRIES = 20


@dataclass(frozen=True)
class Batch:
    """A process's part of a batch of pairs; row i of each field belongs together.

    Attributes:
        ids: (n, L) token ids, padded on the right.
        mask: (n, L), 1 at real tokens.
        images: (n, S, S, 3) uint8.
        keys: (n, 3), see `pair_keys`.
        said: (n,) bool: whether the row has a caption; else its text is an anchor, which need
            not be true of it.
        taught: the same texts and images as the teacher takes them, where there is one: (n, L') ids
            and mask, (n, S', S', 3) uint8.
        broken: images that could not be read, with the reason; other pairs stand in for them.
    """

    ids: Tensor
    mask: Tensor
    images: np.ndarray
    keys: Tensor
    said: Tensor
    taught: tuple[Tensor, Tensor, np.ndarray] | None = None
    broken: tuple[tuple[Path, str], ...] = ()

    def texts(self, micro: int) -> list[tuple[Tensor, Tensor]]:
        """Ids and mask in chunks of `micro` rows, each as short as its longest text."""
        chunks = zip(self.ids.split(micro), self.mask.split(micro), strict=True)
        lengths = ((ids, mask, int(mask.sum(1).max())) for ids, mask in chunks)
        return [(ids[:, :length], mask[:, :length]) for ids, mask, length in lengths]

    def pictures(self, micro: int) -> list[np.ndarray]:
        """Images in chunks of `micro` rows."""
        return [self.images[at : at + micro] for at in range(0, len(self.images), micro)]


class PairBatches(Dataset[Batch]):
    """Item i is batch i: a pure function of the seed and i, whoever makes it and whenever.

    An epoch goes through every caption of every image once, in batches that hold as few as
    possible of one place (of one image, where no place is known); see `SpreadBatches`.

    Args:
        pairs: the data set.
        encoder: its tokenizer and pixel preparation are used, not its weights.
        batch_size: pairs in the whole batch, over all processes.
        teacher: the same of the model that teaches, if any. Only then may pairs lack captions.
        anchors: the texts of pairs that lack captions.
        spread: keep a place's pairs apart; else they are dealt as chance has it, which is what
            the reference does.
        augmentations: see `augment`.
        seed: the run's seed.
        rank, world: this process's number, and of how many: it makes its own part of each batch.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        encoder: Encoder,
        batch_size: int,
        *,
        teacher: Encoder | None = None,
        anchors: Anchors | None = None,
        spread: bool = True,
        augmentations: Sequence[Augmentation] = (),
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.pairs = pairs
        self.items = [
            (p, c) for p, pair in enumerate(pairs) for c in range(len(pair.captions) or 1)
        ]
        if len(self.items) < world:
            raise DataError(f"{len(self.items)} pairs are too few for {world} processes")
        places: Sequence[Hashable] = range(len(self.items))
        if spread:
            places = [pairs[p].place or f"image {pairs[p].name}" for p, _ in self.items]
        self.order = SpreadBatches(places, batch_size, seed)
        self.part = slice(
            rank * (self.order.batch_size // world), (rank + 1) * (self.order.batch_size // world)
        )
        self.tokenizer, self.backbone = encoder.tokenizer, encoder.backbone
        # Not the encoder itself: its weights are nothing for a worker.
        self.teacher = (teacher.tokenizer, teacher.backbone) if teacher else None
        self.anchors = anchors
        self.augmentations = augmentations
        self.seed = seed

    @property
    def batches_per_epoch(self) -> int:
        """Batches that hold every pair about once."""
        return self.order.batches_per_epoch

    def __getitem__(self, index: int) -> Batch:
        broken: list[tuple[Path, str]] = []
        rows = range(self.order.batch_size)[self.part]
        chosen = self.order[index][self.part]
        made = [
            self._example(int(item), np.random.default_rng((self.seed, index, row)), broken)
            for row, item in zip(rows, chosen, strict=True)
        ]
        texts = [caption for _, caption, _ in made]
        images = [image for _, _, image in made]
        ids, mask = self.tokenizer.batch(texts, self.backbone.max_text_tokens)
        taught = None
        if self.teacher:
            tokenizer, backbone = self.teacher
            own = tokenizer.batch(texts, backbone.max_text_tokens)
            taught = (*own, resize_images(images, backbone))
        return Batch(
            ids,
            mask,
            resize_images(images, self.backbone),
            keys=torch.tensor([pair_keys(pair, caption) for pair, caption, _ in made]),
            said=torch.tensor([bool(pair.captions) for pair, _, _ in made]),
            taught=taught,
            broken=tuple(broken),
        )

    def _example(
        self, item: int, rng: np.random.Generator, broken: list[tuple[Path, str]]
    ) -> tuple[Pair, str, np.ndarray]:
        for _ in range(_TRIES):
            number, which = self.items[item]
            pair = self.pairs[number]
            caption = pair.captions[which] if pair.captions else ""
            try:
                image = load_image(pair)
            except DataError as error:
                broken.append((pair.image, error.what))
                item = int(rng.integers(len(self.items)))
                continue
            image = augment(image, caption, rng, self.augmentations, pair.view)
            if not pair.captions and self.anchors is not None:
                caption = self.anchors.draw(rng)
            return pair, caption, image
        raise DataError(f"{_TRIES} images in a row could not be read", where=broken[-1][0])
