"""Vectors of a data set: decoded and embedded once, then read from the cache."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ngcg_cli.beside import beside
from ngcg_cli.datasets.images import ImageFailures, read_image
from ngcg_cli.errors import DataError, NgcgError
from ngcg_cli.evaluation.ranking import Floats, check_vectors

if TYPE_CHECKING:
    from ngcg_cli.encoder.encoder import Encoder

logger = logging.getLogger(__name__)

Advance = Callable[[int], None]

# Captions given to the encoder at once; it puts those of like length into a batch.
_CAPTIONS_AT_ONCE = 2048
# Images decoded ahead of the model, in batches.
_BATCHES_AHEAD = 2
# Part of every key: raise it when pixels or vectors come to be made in another way.
_VERSION = 2


class EmbeddingCache:
    """Vectors in `.npy` files, named by what they were computed from.

    Args:
        folder: where they lie; None keeps nothing. By default the user's cache folder.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    @staticmethod
    def default_folder() -> Path:
        """The user's cache folder for embeddings, by the system's custom."""
        from platformdirs import user_cache_path

        return user_cache_path("ngcg", appauthor=False) / "embeddings"

    def load(self, key: str, shape: tuple[int, int]) -> Floats | None:
        """The vectors of a key; None when there are none, or they are damaged."""
        if self.folder is None or not self._path(key).is_file():
            return None
        try:
            vectors = np.load(self._path(key), allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            logger.warning("%s is damaged (%s): embedding again", self._path(key), error)
            return None
        if vectors.shape != shape or vectors.dtype != np.float32 or not np.isfinite(vectors).all():
            logger.warning("%s does not hold what it should: embedding again", self._path(key))
            return None
        return vectors

    def store(self, key: str, vectors: Floats) -> None:
        """Keep vectors, whole or not at all; a full disk costs a warning, not the evaluation."""
        if self.folder is None:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with beside(self._path(key)) as partial:
                np.save(partial, vectors, allow_pickle=False)
        except (OSError, NgcgError) as error:
            logger.warning("the embeddings cannot be kept: %s", error)

    def _path(self, key: str) -> Path:
        assert self.folder is not None
        return self.folder / f"{key}.npy"


def embed_captions(
    encoder: Encoder, captions: Sequence[str], cache: EmbeddingCache, advance: Advance
) -> Floats:
    """(len(captions), dim) unit vectors.

    Equal captions are embedded once and share their vector: the last bits of a vector depend on
    the batch, and equal captions must tie exactly.
    """
    places: dict[str, int] = {}
    rows = np.array([places.setdefault(caption, len(places)) for caption in captions], np.int64)
    texts = list(places)
    key = _key(encoder, "captions", texts)
    vectors = cache.load(key, (len(texts), encoder.dim))
    if vectors is not None:
        logger.info("captions: %s cached embeddings from %s", f"{len(texts):,}", cache.folder)
        advance(len(texts))
        return vectors if len(texts) == len(rows) else vectors[rows]
    vectors = np.empty((len(texts), encoder.dim), np.float32)
    for start in range(0, len(texts), _CAPTIONS_AT_ONCE):
        part = texts[start : start + _CAPTIONS_AT_ONCE]
        vectors[start : start + len(part)] = encoder.encode_texts(part)
        advance(len(part))
    check_vectors(vectors, "caption")
    cache.store(key, vectors)
    return vectors if len(texts) == len(rows) else vectors[rows]


def embed_images(
    encoder: Encoder,
    images: Sequence[Path],
    failures: ImageFailures,
    cache: EmbeddingCache,
    advance: Advance,
    batch_size: int = 32,
) -> Floats:
    """(len(images), dim) unit vectors; a row of zeros for an image that cannot be read.

    Such images are told to `failures` (and tried again when the others come from the cache).
    Threads decode while the model computes.
    """
    key = _key(encoder, "images", [_file_facts(image) for image in images])
    shape = (len(images), encoder.dim)
    vectors = cache.load(key, shape)
    if vectors is None:
        vectors = np.zeros(shape, np.float32)
    else:
        logger.info("images: %s cached embeddings from %s", f"{len(images):,}", cache.folder)
    missing = np.flatnonzero(~vectors.any(axis=1)).tolist()
    advance(len(images) - len(missing))
    embedded = 0
    for batch, rows, pixels in _decoded(encoder, images, missing, failures, batch_size):
        if rows:
            vectors[rows] = encoder.encode_images(pixels, batch_size)
        embedded += len(rows)
        advance(batch)
    if embedded:
        check_vectors(vectors, "image")
        cache.store(key, vectors)
    return vectors


def _decoded(
    encoder: Encoder,
    images: Sequence[Path],
    rows: Sequence[int],
    failures: ImageFailures,
    batch_size: int,
) -> Iterator[tuple[int, list[int], list[np.ndarray]]]:
    """Batches of (size, rows, pixels) of the images that can be read, decoded ahead in threads.

    The threads bring images to the model's size too, so that few large ones are held at once.
    """

    def read(row: int) -> np.ndarray | DataError:
        try:
            return encoder.resized(read_image(images[row]))
        except DataError as error:
            return error

    batches = [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        waiting: deque[list[tuple[int, Future[np.ndarray | DataError]]]] = deque()
        for number in range(len(batches) + _BATCHES_AHEAD):
            if number < len(batches):
                waiting.append([(row, pool.submit(read, row)) for row in batches[number]])
            if number < _BATCHES_AHEAD:
                continue
            batch = waiting.popleft()
            good, pixels = [], []
            for row, future in batch:
                outcome = future.result()
                if isinstance(outcome, DataError):
                    failures.add(images[row], outcome)
                else:
                    good.append(row)
                    pixels.append(outcome)
            yield len(batch), good, pixels


def _file_facts(path: Path) -> list[Any]:
    """What tells that a file has changed, without reading it."""
    try:
        facts = path.stat()
    except OSError:
        return [os.path.abspath(path)]
    return [os.path.abspath(path), facts.st_size, facts.st_mtime_ns]


def _key(encoder: Encoder, kind: str, facts: Sequence[Any]) -> str:
    model = f"{encoder.fingerprint} {encoder.precision}{encoder.engine.rounding}"
    digest = hashlib.sha256(f"{_VERSION} {model} {kind}\n".encode())
    for fact in facts:
        digest.update(json.dumps(fact).encode() + b"\n")
    return digest.hexdigest()
