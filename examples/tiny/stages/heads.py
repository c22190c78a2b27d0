"""Training of the small heads (minutes, no images), what they say together, and the losses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

from examples.tiny.recipe import Heads
from examples.tiny.stages.teachers import Head

WIDTH = 256


@dataclass(frozen=True)
class Lexicon:
    """Sentences that are true of every image of a scene.

    Attributes:
        sentences: L of them; one may stand under several scenes.
        scenes: (L,) number of each one's scene.
        images: (N,) number of each captioned image's scene.
    """

    sentences: list[str]
    scenes: np.ndarray
    images: np.ndarray

    @property
    def shares(self) -> np.ndarray:
        """(L,) float64 with which each is drawn: scenes alike, however many words they have."""
        weights = 1 / np.bincount(self.scenes)[self.scenes]
        return weights / weights.sum()


def train_heads(
    views: Sequence[np.ndarray],
    texts: np.ndarray,
    captions: Sequence[Sequence[int]],
    lexicon: Lexicon,
    lexicon_texts: np.ndarray,
    path: Path,
    *,
    epochs: int,
    seed: int = 0,
    settings: Heads | None = None,
) -> tuple[Head, Head]:
    """The two heads, trained with symmetric InfoNCE; equal captions count as positives.

    Args:
        views: (N, 1280) features of the captioned images, one array for each view of them.
        texts: (M, 384) features of the distinct sentences.
        captions: for each image, the indices of its sentences.
        lexicon: what else is true of the images.
        lexicon_texts: (L, 384) features of its sentences.
        path: where the heads are kept; read from there when the file exists.
        epochs: over all pairs of an image and a sentence of its own.
        seed: of the initial weights and the order of the pairs.
        settings: the recipe's, by default.
    """
    if path.exists():
        return load_heads(path)
    own = settings or Heads()
    torch.manual_seed(seed)
    seen = [torch.from_numpy(view) for view in views]
    said, told = torch.from_numpy(texts), torch.from_numpy(lexicon_texts)
    see, read = Head(seen[0].shape[1], WIDTH), Head(said.shape[1], WIDTH)
    see.level(seen[0])  # sentences come from one model as unit vectors: they are level already
    both = torch.nn.ModuleDict({"see": see, "read": read})
    pairs = _pairs(captions)
    scene_of, lexicon_scene = torch.from_numpy(lexicon.images), torch.from_numpy(lexicon.scenes)
    shares = torch.from_numpy(lexicon.shares)
    count = min(own.lexicon, len(shares))
    for step in _steps(both, own.rate, epochs * len(pairs) // own.batch):
        rows, chosen = pairs[torch.randint(len(pairs), (own.batch,))].T
        words = torch.multinomial(shares, count)
        images = see(seen[step % len(seen)][rows])
        sentences = read(_blurred(torch.cat([said[chosen], told[words]]), own.noise))
        scores = images @ sentences.T / own.temperature
        of_scene = scene_of[rows][:, None] == lexicon_scene[words][None]
        loss = multi_positive(scores[:, : own.batch], same(rows) | same(chosen))
        loss = loss + own.lexicon_weight * many_positives(scores[:, own.batch :], of_scene)
        loss.backward()
    _store(both, path)
    return see.eval(), read.eval()


def train_reader(
    views: Sequence[np.ndarray],
    texts: np.ndarray,
    captions: Sequence[Sequence[int]],
    lexicon: Lexicon,
    lexicon_texts: np.ndarray,
    path: Path,
    *,
    epochs: int,
    seed: int,
    settings: Heads | None = None,
) -> Head:
    """A head that reads into the space of a trained student's images, which stays as it is.

    Args:
        views: (N, 256) the student's unit vectors of the captioned images, an array for each view.
        texts: (M, 384) features of the distinct sentences.
        captions: for each image, the indices of its sentences.
        lexicon: what else is true of the images.
        lexicon_texts: (L, 384) features of its sentences.
        path: where the head is kept; read from there when the file exists.
        epochs: over all pairs of an image and a sentence of its own.
        seed: of the initial weights and the order of the pairs.
        settings: the recipe's, by default.
    """
    own = settings or Heads()
    torch.manual_seed(seed)
    read = Head(texts.shape[1], WIDTH)
    if path.exists():
        read.load_state_dict(load_file(path))
        return read.eval()
    seen = torch.stack([torch.from_numpy(view) for view in views])
    said, told = torch.from_numpy(texts), torch.from_numpy(lexicon_texts)
    pairs = _pairs(captions)
    scene_of, lexicon_scene = torch.from_numpy(lexicon.images), torch.from_numpy(lexicon.scenes)
    shares = torch.from_numpy(lexicon.shares)
    count = min(own.reader_lexicon, len(shares))
    for _ in _steps(read, own.rate, epochs * len(pairs) // own.batch):
        rows, chosen = pairs[torch.randint(len(pairs), (own.batch,))].T
        words = torch.multinomial(shares, count)
        images = _blurred(seen[torch.randint(len(seen), (own.batch,)), rows], own.blur)
        sentences = read(_blurred(torch.cat([said[chosen], told[words]]), own.reader_noise))
        scores = images @ sentences.T / own.reader_temperature
        of_scene = scene_of[rows][:, None] == lexicon_scene[words][None]
        loss = multi_positive(scores[:, : own.batch], same(rows) | same(chosen))
        loss = loss + own.lexicon_weight * many_positives(scores[:, own.batch :], of_scene)
        loss.backward()
    _store(read, path)
    return read.eval()


def _store(heads: torch.nn.Module, path: Path) -> None:
    part = path.with_suffix(".part")
    save_file(heads.state_dict(), part)
    part.rename(path)


@torch.inference_mode()
def read_by(readers: Sequence[Head], sentences: np.ndarray) -> np.ndarray:
    """Unit vectors (M, 256) of sentences from their features (M, 384): the readers' mean."""
    said = torch.from_numpy(sentences)
    vectors: np.ndarray = functional.normalize(
        torch.stack([read(said) for read in readers]).sum(0), dim=-1
    ).numpy()
    return vectors


