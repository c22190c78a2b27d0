"""Questions asked of an index that others may write to meanwhile; the model stays loaded."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ngcg_cli.errors import TileIndexError
from ngcg_cli.journeys.querying import Answer, Finder
from ngcg_cli.journeys.questions import Question, Vectors, vectors
from ngcg_cli.search import Store, open_index

if TYPE_CHECKING:
    from ngcg_cli.encoder.precision import PrecisionChoice

Floats = npt.NDArray[np.float64]
# Of a larger index the heat map shows every second, third, ... block: 1 GB of 256 dimensions.
MAX_HEAT_TILES = 1_000_000


class State:
    """One committed state of the index, and what is made of it when it is first needed.

    Attributes:
        revision: a number that no other state of this server has.
        numbers: the number of each source; a path keeps its number while the server runs.
    """

    def __init__(self, store: Store, revision: int, numbers: dict[str, int]) -> None:
        self._store = store
        self.revision = revision
        self.numbers = numbers

    @cached_property
    def info(self) -> dict[str, Any]:
        """What `GET /api/info` answers."""
        report = self._store.describe()
        return {
            "index": report["index"],
            "model": report["model"],
            "dim": report["dim"],
            "tiles": report["tiles"],
            "bbox": report["bbox"],
            "revision": self.revision,
            "sources": [
                {
                    "number": self.numbers[source["path"]],
                    "path": source["path"],
                    "tiles": source["tiles"],
                    "bbox": source["bbox"],
                }
                for source in report["sources"]
                if source["path"] in self.numbers
            ],
        }

    @cached_property
    def paths(self) -> dict[int, str]:
        """The sources of this state by number: nothing else is ever opened."""
        return {source["number"]: source["path"] for source in self.info["sources"]}

    @cached_property
    def tiles(self) -> tuple[Floats, npt.NDArray[np.float32]]:
        """Boxes (N, 4) and vectors (N, dim) of all tiles, or of a sample of a very large index."""
        every = -(-self._store.tile_count // MAX_HEAT_TILES)
        boxes, vectors = [], []
        for block in self._store.blocks():
            boxes.append(np.asarray(block.tiles.bbox)[::every])
            vectors.append(np.asarray(block.vectors, np.float32)[::every])
        if not boxes:
            return np.empty((0, 4)), np.empty((0, self._store.model.dim), np.float32)
        return np.concatenate(boxes), np.concatenate(vectors)


@dataclass(frozen=True)
class Asked:
    """What a client asks, checked: a question, how many hits, and the filters of a search."""

    question: Question
    top: int
    filters: tuple[tuple[str, Any], ...] = ()


class Desk:
    """Answers one question at a time; any thread may ask.

    Args:
        index: the index.
        model, device, precision: as for `Finder`.

    Raises:
        TileIndexError: there is no index, or it was made with another model.
    """

    def __init__(
        self, index: str | Path, model: str | None, device: str, precision: PrecisionChoice = "auto"
    ) -> None:
        self._index = index
        self._how = (model, device, precision)
        self._lock = threading.Lock()
        self._numbers: dict[str, int] = {}
        self._finder = Finder(index, *self._how)
        self._seen: object = object()  # the first question looks
        self._state = self._new_state(1)
        self._scored: tuple[object, Any] = (None, None)

    def warm_up(self) -> None:
        """Load the model now rather than at the first question."""
        with self._lock:
            list(self._finder.of_texts([["a harbour"]], top=1))

    @property
    def state(self) -> State:
        """The last committed state."""
        with self._lock:
            self._reload()
            return self._state

    def ask(self, asked: Asked) -> Answer:
        """The answer to a question, from the last committed state."""
        with self._lock:
            self._reload()
            filters = dict(asked.filters)
            (answer,) = self._finder.answer([asked.question], top=asked.top, **filters)
            return answer

    def scores(self, asked: Asked) -> tuple[Floats, npt.NDArray[np.float32]]:
        """Boxes (N, 4) and scores (N,) of all tiles, for the heat map."""
        with self._lock:
            self._reload()
            parts = ((part.what, part.weight) for part in asked.question.parts)
            key = (self._state.revision, *parts)
            if self._scored[0] != key:
                boxes, vectors = self._state.tiles
                self._scored = (key, (boxes, vectors @ self._vector(asked)))
            return self._scored[1]

    def _vector(self, asked: Asked) -> Vectors:
        found: Vectors = vectors([asked.question], self._finder._encoder, self._finder.index)
        return found[0]

    def _reload(self) -> None:
        """Goes over to what a writer has committed since; the model stays if it still fits."""
        now = self._finder.index.committed()
        if now == self._seen:
            return
        store = open_index(self._index)
        try:
            store.check_model(self._finder.index.model)
        except TileIndexError:  # made anew with another model
            self._finder = Finder(self._index, *self._how)
        else:
            self._finder.index = store
        self._seen = now
        self._state = self._new_state(self._state.revision + 1)

    def _new_state(self, revision: int) -> State:
        store = self._finder.index
        for source in store.sources():
            self._numbers.setdefault(source.path, len(self._numbers))
        return State(store, revision, self._numbers)


class Refused(ValueError):
    """What a client asks makes no sense; the text is for its author."""


def numbers_of(name: str, text: str, count: int) -> Sequence[float]:
    """Reads `count` finite numbers with commas between them, which a client calls `name`.

    Raises:
        Refused: they are not.
    """
    try:
        numbers = [float(part) for part in text[:200].split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != count or len(text) > 200 or not all(map(np.isfinite, numbers)):
        what = "a finite number" if count == 1 else f"{count} finite numbers with commas between"
        raise Refused(f"{name}: {text[:200]!r} is not {what}")
    return numbers
