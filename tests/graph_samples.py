"""What the tests of the graph share: few tiles for which a graph is used all the same."""

import numpy as np
import pytest
from tile_samples import unit

from ngcg_cli.search import TileIndex, graph, ranker
from ngcg_cli.search.ranker import Ranker


def use_small_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Build graphs for few tiles, and use them: in truth, exact search of these is faster.

    Loading costs nothing, exact search counts as a second for each query, and the limit of what a
    graph may cost is as far off.
    """
    fit = graph.fit
    monkeypatch.setattr(graph, "MIN_TILES", 50)
    monkeypatch.setattr(ranker, "LOAD_RATE", np.inf)
    monkeypatch.setattr(Ranker, "_note_exact", dear_exact_search)
    monkeypatch.setattr(
        graph, "fit", lambda tree, queries, worst, limit, *ef: fit(tree, queries, worst, 9.0, *ef)
    )


def dear_exact_search(self: Ranker, queries: int, tiles: int, seconds: float, asked: bool) -> None:
    self._exact = dict.fromkeys(range(64), 1.0 / self._view.count)
    self._spent += 0 if asked else 1.0


def warmed(index: TileIndex) -> TileIndex:
    """The index, opened anew, after a search that told what exact search costs."""
    again = TileIndex.open(index.path)
    again.search(unit(1, seed=99))
    return again


def graph_used(index: TileIndex) -> bool:
    return index._ranker._graph is not None
