"""What a training step of `tiny` sees: photographs, drawn tiles, and words.

Photographs come with a caption each and sentences of their scenes' lexicon, some with none; drawn
tiles with pairs of sentences of which one is false, and with statements that are true; words with
nothing but the teachers' vectors. Every step has some of each.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from examples.tiny.recipe import Sizes
from examples.tiny.stages.codes import Code
from examples.tiny.stages.contrasts import KINDS, Facts, said, taught
from examples.tiny.stages.heads import Lexicon
from examples.tiny.stages.pasted import phrase
from examples.tiny.stages.views import plain, shown
from examples.town.captions import Speaker
from ngcg_cli.encoder.encoder import Encoder

_COUNT = KINDS.index("count")


class Seen(Protocol):
    """What the student is shown of N images."""

    def __len__(self) -> int: ...

    def take(self, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Float32, one for each row: patch tokens (64, 1728), or pixels (3, 256, 256)."""
        ...


@dataclass(frozen=True)
class Cached:
    """Patch tokens that a frozen tower has seen, float16 (N, 64, 1728), one array for each view."""

    views: Sequence[np.ndarray]

    def __len__(self) -> int:
        return len(self.views[0])

    def take(self, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The rows' tokens, each in a view of its own."""
        views = rng.integers(len(self.views), size=len(rows))
        tokens = [self.views[v][row] for v, row in zip(views, rows, strict=True)]
        return np.stack(tokens).astype(np.float32)


@dataclass(frozen=True)
class Pixels:
    """Images, each shown in a new view.

    Attributes:
        parts: uint8 (N, h, w, 3), one after the other; memory-mapped ones stay on disk.
        whole: as in `views.shown`.
        plain: the share of images that are shown as they are.
    """

    parts: Sequence[np.ndarray]
    whole: bool = False
    plain: float = 0.0

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def take(self, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A view of each."""
        return np.stack([self._view(int(row), rng) for row in rows])

    def _view(self, row: int, rng: np.random.Generator) -> np.ndarray:
        ends = list(accumulate(map(len, self.parts)))
        part = bisect_right(ends, row)
        image = self.parts[part][row - ends[part]]
        if self.plain and rng.random() < self.plain:
            return plain(image)
        return shown(image, rng, self.whole)


@dataclass(frozen=True)
class Photographs:
    """Photographs with what the teachers say of them.

    Attributes:
        seen: what is shown of them.
        targets: float32 (N, 256), the teachers' unit vectors.
        captions: for each image, the indices of its sentences; empty where there are none.
    """

    seen: Seen
    targets: np.ndarray
    captions: Sequence[tuple[int, ...]] = ()

    def take(
        self, place: int, count: int, order: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, Tensor]:
        """Rows of the `place`-th `count` of endless epochs, and what is shown of them.

        `order` decides the epochs' orders, `rng` all else.
        """
        rows = _rows(len(self.targets), place, count, order)
        return rows, torch.from_numpy(self.seen.take(rows, rng))


@dataclass(frozen=True)
class Tiles:
    """Drawn tiles: what is shown of them, what is known of each, and its code."""

    seen: Seen
    facts: Sequence[Facts]
    code: Code


@dataclass(frozen=True)
class Pasted:
    """Photographs with drawn things in them: what is shown of them, and the keys of the things."""

    seen: Seen
    keys: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Said:
    """Sentences, the teachers' unit vectors (N, 256) of them, and how often each is drawn."""

    texts: Sequence[str]
    targets: np.ndarray
    shares: np.ndarray | None = None


class Batches:
    """Batch `i` as a pure function of `i`, as the training loop's exact resume wants it."""

    def __init__(
        self,
        photographs: Photographs,
        unlabelled: Photographs,
        tiles: Tiles,
        captions: Said,
        lexicon: Lexicon,
        lexicon_targets: np.ndarray,
        words: Said,
        encoder: Encoder,
        sizes: Sizes,
        pasted: Pasted | None = None,
        alter: Callable[[str, np.random.Generator], str] = lambda text, rng: text,
        seed: int = 0,
    ) -> None:
        self.seed = seed
        self.sizes, self.pasted, self.alter = sizes, pasted, alter
        self.photographs, self.unlabelled, self.tiles = photographs, unlabelled, tiles
        self.captions, self.words, self.encoder = captions, words, encoder
        self.lexicon, self.lexicon_targets = lexicon, lexicon_targets
        # Where nothing can be contrasted there is nothing to learn.
        self._contrasted = np.flatnonzero([bool(own) for own in tiles.code.labels])
        # What is rarely true is worth more to be said: crossroads rather than roads.
        held = Counter(key for fact in tiles.facts for key in fact.truths)
        self._worth = {key: times**-0.5 for key, times in held.items()}

    def __call__(self, index: int) -> dict[str, Tensor]:
        """What is shown of images, ids and mask of sentences, and what is true of them.

        Images: the captioned photographs and the others, which together are to match `seen`, then
        the tiles, then photographs with things pasted in. Sentences: the photographs' captions, the
        lexicon's, the words, which together are to match `said`; then the pairs' first sentences,
        their second ones, statements of the tiles, and those of the pasted things.
        """
        rng = np.random.default_rng([31, index, self.seed])
        parts = [self._photographs(index, rng), self._tiles(index, rng)]
        if self.pasted:
            parts.append(self._pasted(self.pasted, index, rng))
        images = torch.cat([part.pop("images") for part, _ in parts])
        ids, mask = self.encoder.tokens([text for _, texts in parts for text in texts])
        batch = {"images": images, "ids": ids, "mask": mask}
        return {**batch, **{name: value for part, _ in parts for name, value in part.items()}}

    def _photographs(
        self, index: int, rng: np.random.Generator
    ) -> tuple[dict[str, Tensor], list[str]]:
        part, others, sizes = self.photographs, self.unlabelled, self.sizes
        rows, images = part.take(index, sizes.photographs, self._order(1), rng)
        other_rows, other_images = others.take(index, sizes.unlabelled, self._order(1), rng)
        own = np.array([rng.choice(part.captions[row]) for row in rows])
        shares = self.lexicon.shares
        told = rng.choice(len(shares), sizes.lexicon, replace=False, p=shares)
        words = rng.choice(len(self.words.texts), sizes.words, replace=False, p=self.words.shares)
        bank = min(sizes.bank, len(self.captions.texts))
        texts = [self.captions.texts[n] for n in own]
        texts += [self.lexicon.sentences[n] for n in told] + [self.words.texts[n] for n in words]
        targets = [
            self.captions.targets[own],
            self.lexicon_targets[told],
            self.words.targets[words],
        ]
        of_scene = self.lexicon.images[rows][:, None] == self.lexicon.scenes[told][None]
        return {
            "images": torch.cat([images, other_images]),
            "keys": torch.from_numpy(np.stack([rows, own], 1)),
            "seen": torch.from_numpy(
                np.concatenate([part.targets[rows], others.targets[other_rows]])
            ),
            "said": torch.from_numpy(np.concatenate(targets)),
            "of_scene": torch.from_numpy(of_scene),
            "bank": torch.from_numpy(rng.choice(len(self.captions.texts), bank, replace=False)),
        }, [self.alter(text, rng) for text in texts]

    def _pasted(
        self, pasted: Pasted, index: int, rng: np.random.Generator
    ) -> tuple[dict[str, Tensor], list[str]]:
        rows = _rows(len(pasted.keys), index, self.sizes.pasted, self._order(11))
        keys = [str(rng.choice(pasted.keys[row])) for row in rows]
        true = [[key in pasted.keys[row] for key in keys] for row in rows]
        images = torch.from_numpy(pasted.seen.take(rows, rng))
        return {"images": images, "true_pasted": torch.tensor(true)}, [
            self.alter(phrase(key, rng), rng) for key in keys
        ]

    def _tiles(self, index: int, rng: np.random.Generator) -> tuple[dict[str, Tensor], list[str]]:
        code = self.tiles.code
        order = self._order(9)
        rows = _rows(len(self._contrasted), index, self.sizes.tiles, order)
        rows = self._contrasted[np.sort(rows)]
        labels = np.array([(n, *label) for n, row in enumerate(rows) for label in code.labels[row]])
        pairs, first, second = self._pairs(labels, rng)
        column = {pair: n for n, pair in enumerate(pairs)}
        judged = torch.zeros(len(rows), len(pairs))
        for tile, pair, label in labels:
            if pair in column:
                judged[tile, column[pair]] = float(label)
        keys = [code.pairs[pair].first for pair in pairs]
        keys += [code.pairs[pair].second for pair in pairs]
        stated, statements = self._statements(rows, rng)
        keys += stated
        true = [[key in self.tiles.facts[row].truths for key in keys] for row in rows]
        return {
            "images": torch.from_numpy(self.tiles.seen.take(rows, rng)),
            "labels": torch.from_numpy(labels),
            "pairs": torch.tensor(pairs),
            "judged": judged,
            "true": torch.tensor(true),
        }, first + second + statements

    def _statements(
        self, rows: np.ndarray, rng: np.random.Generator
    ) -> tuple[list[str], list[str]]:
        """Keys and words of `statements`, each true of one of these tiles."""
        keys: list[str] = []
        texts: list[str] = []
        # More than needed: some name what training leaves out.
        for row in rng.permutation(rows):
            # Where all things of a kind lie is said only of pairs.
            own = sorted(k for k in self.tiles.facts[row].truths if not k.startswith("at|"))
            worth = np.array([self._worth[key] for key in own])
            key = own[int(rng.choice(len(own), p=worth / worth.sum()))]
            text = Speaker(rng).say(key)
            if taught(text):
                keys.append(key)
                texts.append(text)
            if len(keys) == self.sizes.statements:
                break
        return keys, texts

    def _order(self, part: int) -> int:
        """What decides the orders of a part's epochs."""
        return part + 100 * self.seed

    def _pairs(
        self, labels: np.ndarray, rng: np.random.Generator
    ) -> tuple[list[int], list[str], list[str]]:
        """`pairs` pairs that these labels judge, kinds alike, and words for both of their sides."""
        code = self.tiles.code
        found, counts = np.unique(labels[:, 1], return_counts=True)
        kinds = code.kinds[found]
        shares = counts / np.bincount(kinds, counts)[kinds]
        shares = shares * np.where(kinds == _COUNT, self.sizes.counts, 1.0)
        shares /= shares.sum()
        pairs: list[int] = []
        first: list[str] = []
        second: list[str] = []
        # Twice as many as needed: some cannot be said, or name what training leaves out.
        drawn = rng.choice(found, min(len(found), 2 * self.sizes.pairs), replace=False, p=shares)
        for pair in drawn:
            swapped = bool(rng.random() < 0.5)
            texts = said(code.pairs[pair].swap(second=swapped), Speaker(rng))
            if texts and all(map(taught, texts)):
                pairs.append(int(pair))
                first.append(texts[swapped])
                second.append(texts[not swapped])
            if len(pairs) == self.sizes.pairs:
                break
        return pairs, first, second


def _rows(size: int, place: int, count: int, seed: int) -> np.ndarray:
    """`count` rows, the `place`-th slice of an endless run of shuffled epochs."""
    at = np.arange(place * count, (place + 1) * count)
    orders = {
        int(epoch): np.random.default_rng([seed, int(epoch)]).permutation(size)
        for epoch in np.unique(at // size)
    }
    return np.array([orders[int(a // size)][a % size] for a in at])
