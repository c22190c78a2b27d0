"""Ranking: exact top-k over blocks."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ngcg_cli.search.tiles import Ints
from ngcg_cli.search.vectors import Vectors

# Queries of one matrix product, with `vectors.BLOCK_ROWS` rows.
_BLOCK_QUERIES = 256
# By how much a float32 product of unit vectors may be off, with room to spare.
_ROUNDING = 4e-6


def top_k(queries: Vectors, blocks: Iterable[tuple[Ints, Vectors]], k: int) -> tuple[Ints, Vectors]:
    """The k best rows for each query, by dot product, exactly.

    The product is taken a block at a time, so Q x N scores never stand in memory together.

    Args:
        queries: (Q, dim).
        blocks: (row numbers (n,), vectors (n, dim)) pairs, rows ascending throughout.
        k: how many to keep.

    Returns:
        rows and scores, each (Q, k): best first, equal scores by row. Where there are fewer than
        k rows, the rest is row -1 of score -inf.
    """
    best_rows = np.full((len(queries), k), -1, np.int64)
    best_scores = np.full((len(queries), k), -np.inf, np.float32)
    # A product's last digits depend on where in its block a vector stands, so that equal vectors
    # may come out unequal. What comes near the best is therefore multiplied again, one by one.
    lengths = np.linalg.norm(queries.astype(np.float64), axis=1)
    slack = (_ROUNDING * np.maximum(lengths, 1)).astype(np.float32)
    for rows, vectors in blocks:
        for start in range(0, len(queries), _BLOCK_QUERIES):
            part = slice(start, start + _BLOCK_QUERIES)
            with np.errstate(invalid="ignore", over="ignore"):  # of damaged vectors
                scores = queries[part] @ vectors.T
            # A damaged vector's NaN or infinity neither wins nor, as a maximum, hides the others.
            floor = best_scores[part, -1] - slack[part]
            for i in np.flatnonzero(~(scores.max(axis=1) < floor)):
                found = np.flatnonzero((scores[i] >= floor[i]) & (np.abs(scores[i]) < np.inf))
                if len(found) > k:
                    some = scores[i, found]
                    kth = np.partition(some, -k)[-k]
                    found = found[some >= kth - 2 * slack[start + i]]
                exact = products(vectors[found], queries[start + i])
                merged_scores = np.concatenate([best_scores[start + i], exact])
                merged_rows = np.concatenate([best_rows[start + i], rows[found]])
                order = np.argsort(-merged_scores, kind="stable")[:k]
                best_scores[start + i] = merged_scores[order]
                best_rows[start + i] = merged_rows[order]
    return best_rows, best_scores


def products(vectors: Vectors, query: Vectors) -> Vectors:
    """(n,) products of single vectors with a query, right to the last digit of float32."""
    with np.errstate(over="ignore"):  # of damaged vectors
        return (vectors.astype(np.float64) @ query.astype(np.float64)).astype(np.float32)


def merge(*rankings: tuple[Ints, Vectors], k: int) -> tuple[Ints, Vectors]:
    """The k best of several rankings over different rows, in the order `top_k` gives."""
    rows = np.concatenate([ranking[0] for ranking in rankings], axis=1)
    scores = np.concatenate([ranking[1] for ranking in rankings], axis=1)
    order = np.lexsort((rows, -scores), axis=1)[:, :k]
    return np.take_along_axis(rows, order, axis=1), np.take_along_axis(scores, order, axis=1)
