"""Whether vectors, models and questions fit an index: said in the same words by every store."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from ngcg_cli.errors import TileIndexError, UsageError
from ngcg_cli.search.records import ModelStamp
from ngcg_cli.search.vectors import Vectors


def check_model(where: str | Path, mine: ModelStamp, other: ModelStamp) -> None:
    """See that `other` is the model `mine`, whose vectors are in the index at `where`.

    Raises:
        TileIndexError: it is not; both are named.
    """
    if (mine.fingerprint, mine.dim) == (other.fingerprint, other.dim):
        check_precision(where, mine.precision, other.precision)
        return

    def described(stamp: ModelStamp) -> str:
        return f"{stamp.name!r} ({stamp.dim} dimensions, fingerprint {stamp.fingerprint[:12]})"

    hint = "Give --model the one it was made with, or index into another folder."
    if mine.name == other.name:
        hint = "The model has changed since: index its rasters anew, into another folder."
    raise TileIndexError(
        f"was made with the model {described(mine)}, not with {described(other)}",
        where=where,
        hint=hint,
    )


def check_precision(where: str | Path, mine: str, other: str) -> None:
    """See that new vectors would be computed as those in the index at `where` were.

    Raises:
        TileIndexError: they would not; both precisions are named.
    """
    if other != mine:
        raise TileIndexError(
            f"was made in the precision {mine}, not in {other}",
            where=where,
            hint="Leave --precision away, or index into another folder.",
        )


def check_queries(where: str | Path, dim: int, vectors: npt.ArrayLike, top: int) -> Vectors:
    """The queries as float32 (Q, dim).

    Raises:
        UsageError: `top` makes no sense.
        TileIndexError: vectors of another dimension, or not finite.
    """
    queries = np.ascontiguousarray(vectors, np.float32)
    if queries.ndim != 2 or queries.shape[1] != dim:
        raise TileIndexError(
            f"queries of shape {queries.shape}, but the index holds vectors of {dim} dimensions",
            where=where,
        )
    if not np.isfinite(queries).all():
        raise TileIndexError("a query vector that is not finite", where=where)
    if top < 1:
        raise UsageError(f"the best {top} hits", hint="Ask for one or more.")
    return queries
