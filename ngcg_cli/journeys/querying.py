"""From a sentence or a photo to ranked places."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ngcg_cli.journeys.model import load_model, refuse_other_name
from ngcg_cli.journeys.nothing import why_nothing
from ngcg_cli.search import Filters, Hit, open_index

if TYPE_CHECKING:
    from ngcg_cli.encoder.encoder import Encoder
    from ngcg_cli.encoder.precision import PrecisionChoice

logger = logging.getLogger(__name__)
# What a search is told that is no filter.
_HOW = ("top", "exact", "keep_overlaps")


class Answer(NamedTuple):
    """A query (its text, or the path of its photo) and its hits in rank order."""

    query: str
    hits: Sequence[Hit]


class Finder:
    """An open index and the model that made it; the model is loaded when the first query comes.

    Args:
        index: the index folder.
        model: name or path, None for the index's own.
        device: where the model runs.
        precision: what the model computes in; `auto` is the index's own.
        asked: what the index's `search` takes (top, exact, keep_overlaps) and the fields of
            `search.Filters` (bbox, near, areas, source, after, before). The methods take them too,
            for their own queries.

    Raises:
        TileIndexError: there is no index, or it was made with another model.
    """

    def __init__(
        self,
        index: Path,
        model: str | None,
        device: str,
        precision: PrecisionChoice = "auto",
        **asked: Any,
    ) -> None:
        self.index = open_index(index)
        self._model = model
        self._device = device
        self._precision = precision
        self._asked = asked
        self._told_of_nothing = False
        refuse_other_name(model, self.index)

    @cached_property
    def _encoder(self) -> Encoder:
        return load_model(self._model, self._device, self.index, precision=self._precision)

    def of_texts(self, blocks: Iterable[Sequence[str]], **asked: Any) -> Iterator[Answer]:
        """Answers in the order of the queries, each block embedded and searched together."""
        for block in blocks:
            yield from self._answers(block, self._encoder.encode_texts(block), asked)

    def of_image(self, name: str, pixels: np.ndarray, **asked: Any) -> Iterator[Answer]:
        """The answer to a photo, uint8 (h, w, 3), called `name`."""
        yield from self._answers([name], self._encoder.encode_images([pixels]), asked)

    def _answers(
        self, names: Sequence[str], vectors: np.ndarray, asked: dict[str, Any]
    ) -> Iterator[Answer]:
        filters = {**self._asked, **asked}
        how = {name: filters.pop(name) for name in _HOW if name in filters}
        found = self.index.search(vectors, filters=Filters(**filters), **how)
        if not self._told_of_nothing and not all(found):
            self._told_of_nothing = True  # the filters are the same for the others
            logger.warning("%s", why_nothing(self.index, Filters(**filters)))
        return (Answer(name, hits) for name, hits in zip(names, found, strict=True))


def read_photo(path: Path) -> np.ndarray:
    """A photo as uint8 RGB (h, w, 3), decoded as the pictures of a data set are.

    Raises:
        DataError: it is missing or no image that Pillow reads.
    """
    from ngcg_cli.datasets.images import read_image

    return read_image(path)
