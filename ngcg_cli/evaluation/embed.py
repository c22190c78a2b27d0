"""Vectors of a data set: decoded and embedded once, then read from the cache."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ngcg_cli.datasets.images import ImageFailures, read_image
from ngcg_cli.errors import DataError
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
_VERSION = 1


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
        partial = self._path(key).with_suffix(f".{os.getpid()}.partial")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                np.save(file, vectors, allow_pickle=False)
            partial.replace(self._path(key))
        except OSError as error:
            partial.unlink(missing_ok=True)
            logger.warning("the embeddings cannot be kept in %s: %s", self.folder, error.strerror)

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
    key = _key(encoder.fingerprint, "captions", texts)
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
    key = _key(encoder.fingerprint, "images", [_file_facts(image) for image in images])
    shape = (len(images), encoder.dim)
    vectors = cache.load(key, shape)
    if vectors is None:
        vectors = np.zeros(shape, np.float32)
    else:
        logger.info("images: %s cached embeddings from %s", f"{len(images):,}", cache.folder)
    missing = np.flatnonzero(~vectors.any(axis=1))
    advance(len(images) - len(missing))
    for rows, pixels in _decoded(images, missing, failures, batch_size):
        if pixels:
            vectors[rows] = encoder.encode_images(pixels, batch_size)
        advance(len(rows))
    if missing.size:
        check_vectors(vectors, "image")
        cache.store(key, vectors)
    return vectors


def _decoded(
    images: Sequence[Path], rows: Iterable[int], failures: ImageFailures, batch_size: int
) -> Iterator[tuple[list[int], list[np.ndarray]]]:
    """Batches of (rows, pixels) of the images that can be read, decoded ahead in threads."""

    def read(row: int) -> np.ndarray | DataError:
        try:
            return read_image(images[row])
        except DataError as error:
            return error

    rows = list(rows)
    batches = [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        started = [[pool.submit(read, row) for row in batch] for batch in batches[:_BATCHES_AHEAD]]
        for number, batch in enumerate(batches):
            if number + _BATCHES_AHEAD < len(batches):
                ahead = batches[number + _BATCHES_AHEAD]
                started.append([pool.submit(read, row) for row in ahead])
            good, pixels = [], []
            for row, future in zip(batch, started.pop(0), strict=True):
                outcome = future.result()
                if isinstance(outcome, DataError):
                    failures.add(images[row], outcome)
                else:
                    good.append(row)
                    pixels.append(outcome)
            yield good, pixels


def _file_facts(path: Path) -> list[Any]:
    """What tells that a file has changed, without reading it."""
    try:
        facts = path.stat()
    except OSError:
        return [os.path.abspath(path)]
    return [os.path.abspath(path), facts.st_size, facts.st_mtime_ns]


def _key(fingerprint: str, kind: str, facts: Sequence[Any]) -> str:
    digest = hashlib.sha256(f"{_VERSION} {fingerprint} {kind}\n".encode())
    for fact in facts:
        digest.update(json.dumps(fact).encode() + b"\n")
    return digest.hexdigest()
