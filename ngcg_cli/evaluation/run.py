"""One evaluation, from a data set's path to its figures: what `ngcg eval` calls."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ngcg_cli.choices import DataFormat, Gallery, ImageType, Match, Protocol
from ngcg_cli.datasets import (
    MAX_BROKEN_SHARE,
    ImageFailures,
    Pair,
    detect_format,
    drop_missing,
    has_images,
    load_pairs,
    load_places,
)
from ngcg_cli.errors import UsageError
from ngcg_cli.evaluation.cvg import cvg_text
from ngcg_cli.evaluation.embed import EmbeddingCache, embed_captions, embed_images
from ngcg_cli.evaluation.report import Report
from ngcg_cli.evaluation.retrieval import recall
from ngcg_cli.progress import Progress
from ngcg_cli.search import Store, open_index

if TYPE_CHECKING:
    from ngcg_cli.encoder.encoder import Encoder

logger = logging.getLogger(__name__)

# Gets the index the model must fit (for `places`), or None.
LoadModel = Callable[[Store | None], "Encoder"]


@dataclass(frozen=True)
class Outcome:
    """A report, and what it had to do without.

    Attributes:
        report: the figures.
        unreadable: images, path to reason.
        damaged: sources of the index of which tiles are left out.
    """

    report: Report
    unreadable: dict[Path, str]
    damaged: frozenset[str] = frozenset()


def evaluate(
    data: Path,
    load_model: LoadModel,
    *,
    protocol: Protocol = "auto",
    data_format: DataFormat = "auto",
    images: Path | None = None,
    split: str | None = None,
    views: Collection[str] = (),
    image_type: ImageType = "sat",
    gallery: Gallery = "unique",
    match: Match = "position",
    index: str | Path | None = None,
    cache: EmbeddingCache | None = None,
    max_unreadable: float = MAX_BROKEN_SHARE,
    batch_size: int = 32,
    intervals: bool = False,
    progress: Progress | None = None,
) -> Outcome:
    """Evaluate a model on a data set.

    Args:
        data: see `datasets.load_pairs`; for `places` a JSON Lines file.
        load_model: loads the encoder, after the data was found to be in order.
        protocol: "auto" takes `geotext` for GeoText-1652, `cvg-text` for CVG-Text, `places` for
            JSON Lines without images, and `recall` for other JSON Lines.
        data_format, images, split, views, image_type: see `datasets.load_pairs`; a folder's split
            is "test" when none is given.
        gallery: see `retrieval.recall`; for `recall` and `geotext`.
        match: see `cvg.cvg_text`; for `cvg-text`.
        index: the tile index that `places` asks.
        cache: keeps embeddings; None keeps none.
        max_unreadable: the evaluation stops when more than this share of images cannot be read.
        batch_size: images through the model at once.
        intervals: add 95 % bootstrap intervals.
        progress: is told how far the work is.

    Raises:
        DataError: the data set is not in order, or too many images are unreadable.
        UsageError: options that do not go together.
        NgcgError: a vector is not finite; the model or index cannot be used.
    """
    progress = progress or Progress()
    cache = cache or EmbeddingCache(None)
    if _is_places(data, protocol, data_format):
        if images is not None or views:
            raise UsageError("--images and --views have no meaning for the places protocol")
        return _places(data, load_model, index, split, cache, intervals, progress)

    kind = detect_format(data) if data_format == "auto" else data_format
    pairs = load_pairs(
        data,
        kind,
        images=images,
        split=split,
        default_split="test",
        views=views,
        image_type=image_type,
    )
    chosen = protocol if protocol != "auto" else "recall" if kind == "jsonl" else kind
    if chosen == "cvg-text" and gallery != "unique":
        raise UsageError(f"--gallery {gallery} has no meaning for the cvg-text protocol")
    if chosen != "cvg-text" and match != "position":
        raise UsageError(f"--match {match} has no meaning for the {chosen} protocol")
    failures = ImageFailures(len(pairs), max_unreadable)
    pairs = drop_missing(pairs, failures)
    logger.info(
        "%s: %s images, %s captions; protocol %s",
        data,
        f"{len(pairs):,}",
        f"{sum(len(pair.captions) for pair in pairs):,}",
        chosen,
    )
    encoder = load_model(None)
    pairs, image_vectors, caption_vectors = _embed(
        pairs, encoder, failures, cache, batch_size, progress
    )
    queries = len(caption_vectors) + (0 if chosen == "cvg-text" else len(pairs))
    progress.start("ranking", queries)
    if chosen == "cvg-text":
        report = cvg_text(
            pairs,
            image_vectors,
            caption_vectors,
            match=match,
            intervals=intervals,
            progress=progress.advance,
        )
    else:
        report = recall(
            pairs,
            image_vectors,
            caption_vectors,
            same_building=chosen == "geotext",
            gallery=gallery,
            intervals=intervals,
            progress=progress.advance,
        )
    return _told(report, failures.reasons, encoder)


def _is_places(data: Path, protocol: Protocol, data_format: DataFormat) -> bool:
    if protocol != "auto":
        return protocol == "places"
    kind = detect_format(data) if data_format == "auto" else data_format
    return kind == "jsonl" and data.is_file() and not has_images(data)


def _embed(
    pairs: list[Pair],
    encoder: Encoder,
    failures: ImageFailures,
    cache: EmbeddingCache,
    batch_size: int,
    progress: Progress,
) -> tuple[list[Pair], np.ndarray, np.ndarray]:
    """The pairs whose image could be read, and their image and caption vectors."""
    progress.start("images", len(pairs))
    paths = [pair.image for pair in pairs]
    vectors = embed_images(encoder, paths, failures, cache, progress.advance, batch_size)
    readable = np.array([pair.image not in failures.reasons for pair in pairs])
    if not readable.all():
        pairs = [pair for pair, good in zip(pairs, readable, strict=True) if good]
        vectors = vectors[readable]
    texts = [caption for pair in pairs for caption in pair.captions]
    progress.start("captions", len(set(texts)))
    return pairs, vectors, embed_captions(encoder, texts, cache, progress.advance)


def _places(
    data: Path,
    load_model: LoadModel,
    index_path: str | Path | None,
    split: str | None,
    cache: EmbeddingCache,
    intervals: bool,
    progress: Progress,
) -> Outcome:
    from ngcg_cli.evaluation.places import places

    if index_path is None:
        raise UsageError("the places protocol needs an index", hint="Name it with --index DIR")
    rows = load_places(data, split)
    index = open_index(index_path)
    texts = [caption for row in rows for caption in row.captions]
    logger.info("%s: %s queries against %s", data, f"{len(texts):,}", index_path)
    encoder = load_model(index)
    progress.start("captions", len(set(texts)))
    vectors = embed_captions(encoder, texts, cache, progress.advance)
    progress.start("ranking", len(texts))
    report = places(rows, vectors, index, intervals=intervals, progress=progress.advance)
    return replace(_told(report, {}, encoder), damaged=frozenset(index.damaged()))


def _told(report: Report, unreadable: dict[Path, str], encoder: Encoder) -> Outcome:
    """The figures, and what the model computed in: another precision moves them a little."""
    figures = {**report.figures, "precision": encoder.precision}
    if encoder.dim < encoder.engine.dim:
        figures["dim"] = encoder.dim
    return Outcome(replace(report, figures=figures), unreadable)
