"""What a training step of `tiny` sees: three kinds of batches, each with words to learn beside.

Photographs come with a caption each and sentences of their scenes' lexicon; drawn tiles with their
captions, or with pairs of captions of which one is false. A batch is of one kind throughout: only
beside their like are drawn tiles hard negatives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from examples.tiny.heads import Lexicon
from ngcg_cli.encoder.encoder import Encoder

PHOTOGRAPHS, DRAWN, LEXICON, WORDS = 256, 144, 64, 96
#: Two batches of three are photographs; the third is drawn, every other time with false captions.
#: Counts and sides are learned late and slowly, so from this step on false captions are three
#: batches of eight, drawn tiles alone one, photographs four.
MORE_CONTRASTS_FROM = 250


@dataclass(frozen=True)
class Photographs:
    """Captioned photographs with what the heads say of them.

    Attributes:
        views: patch tokens, float16 (N, 64, 1728), one array for each view.
        captions: for each image, the indices of its sentences.
        targets: float32 (N, 256), the image head's unit vectors.
    """

    views: Sequence[np.ndarray]
    captions: Sequence[tuple[int, ...]]
    targets: np.ndarray


@dataclass(frozen=True)
class Drawn:
    """Drawn tiles: patch tokens (N, 64, 1728) and, for each, its sentences' indices."""

    tokens: np.ndarray
    captions: Sequence[tuple[int, ...]]


@dataclass(frozen=True)
class Contrasted:
    """Drawn tiles: patch tokens (N, 64, 1728) and, for each, true captions with a false twin."""

    tokens: np.ndarray
    pairs: Sequence[Sequence[tuple[str, str]]]


@dataclass(frozen=True)
class Said:
    """Sentences and the text head's unit vectors (N, 256) of them."""

    texts: Sequence[str]
    targets: np.ndarray


class Batches:
    """Batch `i` as a pure function of `i`, as the training loop's exact resume wants it."""

    def __init__(
        self,
        photographs: Photographs,
        drawn: Drawn,
        contrasted: Contrasted,
        captions: Said,
        lexicon: Lexicon,
        lexicon_targets: np.ndarray,
        words: Said,
        encoder: Encoder,
    ) -> None:
        self.photographs, self.drawn, self.contrasted = photographs, drawn, contrasted
        self.captions, self.words, self.encoder = captions, words, encoder
        self.lexicon, self.lexicon_targets = lexicon, lexicon_targets
        # Where every caption names what training leaves out there is nothing to learn.
        self._drawn = np.flatnonzero([bool(own) for own in drawn.captions])
        self._contrasted = np.flatnonzero([bool(own) for own in contrasted.pairs])

    def __call__(self, index: int) -> dict[str, Tensor]:
        """Patch tokens of B images, ids and mask of their B sentences and more, keys, targets.

        The first B texts are the images' own; `lexicon` or `false` say what follows; the last ones
        are to match `said`, the text head's vectors.
        """
        rng = np.random.default_rng([5, index])
        chosen = rng.choice(len(self.words.texts), WORDS, replace=False)
        words = Said([self.words.texts[n] for n in chosen], self.words.targets[chosen])
        kind, place = _kind(index), sum(_kind(i) == _kind(index) for i in range(index))
        if kind == "photographs":
            return self._photographs(place, words, rng)
        if kind == "contrasted":
            return self._contrasted_tiles(place, words, rng)
        return self._drawn_tiles(place, words, rng)

    def _photographs(self, place: int, words: Said, rng: np.random.Generator) -> dict[str, Tensor]:
        part = self.photographs
        rows = _rows(len(part.captions), place, PHOTOGRAPHS, 1)
        own = np.array([rng.choice(part.captions[row]) for row in rows])
        views = rng.integers(len(part.views), size=len(rows))
        tokens = np.stack([part.views[v][row] for v, row in zip(views, rows, strict=True)])
        shares = self.lexicon.shares
        told = rng.choice(len(shares), LEXICON, replace=False, p=shares)
        texts = [self.captions.texts[c] for c in own] + [self.lexicon.sentences[n] for n in told]
        targets = [self.captions.targets[own], self.lexicon_targets[told], words.targets]
        return {
            **self._batch(tokens, [*texts, *words.texts], np.stack([rows, own], 1)),
            "said": torch.from_numpy(np.concatenate(targets)),
            "seen": torch.from_numpy(part.targets[rows]),
            "of_scene": torch.from_numpy(
                self.lexicon.images[rows][:, None] == self.lexicon.scenes[told][None]
            ),
        }

    def _drawn_tiles(self, place: int, words: Said, rng: np.random.Generator) -> dict[str, Tensor]:
        rows = self._drawn[np.sort(_rows(len(self._drawn), place, DRAWN, 2))]
        own = np.array([rng.choice(self.drawn.captions[row]) for row in rows])
        texts = [self.captions.texts[c] for c in own]
        return {
            **self._batch(
                self.drawn.tokens[rows], [*texts, *words.texts], np.stack([rows, own], 1)
            ),
            "said": torch.from_numpy(words.targets),
        }

    def _contrasted_tiles(
        self, place: int, words: Said, rng: np.random.Generator
    ) -> dict[str, Tensor]:
        rows = self._contrasted[np.sort(_rows(len(self._contrasted), place, DRAWN, 3))]
        pairs = [self.contrasted.pairs[row] for row in rows]
        chosen = [own[int(rng.integers(len(own)))] for own in pairs]
        true, false = zip(*chosen, strict=True)
        number = {text: n for n, text in enumerate(sorted(set(true)))}
        keys = np.stack([rows, [number[text] for text in true]], 1)
        texts = [*true, *false, *words.texts]
        return {
            **self._batch(self.contrasted.tokens[rows], texts, keys),
            "said": torch.from_numpy(words.targets),
            "false": torch.tensor(len(rows)),
        }

    def _batch(
        self, tokens: np.ndarray, texts: Sequence[str], keys: np.ndarray
    ) -> dict[str, Tensor]:
        ids, mask = self.encoder.tokens(texts)
        tokens = tokens.astype(np.float32)
        return {
            "tokens": torch.from_numpy(tokens),
            "ids": ids,
            "mask": mask,
            "keys": torch.from_numpy(keys),
        }


def _kind(index: int) -> str:
    """What the batch `index` is made of."""
    if index < MORE_CONTRASTS_FROM:
        drawn, contrasted = index % 3 == 2, index // 3 % 2 == 1
    else:
        drawn, contrasted = index % 2 == 1, index % 8 != 7
    return ("contrasted" if contrasted else "drawn") if drawn else "photographs"


def _rows(size: int, place: int, count: int, seed: int) -> np.ndarray:
    """`count` rows, the `place`-th slice of an endless run of shuffled epochs."""
    at = np.arange(place * count, (place + 1) * count)
    orders = {
        int(epoch): np.random.default_rng([seed, int(epoch)]).permutation(size)
        for epoch in np.unique(at // size)
    }
    return np.array([orders[int(a // size)][a % size] for a in at])