def _pairs(captions: Sequence[Sequence[int]]) -> Tensor:
    return torch.tensor([(i, c) for i, own in enumerate(captions) for c in sorted(set(own))])


def _steps(module: torch.nn.Module, rate: float, steps: int) -> Iterator[int]:
    """The numbers of the steps; after each, what its backward pass left is applied."""
    optimizer = torch.optim.AdamW(module.parameters(), lr=rate, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    for step in range(steps):
        optimizer.zero_grad()
        yield step
        optimizer.step()
        schedule.step()
        if step % 50 == 0:
            print(f"heads: step {step}/{steps}", flush=True)


def _blurred(vectors: Tensor, length: float) -> Tensor:
    """Unit vectors with noise of that length, unit vectors again."""
    noise = torch.randn_like(vectors) / vectors.shape[1] ** 0.5
    return functional.normalize(vectors + length * noise, dim=-1)


def load_heads(path: Path) -> tuple[Head, Head]:
    """The heads of images and of sentences that `train_heads` has kept in `path`."""
    state, heads = load_file(path), []
    for name in ("see", "read"):
        own = {k.removeprefix(f"{name}."): v for k, v in state.items() if k.startswith(f"{name}.")}
        heads.append(Head(len(own["mean"]), WIDTH))
        heads[-1].load_state_dict(own)
    return heads[0].eval(), heads[1].eval()


class Teachers:
    """Several pairs of heads as one: their vectors side by side, turned into the student's width.

    Heads err each in their own way, so together they rank better than any of them. The cosine of
    two vectors side by side is the mean of the heads' cosines; the turn keeps the directions in
    which images and sentences differ most.

    Args:
        heads: the pairs of heads, of images and of sentences.
        basis: (heads * 256, 256), from `turn`; at first none.
    """

    def __init__(self, heads: Sequence[tuple[Head, Head]], basis: Tensor | None = None) -> None:
        self.heads, self.basis = heads, basis

    @torch.inference_mode()
    def look(self, features: Sequence[np.ndarray]) -> np.ndarray:
        """Unit vectors (N, 256) of images from (N, 1280) features for each pair of heads."""
        asked = zip(self.heads, features, strict=True)
        return self._joined([see(torch.from_numpy(own)) for (see, _), own in asked])

    @torch.inference_mode()
    def say(self, sentences: np.ndarray) -> np.ndarray:
        """Unit vectors (M, 256) of sentences from their features (M, 384)."""
        read_from = torch.from_numpy(sentences)
        return self._joined([read(read_from) for _, read in self.heads])

    def turn(self, vectors: np.ndarray) -> Tensor:
        """Find and keep the basis: the leading directions of vectors (N, heads * 256)."""
        rows = torch.from_numpy(vectors)
        left, _, _ = torch.linalg.svd(rows.T @ rows)
        self.basis = left[:, :WIDTH].contiguous()
        return self.basis

    def _joined(self, vectors: Sequence[Tensor]) -> np.ndarray:
        joined = torch.cat(list(vectors), 1) / len(vectors) ** 0.5
        if self.basis is not None:
            joined = functional.normalize(joined @ self.basis, dim=-1)
        out: np.ndarray = joined.numpy()
        return out


def same(keys: Tensor) -> Tensor:
    """(B,) keys to the boolean (B, B) matrix of equal ones."""
    return keys[:, None] == keys[None, :]


def multi_positive(scores: Tensor, positive: Tensor) -> Tensor:
    """Symmetric InfoNCE in which every positive of a row is an equally good answer.

    Args:
        scores: (B, B), already divided by the temperature.
        positive: boolean (B, B), symmetric, true on the diagonal.
    """
    target = positive.float() / positive.sum(1, keepdim=True)
    rows = functional.cross_entropy(scores, target)
    return (rows + functional.cross_entropy(scores.T, target)) / 2


def many_positives(scores: Tensor, positive: Tensor) -> Tensor:
    """The same for (A, B) scores; rows and columns without a positive are left out."""
    terms = []
    for side, true in ((scores, positive.float()), (scores.T, positive.T.float())):
        held = true.sum(1) > 0
        target = true[held] / true[held].sum(1, keepdim=True)
        terms.append(functional.cross_entropy(side[held], target))
    return (terms[0] + terms[1]) / 2
