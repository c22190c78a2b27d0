"""Distillation into `tiny`: what a step sees, and what it is asked to match.

Four terms, the weights beside them: the image's vector against the vision teacher's head (cosine),
the sentence's vector against the text teacher's head (cosine), the 64 patch tokens against the
teacher's 8 x 8 feature map (mean square, principal components kept at their own scale), and a
light InfoNCE between images and sentences of the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from examples.tiny.corpus import SIDE
from examples.tiny.heads import multi_positive, same
from examples.tiny.teachers import MAP_SIDE, MAP_WIDTH
from ngcg_cli.encoder.encoder import Encoder

BATCH = 160
#: Whole batches are drawn: only beside their like are drawn tiles hard negatives. At first every
#: third; from this step on three of four, since shapes (is it a roundabout?) are learned late.
MORE_DRAWN_FROM = 447
TEMPERATURE = 0.05
WEIGHTS = {"image": 1.0, "text": 1.0, "map": 1.0, "contrast": 0.3}
#: Captions of drawn tiles are exact, so there the contrast is trusted as much as the teachers.
DRAWN_CONTRAST = 1.0
#: A sentence with one of these words stops being true when the picture is turned or mirrored.
SIDED = frozenset(
    {"left", "right", "north", "south", "east", "west", "above", "below", "northern", "southern"}
)


@dataclass(frozen=True)
class Lesson:
    """One part of the corpus with what the vision teacher says of it, if it was asked.

    Attributes:
        images: uint8 (N, 150, 150, 3).
        captions: indices into the distinct sentences, one tuple an image.
        maps: float16 (N, 64, 256), the teacher's feature map.
        vectors: float32 (N, 256), unit, its head's. Without it an image is to match its sentence.
    """

    images: np.ndarray
    captions: Sequence[tuple[int, ...]]
    maps: np.ndarray | None = None
    vectors: np.ndarray | None = None


class Batches:
    """Batch `i` as a pure function of `i`, as the training loop's exact resume wants it."""

    def __init__(
        self,
        photographs: Lesson,
        drawn: Lesson,
        sentences: Sequence[str],
        texts: np.ndarray,
        encoder: Encoder,
        seed: int = 0,
    ) -> None:
        self.photographs, self.drawn = photographs, drawn
        self.sentences, self.texts, self.encoder, self.seed = sentences, texts, encoder, seed
        self.sided = np.array([not SIDED.isdisjoint(s.lower().split()) for s in sentences])

    def __call__(self, index: int) -> dict[str, Tensor]:
        """Pixels (160, 3, 128, 128), targets of both sides, token ids and mask, keys; and maps."""
        rng = np.random.default_rng([self.seed, index])
        before = _drawn_batches(index)
        if _drawn_batches(index + 1) > before:
            lesson, rows = self.drawn, self._rows(self.drawn, before)
        else:
            lesson, rows = self.photographs, self._rows(self.photographs, index - before)
        chosen = np.array([int(rng.choice(lesson.captions[row])) for row in rows])
        views = [
            self._view(lesson, int(row), bool(self.sided[caption]), rng)
            for row, caption in zip(rows, chosen, strict=True)
        ]
        ids, mask = self.encoder.tokens([self.sentences[caption] for caption in chosen])
        texts = self.texts[chosen]
        batch = {
            "pixels": _light(torch.stack([view for view, _ in views]), rng),
            "vectors": torch.from_numpy(texts if lesson.vectors is None else lesson.vectors[rows]),
            "ids": ids,
            "mask": mask,
            "texts": torch.from_numpy(texts),
            "keys": torch.from_numpy(np.stack([rows, chosen], 1)),
        }
        if lesson.maps is not None:
            batch["maps"] = torch.stack([grid for _, grid in views if grid is not None])
        return batch

    def _rows(self, lesson: Lesson, place: int) -> np.ndarray:
        """160 rows, the `place`-th slice of an endless run of shuffled epochs."""
        size = len(lesson.captions)
        at = np.arange(place * BATCH, (place + 1) * BATCH)
        orders = {
            int(epoch): np.random.default_rng([self.seed, 7, int(epoch)]).permutation(size)
            for epoch in np.unique(at // size)
        }
        return np.array([orders[int(a // size)][a % size] for a in at])

    def _view(
        self, lesson: Lesson, row: int, still: bool, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor | None]:
        """A turned crop of an image at the student's size, and the teacher's map turned along."""
        image = torch.from_numpy(np.array(lesson.images[row])).permute(2, 0, 1).float()
        grid = None
        if lesson.maps is not None:
            grid = torch.from_numpy(lesson.maps[row].astype(np.float32))
            grid = grid.T.reshape(MAP_WIDTH, MAP_SIDE, MAP_SIDE)
        side = self.encoder.image_size
        # Drawn tiles keep their frame: what a caption names may stand at the edge.
        share = 1.0 if grid is None else float(rng.uniform(0.8, 1.0))
        crop = round(SIDE * share)
        left, top = (int(v) for v in rng.integers(0, SIDE - crop + 1, 2))
        view = image[:, top : top + crop, left : left + crop]
        view = functional.interpolate(view[None], (side, side), mode="bicubic", antialias=True)[0]
        quarter, flip = (0, False) if still else (int(rng.integers(4)), bool(rng.integers(2)))
        view = _turn(view, quarter, flip)
        if grid is not None:
            grid = _turn(_crop_map(grid, left / SIDE, top / SIDE, crop / SIDE), quarter, flip)
            grid = grid.reshape(MAP_WIDTH, -1).T.contiguous()
        return view, grid


def _drawn_batches(index: int) -> int:
    """How many of the batches before `index` are drawn ones."""
    late = max(0, index - MORE_DRAWN_FROM)
    return min(index, MORE_DRAWN_FROM) // 3 + late - (late + 3) // 4


def _turn(picture: Tensor, quarter: int, flip: bool) -> Tensor:
    """(C, H, W) turned by quarters and mirrored."""
    turned = torch.rot90(picture, quarter, (1, 2))
    return turned.flip(2) if flip else turned


def _crop_map(grid: Tensor, left: float, top: float, share: float) -> Tensor:
    """(C, 8, 8) resampled over the window that starts at (left, top); all in shares of the side."""
    theta = torch.tensor([[[share, 0, 2 * left + share - 1], [0, share, 2 * top + share - 1]]])
    where = functional.affine_grid(theta, [1, *grid.shape], align_corners=False)
    return functional.grid_sample(grid[None], where, padding_mode="border", align_corners=False)[0]


def _light(pixels: Tensor, rng: np.random.Generator) -> Tensor:
    """Brightness, contrast and a colour cast per image, then the backbone's normalisation."""
    count = len(pixels)
    gain = torch.from_numpy(rng.uniform(0.85, 1.15, (count, 1, 1, 1)).astype(np.float32))
    cast = torch.from_numpy(rng.uniform(0.95, 1.05, (count, 3, 1, 1)).astype(np.float32))
    shift = torch.from_numpy(rng.uniform(-15, 15, (count, 1, 1, 1)).astype(np.float32))
    mean = pixels.mean((1, 2, 3), keepdim=True)
    pixels = ((pixels - mean) * gain + mean + shift) * cast
    return pixels.clamp(0, 255) / 127.5 - 1


class Student(nn.Module):
    """The encoder's module and the projection of its patch tokens onto the teacher's map."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder.module
        config: Any = encoder.module.base.config
        self.to_map = nn.Linear(config.vision_config.hidden_size, MAP_WIDTH)


def make_step(map_scale: float) -> Any:
    """The loop's step: forward, the four terms, backward.

    Args:
        map_scale: mean square of the teacher's map, which brings that term to about 1.
    """

    def step(module: nn.Module, batch: dict[str, Tensor]) -> dict[str, float]:
        assert isinstance(module, Student)
        tokens = module.encoder.vision_tokens(batch["pixels"])
        images = module.encoder.embed_vision_tokens(tokens)
        texts = module.encoder.embed_texts(batch["ids"], batch["mask"])
        scores = images @ texts.T / TEMPERATURE
        keys = batch["keys"]
        terms = {
            "image": 1 - (images * batch["vectors"]).sum(-1).mean(),
            "text": 1 - (texts * batch["texts"]).sum(-1).mean(),
            "contrast": multi_positive(scores, same(keys[:, 0]) | same(keys[:, 1])),
        }
        if "maps" in batch:
            error = functional.mse_loss(module.to_map(tokens), batch["maps"])
            terms["map"] = error / map_scale
        weights = WEIGHTS if "maps" in batch else WEIGHTS | {"contrast": DRAWN_CONTRAST}
        loss = torch.stack([weights[name] * term for name, term in terms.items()]).sum()
        loss.backward()
        return {
            "loss": loss.item(),
            **{name: term.item() for name, term in terms.items() if name != "map"},
            "pairs": float(len(images)),
        }

    return step
