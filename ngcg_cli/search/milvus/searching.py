"""From questions to hits: candidates by the engine, scores and overlaps as in a folder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from ngcg_cli.search.extent import Mask
from ngcg_cli.search.filters import HALFWAY_ROUND, Filters, geodesic
from ngcg_cli.search.footprints import areas, pieces
from ngcg_cli.search.hits import Hit
from ngcg_cli.search.milvus.engine import MOST_BYTES, MOST_ROWS
from ngcg_cli.search.milvus.view import COLUMNS, Rows, View
from ngcg_cli.search.overlap import distinct
from ngcg_cli.search.ranking import products, top_k
from ngcg_cli.search.tiles import Ints, TileColumns, TileTable
from ngcg_cli.search.vectors import Vectors

# Breadth of an HNSW search, for k candidates: twice as many, and not fewer than this.
_LEAST_EF = 128


def find(
    view: View,
    queries: Vectors,
    top: int,
    filters: Filters,
    keep_overlaps: bool,
    flat: bool,
    exact: bool,
) -> list[list[Hit]]:
    """The hits for each query: `MilvusIndex.search` on one committed state, arguments checked.

    The engine gives the nearest that the expression holds for. Their scores are multiplied anew,
    right to the last digit, so that they come in the order of a folder. Where filters or overlaps
    leave too few it is asked for more; past what it gives at once every tile is compared here.

    Args:
        flat: whether the engine itself compares every tile.
        exact: whether that is wanted, so that it is done here if the engine does not.
    """
    hits: list[list[Hit]] = [[] for _ in queries]
    expression = view.expression(filters)
    if expression is None:
        return hits
    k = _depth(top, keep_overlaps)
    waiting = np.arange(len(queries))
    while len(waiting) and k <= MOST_ROWS and (flat or not exact):
        deeper: list[int] = []
        step = max(1, MOST_BYTES // (k * (4 * queries.shape[1] + 500)))
        for part in (waiting[i : i + step] for i in range(0, len(waiting), step)):
            found = view.engine.search(
                view.engine.place.collection,
                queries[part],
                k,
                expression,
                [*COLUMNS, "vector"],
                _how(flat, k),
            )
            rows = view.rows(list({(r["part"], r["row"]): r for f in found for r in f}.values()))
            ranking, scores = _ranked(rows, queries[part], [
                {(r["part"], r["row"]) for r in one} for one in found
            ], filters)  # fmt: skip
            whole = np.array([len(one) < k for one in found])
            done = _fill(hits, part, rows, ranking, scores, view, top, keep_overlaps, whole)
            deeper.extend(part[~done].tolist())
        waiting = np.array(deeper, np.int64)
        k *= 4
    if len(waiting):
        _compare_all(hits, waiting, view, queries, top, filters, keep_overlaps, expression)
    return hits


def _depth(top: int, keep_overlaps: bool) -> int:
    """Candidates asked for at first; some more than needed, as equal scores come in any order."""
    return min(MOST_ROWS, top + 16 if keep_overlaps else 4 * top + 16)


def _how(flat: bool, k: int) -> dict[str, Any]:
    params = {} if flat else {"ef": max(_LEAST_EF, 2 * k)}
    return {"metric_type": "IP", "params": params}


def _ranked(
    rows: Rows, queries: Vectors, found: list[set[tuple[int, int]]], filters: Filters
) -> tuple[Ints, Vectors]:
    """(Q, K) positions in `rows`, best first and -1 at the end, and their scores."""
    keys = list(zip(rows.part.tolist(), rows.row.tolist(), strict=True))
    inside = filters.hold(rows.tiles.lon, rows.tiles.lat)
    own = [
        np.array([at for at, key in enumerate(keys) if key in mine and inside[at]], np.int64)
        for mine in found
    ]
    longest = max((len(one) for one in own), default=0)
    ranking = np.full((len(queries), longest), -1, np.int64)
    scores = np.full((len(queries), longest), -np.inf, np.float32)
    for query, at in enumerate(own):
        of_them = products(rows.vectors[at], queries[query]) if len(at) else np.empty(0, np.float32)
        order = np.argsort(-of_them, kind="stable")
        ranking[query, : len(at)], scores[query, : len(at)] = at[order], of_them[order]
    return ranking, scores


def _compare_all(
    hits: list[list[Hit]],
    waiting: Ints,
    view: View,
    queries: Vectors,
    top: int,
    filters: Filters,
    keep_overlaps: bool,
    expression: str,
) -> None:
    """What no index of the engine answers: every tile that is allowed, brought here and compared.

    Of what is brought, the tiles among the k best are kept; k grows while overlaps leave too few.
    """
    k = _depth(top, keep_overlaps)
    ranges = [one for entry in view.within(filters) for one in entry.ranges]
    while len(waiting):
        kept: list[tuple[Rows, int]] = []
        allowed = _allowed(view.read(ranges, f"({expression})"), filters, kept)
        best, scores = top_k(queries[waiting], allowed, k)
        numbers = np.unique(best[best >= 0])
        rows = _picked([kept[number] for number in numbers.tolist()])
        ranking = np.where(best >= 0, np.searchsorted(numbers, best), -1)
        whole = np.full(len(waiting), k >= len(kept))
        done = _fill(hits, waiting, rows, ranking, scores, view, top, keep_overlaps, whole)
        waiting = waiting[~done]
        k *= 4


def _allowed(
    blocks: Iterable[Rows], filters: Filters, kept: list[tuple[Rows, int]]
) -> Iterator[tuple[Ints, Vectors]]:
    """Numbers and vectors of the tiles that are allowed; `kept` tells where each number lies."""
    for rows in blocks:
        inside = np.flatnonzero(filters.hold(rows.tiles.lon, rows.tiles.lat))
        if len(inside):
            yield np.arange(len(kept), len(kept) + len(inside)), rows.vectors[inside]
            kept.extend((rows, at) for at in inside.tolist())


def _picked(kept: list[tuple[Rows, int]]) -> Rows:
    tiles = TileTable(
        lon=np.array([rows.tiles.lon[at] for rows, at in kept], np.float64),
        lat=np.array([rows.tiles.lat[at] for rows, at in kept], np.float64),
        bbox=np.array([rows.tiles.bbox[at] for rows, at in kept], np.float64).reshape(-1, 4),
        window=np.array([rows.tiles.window[at] for rows, at in kept], np.int64).reshape(-1, 4),
        geometry=[rows.tiles.geometry[at] for rows, at in kept],
    )
    entry, part, row = (
        np.array([getattr(rows, name)[at] for rows, at in kept], np.int64)
        for name in ("entry", "part", "row")
    )
    vectors = np.array([rows.vectors[at] for rows, at in kept], np.float32)
    return Rows(tiles, vectors, entry, part, row)


def _fill(
    hits: list[list[Hit]],
    part: Ints,
    rows: Rows,
    ranking: Ints,
    scores: Vectors,
    view: View,
    top: int,
    keep_overlaps: bool,
    whole: Mask,
) -> Mask:
    """Fill in the hits of the queries `part` that are done with these rankings; says which are.

    A ranking that is `whole` is all that there is.
    """
    tiles = rows.tiles
    columns = TileColumns(tiles.lon, tiles.lat, tiles.bbox, tiles.window)

    def footprints(wanted: Ints) -> npt.NDArray[np.object_]:
        return areas([tiles.geometry[at] for at in wanted.tolist()], tiles.lon[wanted])

    if keep_overlaps:
        kept = ranking >= 0
    else:
        kept = distinct(ranking, columns, rows.entry, footprints, top)
    done = (kept.sum(axis=1) >= top) | whole
    for query in np.flatnonzero(done).tolist():
        ranks = np.flatnonzero(kept[query])[:top]
        hits[part[query]] = [
            _hit(number, float(scores[query, rank]), rows, int(ranking[query, rank]), view)
            for number, rank in enumerate(ranks.tolist(), 1)
        ]
    return done


def _hit(rank: int, score: float, rows: Rows, at: int, view: View) -> Hit:
    tiles = rows.tiles
    west, south, east, north = tiles.bbox[at].tolist()
    column, row, width, height = tiles.window[at].tolist()
    return Hit(
        rank=rank,
        score=score,
        lon=float(tiles.lon[at]),
        lat=float(tiles.lat[at]),
        bbox=(west, south, east, north),
        source=view.entries[rows.entry[at]].record.path,
        window=(column, row, width, height),
        footprint=pieces(tiles.geometry[at]),
        vector=rows.vectors[at],
    )


def nearest(view: View, lat: float, lon: float) -> tuple[Vectors, float] | None:
    """The vector (dim,) of the tile whose centre is nearest to a point, and metres to it."""
    metres = 1_000.0
    while view.count:
        filters = Filters(near=(lat, lon, metres))
        expression = view.expression(filters)
        best: tuple[float, Vectors] | None = None
        if expression is not None:
            ranges = [one for entry in view.within(filters) for one in entry.ranges]
            for rows in view.read(ranges, f"({expression})"):
                inside = np.flatnonzero(filters.hold(rows.tiles.lon, rows.tiles.lat))
                if not len(inside):
                    continue
                away = geodesic(rows.tiles.lon[inside], rows.tiles.lat[inside], lat, lon)
                first = int(np.argmin(away))
                if best is None or away[first] < best[0]:
                    best = float(away[first]), rows.vectors[inside[first]]
        if best is not None:
            return best[1], best[0]
        if metres > HALFWAY_ROUND:
            break
        metres *= 8
    return None
