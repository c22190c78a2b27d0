"""The best hits of a small encoder, ordered by a large one that looks at their pixels again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from ngcg_cli.answers.cost import Cost
from ngcg_cli.answers.looking import Rasters

if TYPE_CHECKING:
    from ngcg_cli.encoder.encoder import Encoder
    from ngcg_cli.search.hits import Hit

Vectors = npt.NDArray[np.float32]
#: What tells a tile from all others: its source and its window.
Key: TypeAlias = tuple[str, tuple[int, int, int, int]]

# Tiles read before they go through the model together.
_BATCH = 32


class Reranker:
    """An encoder that orders the hits of another one; each tile is embedded once.

    Args:
        encoder: the model that looks again.
        unread: gets the sources of which something could not be read.
    """

    def __init__(self, encoder: Encoder, unread: set[str] | None = None) -> None:
        self.encoder = encoder
        self._unread = unread
        self._seen: dict[Key, Vectors] = {}

    def order(self, found: Sequence[Sequence[Hit]], questions: Vectors) -> list[list[Hit]]:
        """The hits of each question, best first by this encoder.

        Args:
            found: hits in any order; their `score` becomes this encoder's cosine.
            questions: (Q, dim) this encoder's unit vectors of the questions.

        Returns:
            See `ordered`.
        """
        tiles = {key(hit): hit for hits in found for hit in hits if key(hit) not in self._seen}
        self._look(list(tiles.values()))
        return [
            ordered(hits, {at: float(seen @ asked) for at, seen in self._of(hits)})
            for hits, asked in zip(found, questions, strict=True)
        ]

    def _of(self, hits: Sequence[Hit]) -> list[tuple[Key, Vectors]]:
        return [(key(hit), self._seen[key(hit)]) for hit in hits if key(hit) in self._seen]

    def _look(self, hits: Sequence[Hit]) -> None:
        cost = Cost(f"{self.encoder.name} looks at {len(hits):,} tiles again", len(hits))
        with Rasters("not looked at again", self._unread) as rasters:
            for start in range(0, len(hits), _BATCH):
                batch = hits[start : start + _BATCH]
                read = [
                    (key(hit), image)
                    for hit in batch
                    if (image := rasters.pixels(hit, self.encoder.image_size)) is not None
                ]
                if read:
                    keys, images = zip(*read, strict=True)
                    vectors = self.encoder.encode_images(list(images))
                    self._seen.update(zip(keys, vectors, strict=True))
                cost.done(len(batch))


def key(hit: Hit) -> Key:
    """What tells a hit's tile from all others."""
    return hit.source, hit.window


def ordered(hits: Sequence[Hit], scores: Mapping[Key, float]) -> list[Hit]:
    """Hits with new scores and ranks, best first.

    Those without a score, whose pixels cannot be read, keep theirs and come last.
    """
    seen = [replace(hit, score=scores[key(hit)]) for hit in hits if key(hit) in scores]
    seen.sort(key=lambda hit: -hit.score)
    unseen = [hit for hit in hits if key(hit) not in scores]
    return [replace(hit, rank=rank) for rank, hit in enumerate([*seen, *unseen], 1)]
