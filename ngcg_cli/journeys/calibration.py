"""Confidence of a model: made from captions of which the truth is known, found again at a query."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ngcg_cli import items
from ngcg_cli.answers.confidence import BEST, Background, Calibration, search_paths
from ngcg_cli.errors import DataError, ModelError, UsageError

if TYPE_CHECKING:
    from ngcg_cli.answers.calibrating import Gallery
    from ngcg_cli.datasets.pairs import Pair
    from ngcg_cli.encoder.encoder import Encoder
    from ngcg_cli.search import Store

# Background images and sentences that are kept: enough for steady means, half a megabyte each.
BACKGROUND = 1024
# Each question of places is compared with all tiles of the index.
MAX_TILES = 200_000


def calibrate_model(
    encoder: Encoder,
    data: Path | Sequence[Path],
    background: Path,
    index: Store | None = None,
    out: Path | None = None,
    seed: int = 0,
) -> tuple[Path, Calibration]:
    """Fit a confidence and write it where `load_calibration` finds it.

    Args:
        encoder: the model.
        data: one or several data sets that it was not trained on: pairs, of which rows of one
            "place" are right answers to each other; or captions with "lon" and "lat" (and
            "true_at"), which are asked of the index.
        background: pairs of other imagery, to compare with.
        index: where captions without images are asked; a tile that holds a true point is right.
        out: the file; by default one among the user's own data, found by the model's fingerprint.
            `confidence.safetensors` in the model's folder is found too, and goes with it.
        seed: of what is drawn.

    Returns:
        The file, and what is in it.

    Raises:
        DataError: a data set is not in order, or too small.
        UsageError: captions have no images, and there is no index.
        ModelError: the file cannot be written.
    """
    from ngcg_cli.answers.calibrating import calibrate, nowhere
    from ngcg_cli.datasets import load_pairs

    files = [Path(file) for file in items.paths(data)]
    for file in files:  # before the first is embedded
        if not file.exists():
            raise DataError("there is no such file", where=file)
        if index is None and not _has_images(file):
            raise UsageError(
                f"{file}: its captions have no images", hint="Name an index: --index DIR."
            )
    rng = np.random.default_rng(seed)
    others = load_pairs(background)
    if len(others) < BEST:
        raise DataError(
            f"holds {len(others)} images, at least {BEST} are compared with", where=background
        )
    others = [others[row] for row in np.sort(rng.permutation(len(others))[:BACKGROUND])]
    images, texts = _embedded(encoder, others)
    owner = np.concatenate([[0], np.cumsum([len(pair.captions) for pair in others])[:-1]])
    drawn = owner + [rng.integers(len(pair.captions)) for pair in others]
    beside = Background(images, texts[drawn])

    galleries = [_gallery(encoder, file, index) for file in files]
    lost = encoder.encode_texts(nowhere())
    facts: dict[str, Any] = {"background": background.name}
    calibration = calibrate(galleries, lost, beside, encoder.fingerprint, facts, seed)
    path = out or search_paths(encoder.folder, encoder.fingerprint, encoder.dim)[-1]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        calibration.save(path)
    except OSError as error:
        raise ModelError(
            f"cannot be written: {error.strerror}", where=path, hint="Name a file with --out."
        ) from error
    return path, calibration


def _gallery(encoder: Encoder, file: Path, index: Store | None) -> Gallery:
    """What a data set asks, of its own images or of the index's tiles."""
    from ngcg_cli.answers.calibrating import Gallery
    from ngcg_cli.datasets import load_pairs, load_places
    from ngcg_cli.evaluation.embed import EmbeddingCache, embed_captions

    name = f"{file.parent.name}/{file.name}"
    if index is None or _has_images(file):
        pairs = load_pairs(file)
        names = [pair.place or pair.name for pair in pairs]
        number = {one: row for row, one in enumerate(dict.fromkeys(names))}
        place = np.array([number[one] for one in names], np.int64)
        images, texts = _embedded(encoder, pairs)
        owner = np.repeat(place, [len(pair.captions) for pair in pairs])
        return Gallery(name, images, texts, np.arange(len(number))[:, None] == place, owner)
    if index.tile_count > MAX_TILES:
        raise UsageError(
            f"{index.path} has {index.tile_count:,} tiles: at most {MAX_TILES:,} are compared",
            hint="Calibrate on an index of a part of the imagery.",
        )
    import shapely

    rows = load_places(file)
    blocks = list(index.blocks())
    tiles = np.concatenate([np.asarray(block.vectors, np.float32) for block in blocks])
    shapes = shapely.from_wkb([wkb for block in blocks for wkb in block.tiles.geometry])
    shows = np.zeros((len(rows), len(tiles)), bool)
    for row, held in zip(rows, shows, strict=True):
        for lon, lat in row.points:
            for turn in (-360.0, 0.0, 360.0):  # a raster may count on past the antimeridian
                held |= shapely.intersects_xy(shapes, lon + turn, lat)
    captions = [text for row in rows for text in row.captions]
    texts = embed_captions(
        encoder, captions, EmbeddingCache(EmbeddingCache.default_folder()), lambda _: None
    )
    owner = np.repeat(np.arange(len(rows)), [len(row.captions) for row in rows])
    held = np.flatnonzero(shows.any(axis=1))
    asked = np.isin(owner, held)  # what no tile holds is no question of this index
    if not asked.any():
        raise DataError(f"none of its places lies in {index.path}", where=file)
    return Gallery(name, tiles, texts[asked], shows, owner[asked])


def _has_images(file: Path) -> bool:
    from ngcg_cli.datasets import has_images

    return file.suffix != ".jsonl" or has_images(file)


def load_calibration(encoder: Encoder) -> Calibration | None:
    """The confidence of a model, None where nobody has calibrated it.

    Raises:
        ModelError: there is one, and it is damaged.
    """
    for path in search_paths(encoder.folder, encoder.fingerprint, encoder.dim):
        found = Calibration.load(path, encoder.fingerprint, encoder.dim)
        if found is not None:
            return found
    return None


def _embedded(encoder: Encoder, pairs: Sequence[Pair]) -> tuple[np.ndarray, np.ndarray]:
    from ngcg_cli.datasets.images import ImageFailures
    from ngcg_cli.evaluation.embed import EmbeddingCache, embed_captions, embed_images

    cache, failures = (
        EmbeddingCache(EmbeddingCache.default_folder()),
        ImageFailures(len(pairs), 0.0),
    )
    images = embed_images(encoder, [pair.image for pair in pairs], failures, cache, lambda _: None)
    texts = embed_captions(
        encoder, [text for pair in pairs for text in pair.captions], cache, lambda _: None
    )
    return images, texts
