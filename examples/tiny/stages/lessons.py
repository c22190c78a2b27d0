"""What a training step of `tiny` sees: photographs, drawn tiles, and words.

Photographs come with a caption each and sentences of their scenes' lexicon, some with none; drawn
tiles with pairs of sentences of which one is false, and with statements that are true; words with
nothing but the teachers' vectors. Every step has some of each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from examples.tiny.stages.codes import Code
from examples.tiny.stages.contrasts import Facts, said, taught
from examples.tiny.stages.heads import Lexicon
from examples.town.captions import Speaker
from ngcg_cli.encoder.encoder import Encoder

PHOTOGRAPHS, UNLABELLED, TILES, PAIRS, STATEMENTS, LEXICON, WORDS = 128, 32, 64, 48, 32, 48, 64
#: Captions that a photograph's nearness to them is compared with, the student's with the teachers'.
BANK = 4096


@dataclass(frozen=True)
class Photographs:
    """Photographs with what the teachers say of them.

    Attributes:
        views: patch tokens, float16 (N, 64, 1728), one array for each view.
        targets: float32 (N, 256), the teachers' unit vectors.
        captions: for each image, the indices of its sentences; empty where there are none.
    """

    views: Sequence[np.ndarray]
    targets: np.ndarray
    captions: Sequence[tuple[int, ...]] = ()

    def take(self, place: int, count: int, rng: np.random.Generator) -> tuple[np.ndarray, Tensor]:
        """Rows of the `place`-th `count` of endless epochs, and their tokens in a view each."""
        rows = _rows(len(self.targets), place, count, 1)
        views = rng.integers(len(self.views), size=count)
        tokens = np.stack([self.views[v][row] for v, row in zip(views, rows, strict=True)])
        return rows, torch.from_numpy(tokens.astype(np.float32))


@dataclass(frozen=True)
class Tiles:
    """Drawn tiles: patch tokens (N, 64, 1728), what is known of each, and its code."""

    tokens: np.ndarray
    facts: Sequence[Facts]
    code: Code


@dataclass(frozen=True)
class Said:
    """Sentences and the teachers' unit vectors (N, 256) of them."""

    texts: Sequence[str]
    targets: np.ndarray


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
    ) -> None:
        self.photographs, self.unlabelled, self.tiles = photographs, unlabelled, tiles
        self.captions, self.words, self.encoder = captions, words, encoder
        self.lexicon, self.lexicon_targets = lexicon, lexicon_targets
        # Where nothing can be contrasted there is nothing to learn.
        self._contrasted = np.flatnonzero([bool(own) for own in tiles.code.labels])
        # What is rarely true is worth more to be said: crossroads rather than roads.
        held = Counter(key for fact in tiles.facts for key in fact.truths)
        self._worth = {key: times**-0.5 for key, times in held.items()}

    def __call__(self, index: int) -> dict[str, Tensor]:
        """Patch tokens of images, ids and mask of sentences, and what is true of them.

        Tokens: those of the captioned photographs and of the others, which together are to match
        `seen`, then of the tiles. Sentences: the photographs' captions, the lexicon's, the words,
        which together are to match `said`; then the pairs' first sentences, their second ones, and
        statements of the tiles.
        """
        rng = np.random.default_rng([31, index])
        photographs, said_of_them = self._photographs(index, rng)
        tiles, said_of_tiles = self._tiles(index, rng)
        ids, mask = self.encoder.tokens([*said_of_them, *said_of_tiles])
        tokens = torch.cat([photographs.pop("seen_tokens"), tiles.pop("tokens")])
        return {"tokens": tokens, "ids": ids, "mask": mask, **photographs, **tiles}

    def _photographs(
        self, index: int, rng: np.random.Generator
    ) -> tuple[dict[str, Tensor], list[str]]:
        part, others = self.photographs, self.unlabelled
        rows, tokens = part.take(index, PHOTOGRAPHS, rng)
        other_rows, other_tokens = others.take(index, UNLABELLED, rng)
        own = np.array([rng.choice(part.captions[row]) for row in rows])
        shares = self.lexicon.shares
        told = rng.choice(len(shares), LEXICON, replace=False, p=shares)
        words = rng.choice(len(self.words.texts), WORDS, replace=False)
        bank = min(BANK, len(self.captions.texts))
        texts = [self.captions.texts[n] for n in own]
        texts += [self.lexicon.sentences[n] for n in told] + [self.words.texts[n] for n in words]
        targets = [
            self.captions.targets[own],
            self.lexicon_targets[told],
            self.words.targets[words],
        ]
        of_scene = self.lexicon.images[rows][:, None] == self.lexicon.scenes[told][None]
        return {
            "seen_tokens": torch.cat([tokens, other_tokens]),
            "keys": torch.from_numpy(np.stack([rows, own], 1)),
            "seen": torch.from_numpy(
                np.concatenate([part.targets[rows], others.targets[other_rows]])
            ),
            "said": torch.from_numpy(np.concatenate(targets)),
            "of_scene": torch.from_numpy(of_scene),
            "bank": torch.from_numpy(rng.choice(len(self.captions.texts), bank, replace=False)),
        }, texts

    def _tiles(self, index: int, rng: np.random.Generator) -> tuple[dict[str, Tensor], list[str]]:
        code = self.tiles.code
        rows = self._contrasted[np.sort(_rows(len(self._contrasted), index, TILES, 9))]
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
            "tokens": torch.from_numpy(self.tiles.tokens[rows].astype(np.float32)),
            "labels": torch.from_numpy(labels),
            "pairs": torch.tensor(pairs),
            "judged": judged,
            "true": torch.tensor(true),
        }, first + second + statements

    def _statements(
        self, rows: np.ndarray, rng: np.random.Generator
    ) -> tuple[list[str], list[str]]:
        """Keys and words of STATEMENTS, each true of one of these tiles."""
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
            if len(keys) == STATEMENTS:
                break
        return keys, texts

    def _pairs(
        self, labels: np.ndarray, rng: np.random.Generator
    ) -> tuple[list[int], list[str], list[str]]:
        """PAIRS pairs that these labels judge, kinds alike, and words for both of their sides."""
        code = self.tiles.code
        found, counts = np.unique(labels[:, 1], return_counts=True)
        kinds = code.kinds[found]
        shares = counts / np.bincount(kinds, counts)[kinds]
        shares /= shares.sum()
        pairs: list[int] = []
        first: list[str] = []
        second: list[str] = []
        # Twice as many as needed: some cannot be said, or name what training leaves out.
        drawn = rng.choice(found, min(len(found), 2 * PAIRS), replace=False, p=shares)
        for pair in drawn:
            swapped = bool(rng.random() < 0.5)
            texts = said(code.pairs[pair].swap(second=swapped), Speaker(rng))
            if texts and all(map(taught, texts)):
                pairs.append(int(pair))
                first.append(texts[swapped])
                second.append(texts[not swapped])
            if len(pairs) == PAIRS:
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
