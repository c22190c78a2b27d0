"""The Python API beside `index` and `load_encoder`: an open index, `train` and `evaluate`.

Everything here calls the journey of the command of the same name. `ngcg_cli/__init__.py` lists the
public names; `docs/api.md` shows them.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack, overload

from ngcg_cli import items
from ngcg_cli.errors import NgcgError
from ngcg_cli.items import StrPath
from ngcg_cli.journeys.model import load_model
from ngcg_cli.journeys.querying import Finder, QueryOptions
from ngcg_cli.journeys.questions import steering_parts
from ngcg_cli.search.hits import Hit

if TYPE_CHECKING:
    import geopandas
    import numpy as np

    from ngcg_cli.choices import DataFormat, Gallery, ImageType, Match, Protocol
    from ngcg_cli.encoder.precision import PrecisionChoice
    from ngcg_cli.evaluation.report import Report
    from ngcg_cli.training.options import TrainOptions
    from ngcg_cli.training.train import TrainResult


def open(
    index: StrPath,
    *,
    model: str | None = None,
    device: str = "auto",
    precision: PrecisionChoice = "auto",
) -> Places:
    """Open an index to ask it for places.

    Args:
        index: the index folder, or its name in Milvus (`milvus:...`).
        model: name or path, None for the index's own. It is loaded when the first query comes.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        precision: what the model computes in; `auto` is the index's own.

    Raises:
        TileIndexError: there is no index, or it was made with another model.
    """
    (path,) = items.paths(index)
    return Places(Finder(path, model, device, precision), path)


class Places:
    """An open index: what `open` returns. Its model stays loaded from the first query on."""

    def __init__(self, finder: Finder, path: str) -> None:
        self._finder = finder
        self.path = path

    def __repr__(self) -> str:
        index = self._finder.index
        return f"<Places {self.path!r}: {index.tile_count:,} tiles, model {index.model.name}>"

    def __len__(self) -> int:
        """Tiles of the whole index."""
        return self._finder.index.tile_count

    @property
    def sources(self) -> list[str]:
        """Paths of the rasters that are in the index."""
        return [source.path for source in self._finder.index.sources()]

    @overload  # a text is an iterable of texts, too: the first one counts
    def query(  # type: ignore[overload-overlap]
        self,
        text: str,
        top: int = 10,
        *,
        add: str | Iterable[str] = (),
        subtract: str | Iterable[str] = (),
        like: str | Iterable[str] = (),
        unlike: str | Iterable[str] = (),
        **options: Unpack[QueryOptions],
    ) -> list[Hit]: ...

    @overload
    def query(
        self,
        text: Iterable[str],
        top: int = 10,
        *,
        add: str | Iterable[str] = (),
        subtract: str | Iterable[str] = (),
        like: str | Iterable[str] = (),
        unlike: str | Iterable[str] = (),
        **options: Unpack[QueryOptions],
    ) -> list[list[Hit]]: ...

    def query(
        self,
        text: str | Iterable[str],
        top: int = 10,
        *,
        add: str | Iterable[str] = (),
        subtract: str | Iterable[str] = (),
        like: str | Iterable[str] = (),
        unlike: str | Iterable[str] = (),
        **options: Unpack[QueryOptions],
    ) -> list[Hit] | list[list[Hit]]:
        """The places that a sentence describes, best first.

        Args:
            text: a sentence; or several, which are embedded and searched together.
            top: hits to return at most.
            add, subtract: texts, or paths of pictures, to look for too or to look away from;
                "2:cranes" weighs one.
            like, unlike: places as "LAT,LON", of which the indexed tile is meant; weighed likewise.
            options: see `QueryOptions`.

        Returns:
            The hits of a sentence in rank order; of several, a list of hits for each.

        Raises:
            UsageError: a filter makes no sense.
            ModelError: the index's model cannot be loaded.
        """
        steering = steering_parts(*map(items.texts, (add, subtract, like, unlike)))
        answers = self._finder.of_texts([items.texts(text)], steering, top=top, **options)
        found = [list(answer.hits) for answer in answers]
        return found[0] if isinstance(text, str) else found

    def query_image(
        self, image: StrPath | np.ndarray, top: int = 10, **options: Unpack[QueryOptions]
    ) -> list[Hit]:
        """The places that look like a photo, best first.

        Args:
            image: a file that Pillow reads, or uint8 RGB pixels (h, w, 3).
            top, options: see `query`.

        Raises:
            DataError: the file is missing or no image.
        """
        if isinstance(image, (str, os.PathLike)):
            from ngcg_cli.datasets.images import read_image

            (name,) = items.paths(image)
            answers = self._finder.of_image(name, read_image(Path(name)), top=top, **options)
        else:
            answers = self._finder.of_image("image", image, top=top, **options)
        return list(next(answers).hits)


def to_geopandas(hits: Iterable[Hit]) -> geopandas.GeoDataFrame:
    """Hits as a GeoDataFrame in WGS 84: one row per hit, the footprint as its geometry.

    The columns are those of the CSV format, so that any file format takes them.

    Raises:
        NgcgError: geopandas is not installed.
    """
    try:
        import geopandas
    except ImportError as error:
        raise NgcgError(
            "geopandas is not installed", hint="Install it: pip install 'ngcg[geopandas]'."
        ) from error
    import shapely.geometry

    rows, shapes = [], []
    for hit in hits:
        row = hit.as_dict()
        row |= zip(("west", "south", "east", "north"), row.pop("bbox"), strict=True)
        row |= zip(("column", "row", "width", "height"), row.pop("window"), strict=True)
        rows.append(row)
        shapes.append(shapely.geometry.shape(hit.__geo_interface__["geometry"]))
    return geopandas.GeoDataFrame(rows, geometry=shapes, crs="EPSG:4326")


def train(
    data: StrPath, out: StrPath, *, quiet: bool = True, **options: Unpack[TrainOptions]
) -> TrainResult:
    """Adapt a model to captions: what `ngcg train` does.

    Args:
        data: captions as JSON Lines, a GeoText-1652 annotation file, or a CVG-Text folder.
        out: the folder that becomes the checkpoint.
        quiet: no progress on stderr.
        options: those of `ngcg train`, with its defaults: see `training.options.TrainOptions`.

    Raises:
        UsageError: a setting makes no sense.
        DataError: the data set is not in order.
        ModelError: the model cannot be loaded.
    """
    from ngcg_cli.output.progress import LiveProgress
    from ngcg_cli.training.settings import TrainSettings
    from ngcg_cli.training.train import train as run

    settings: dict[str, Any] = {**options}
    for name in settings.keys() & {"val", "images", "anchors"}:
        if settings[name] is not None:
            settings[name] = _path(settings[name])
    for name in settings.keys() & {"views", "augment"}:
        settings[name] = tuple(items.texts(settings[name]))
    with LiveProgress() as progress:
        chosen = TrainSettings(data=_path(data), out=_path(out), **settings)
        return run(chosen, None if quiet else progress)


def evaluate(
    data: StrPath,
    model: str | None = None,
    *,
    index: StrPath | None = None,
    protocol: Protocol = "auto",
    data_format: DataFormat = "auto",
    images: StrPath | None = None,
    split: str | None = None,
    views: str | Sequence[str] = (),
    image_type: ImageType = "sat",
    gallery: Gallery = "unique",
    match: Match = "position",
    intervals: bool = False,
    batch_size: int = 32,
    device: str = "auto",
    precision: PrecisionChoice = "auto",
    dim: int | None = None,
) -> Report:
    """Measure a model on a data set: what `ngcg eval` does, without a cache.

    Args:
        data: a data set as `train` takes it; for `places` JSON Lines with `lon` and `lat`.
        model: name or path; None is the index's own for `places`, else `tiny`.
        index: the index that `places` asks.
        protocol: `auto` goes by the data: see `docs/evaluation.md`.
        data_format, images, split, views, image_type: see `datasets.load_pairs`.
        gallery, match: as for `ngcg eval`.
        intervals: add 95 % bootstrap intervals.
        batch_size: images through the model at once.
        device: where the model runs.
        precision: what it computes in.
        dim: as for `ngcg eval --dim`.

    Returns:
        A report; its `figures` are what `ngcg eval --json` prints.

    Raises:
        DataError: the data set is not in order, or too many images cannot be read.
        UsageError: options that do not go together.
        ModelError, TileIndexError: the model or the index cannot be used.
    """
    from ngcg_cli.evaluation.run import evaluate as run

    return run(
        _path(data),
        functools.partial(load_model, model, device, precision=precision, dim=dim),
        protocol=protocol,
        data_format=data_format,
        images=None if images is None else _path(images),
        split=split,
        views=items.texts(views),
        image_type=image_type,
        gallery=gallery,
        match=match,
        index=None if index is None else items.paths(index)[0],
        batch_size=batch_size,
        intervals=intervals,
    ).report


def _path(path: StrPath) -> Path:
    return Path(path).expanduser()
