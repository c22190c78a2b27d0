"""Chunks of tiles to vectors, in batches that run across chunks and sources."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from ngcg_cli.journeys.reading import Chunk

if TYPE_CHECKING:
    from ngcg_cli.encoder.encoder import Encoder


def embed(
    chunks: Iterable[Chunk],
    encoder: Encoder,
    batch_size: int,
    hand_on: Callable[[Chunk], object],
) -> None:
    """Gives chunks the vectors of their pixels, in batches that run across chunks and sources.

    Args:
        chunks: as they are read.
        encoder: the model.
        batch_size: tiles embedded at once.
        hand_on: gets each chunk, in order, as soon as it is whole.
    """
    from ngcg_cli.encoder.streams import encode_batches, share

    streams, size = share(encoder.engine.streams(), batch_size)
    waiting: deque[Chunk] = deque()

    def hand_on_whole() -> None:
        while waiting and waiting[0].whole:
            hand_on(waiting.popleft())

    def tiles() -> Generator[tuple[Chunk, np.ndarray], None, None]:
        for chunk in chunks:
            pixels, chunk.pixels = chunk.pixels, []
            waiting.append(chunk)
            hand_on_whole()
            for tile in pixels:
                yield chunk, tile

    def batches() -> Generator[tuple[list[Chunk], list[np.ndarray]], None, None]:
        with closing(tiles()) as each:
            while batch := list(islice(each, size)):
                yield [chunk for chunk, _ in batch], [tile for _, tile in batch]

    with (
        closing(batches()) as filled,
        closing(
            encode_batches(encoder.encode_batch, filled, streams, encoder.engine.enter_stream)
        ) as embedded,
    ):
        for owners, vectors in embedded:
            for chunk, vector in zip(owners, vectors, strict=True):
                chunk.vectors.append(vector)
            hand_on_whole()
