"""What the commands need of an index, wherever it is kept; and opening one by its name.

`TileIndex`, a folder, and `milvus.store.MilvusIndex` are such. Another one is a class that fits
`Store`, and a branch in each of the three functions at the end; `tests/test_store.py` says what all
must do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import numpy.typing as npt

from ngcg_cli.search.blocks import Block
from ngcg_cli.search.filters import NO_FILTERS, Filters
from ngcg_cli.search.hits import Hit
from ngcg_cli.search.index import TileIndex
from ngcg_cli.search.milvus.name import is_milvus
from ngcg_cli.search.records import ModelStamp, SourceRecord
from ngcg_cli.search.vectors import Vectors


class Store(Protocol):
    """An open index. Many may read while one writes; readers see what was last committed.

    Every method raises TileIndexError where the index is damaged, cannot be reached, or refuses.
    """

    @property
    def path(self) -> str | Path:
        """Where it is, as the user names it: what messages begin with."""

    @property
    def model(self) -> ModelStamp:
        """The model that its vectors are of, and their precision."""

    @property
    def tile_count(self) -> int:
        """Tiles of the whole index."""

    def sources(self) -> list[SourceRecord]:
        """The sources, in the order in which they were first put in.

        One of which tiles are lost is told as one of which nothing is done, to be indexed anew.
        """

    def committed(self) -> object:
        """Names the last committed state, whoever made it: looks, and differs from that before."""

    def damaged(self) -> set[str]:
        """Paths of the sources of which tiles are left out: lost, or their files damaged."""

    def check_model(self, model: ModelStamp) -> None:
        """See that vectors of `model` may join or be compared; TileIndexError names both if not."""

    def check_precision(self, precision: str) -> None:
        """See that new vectors would be computed as those in the index were."""

    # --- writing ------------------------------------------------------------------------------

    def writing(self, wait: bool = False) -> AbstractContextManager[Any]:
        """Be the only writer, from what was last committed on; hold it around a series of writes.

        Each write enters it by itself. `wait` for another writer, who is named in a warning,
        instead of giving up.
        """

    def commit(self, blocks: Sequence[Block]) -> None:
        """Add blocks of tiles, of one source or of several, in one step: all of it or nothing.

        Of a block that is `fresh`, tiles that the source had leave in the same step.
        """

    def rename_all(self, pairs: Iterable[tuple[str, SourceRecord]]) -> None:
        """Replace the records of sources, given by their paths until now; their tiles stay."""

    def drop(self, paths: str | Iterable[str]) -> list[SourceRecord]:
        """Take sources out in one step; returns those that were there."""

    def refresh_graph(self, progress: Callable[[int], object] | None = None) -> None:
        """Bring what makes searches fast up to the vectors; `progress` gets numbers of tiles."""

    # --- reading ------------------------------------------------------------------------------

    def search(
        self,
        vectors: npt.ArrayLike,
        top: int = 10,
        filters: Filters = NO_FILTERS,
        *,
        exact: bool = False,
        keep_overlaps: bool = False,
    ) -> list[list[Hit]]:
        """For each of (Q, dim) unit vectors the best hits that the filters allow, best first.

        Args:
            vectors: the queries.
            top: hits to return at most, for each.
            filters: which tiles may be found; they work before the ranking.
            exact: compare every tile.
            keep_overlaps: keep hits that overlap a better one (`overlap.distinct`).
        """

    def nearest(self, lat: float, lon: float) -> tuple[Vectors, float] | None:
        """The vector (dim,) of the tile whose centre is nearest to a point, and metres to it.

        None where there are no tiles.
        """

    def blocks(self) -> Iterator[Block]:
        """All that it holds, source by source: committed elsewhere, it makes the same index.

        The first block of a source is `fresh`. A source without tiles comes as one empty block.
        """

    def describe(self, check: bool = False) -> dict[str, Any]:
        """The object that `ngcg info --json` prints; `check` reads everything to find damage."""


def open_index(where: str | Path) -> Store:
    """Open an index by its name.

    Raises:
        TileIndexError: there is none, or it is damaged or of another format version.
    """
    if is_milvus(where):
        from ngcg_cli.search.milvus.store import MilvusIndex

        return MilvusIndex.open(where)
    return TileIndex.open(where)


def create_index(where: str | Path, model: ModelStamp, *, wait: bool = False) -> Store:
    """Make an empty index; with `wait`, open the one that another process is making there.

    Raises:
        TileIndexError: something is there already, or it cannot be written.
    """
    if is_milvus(where):
        from ngcg_cli.search.milvus.store import MilvusIndex

        return MilvusIndex.create(where, model, wait=wait)
    return TileIndex.create(where, model, wait=wait)


def index_exists(where: str | Path) -> bool:
    """Whether there is an index of that name (it may still turn out damaged when opened)."""
    if is_milvus(where):
        from ngcg_cli.search.milvus.store import MilvusIndex

        return MilvusIndex.exists(where)
    return TileIndex.exists(where)
