"""The best hits of a small encoder, ordered by a large one that looks at their pixels again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ngcg_cli.answers.looking import Rasters

if TYPE_CHECKING:
    from ngcg_cli.encoder.encoder import Encoder
    from ngcg_cli.search.hits import Hit

Vectors = npt.NDArray[np.float32]

# Tiles read before they go through the model together.
_BATCH = 32


class Reranker:
    """An encoder that orders the hits of another one; each tile is embedded once.

    Args:
        encoder: the model that looks again.
    """

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self._seen: dict[tuple[str, tuple[int, int, int, int]], Vectors] = {}

    def order(self, hits: Sequence[Hit], question: Vectors) -> list[Hit]:
        """The hits of one question, best first by this encoder.

        Args:
            hits: in any order; their `score` becomes this encoder's cosine.
            question: (dim,) this encoder's unit vector of the question.

        Returns:
            The hits with new scores and ranks. Those whose pixels cannot be read are told, keep
            their score and come last.
        """
        self._look([hit for hit in hits if _key(hit) not in self._seen])
        seen, unseen = [], []
        for hit in hits:
            vector = self._seen.get(_key(hit))
            if vector is None:
                unseen.append(hit)
            else:
                seen.append(replace(hit, score=float(vector @ question)))
        seen.sort(key=lambda hit: -hit.score)
        return [replace(hit, rank=rank) for rank, hit in enumerate([*seen, *unseen], 1)]

    def _look(self, hits: Sequence[Hit]) -> None:
        with Rasters("not looked at again") as rasters:
            for start in range(0, len(hits), _BATCH):
                read = [
                    (_key(hit), image)
                    for hit in hits[start : start + _BATCH]
                    if (image := rasters.pixels(hit, self.encoder.image_size)) is not None
                ]
                if read:
                    keys, images = zip(*read, strict=True)
                    vectors = self.encoder.encode_images(list(images))
                    self._seen.update(zip(keys, vectors, strict=True))


def _key(hit: Hit) -> tuple[str, tuple[int, int, int, int]]:
    return hit.source, hit.window
