"""The ranking core: where does each query's best correct answer stand?

Every protocol but `places` (which asks the tile index) is a way to choose queries, a gallery and
what is correct, and then calls `rank_of_truth`.

A tie never helps the model: a wrong item that scores exactly as high as the best correct one
counts as being ahead of it. For that to be exact in floating point, equal vectors must get equal
scores, and a matrix product does not promise it: the last bit depends on where in the block a row
stands. So equal gallery vectors are scored once and share that score, and the score of the correct
item is read from the same block that it is compared with, never computed a second time.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from ngcg_cli.errors import NgcgError

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

# Scores held at once: 128 MiB of float32, whatever the size of the gallery.
BLOCK_SCORES = 32 * 1024 * 1024
# Rows looked at once when vectors are checked.
_CHECKED_ROWS = 16_384
# Larger entries could overflow a float32 dot product, and then scores would be NaN.
_LARGEST = 1e15


@dataclass(frozen=True)
class Ranking:
    """The outcome for Q queries.

    Attributes:
        rank: (Q,) rank of the best correct item, from 1, with ties counted against it.
        top: (Q,) gallery index of the item ranked first; among tied ones a wrong one, and among
            those the one of largest cost where costs are given.
        score: (Q,) score of that item.
    """

    rank: Ints
    top: Ints
    score: Floats


@dataclass(frozen=True)
class Candidates:
    """A gallery of its own for each query.

    Attributes:
        index: (Q, C) gallery indices, each once a row.
        cost: (Q, C) how wrong each is (a distance, not negative); of tied wrong items the
            costliest is ranked first.
    """

    index: Ints
    cost: npt.NDArray[np.float64]


def rank_of_truth(
    queries: Floats,
    gallery: Floats,
    query_groups: Ints,
    gallery_groups: Ints,
    *,
    candidates: Candidates | None = None,
    block_scores: int = BLOCK_SCORES,
    progress: Callable[[int], None] | None = None,
) -> Ranking:
    """Rank a gallery for each query by dot product and find the best correct item.

    An item is correct for a query when their groups are equal. Works in blocks of queries: beside
    the vectors it needs little more than 4 bytes times `block_scores`, and a copy of the gallery's
    distinct vectors when some are equal.

    Args:
        queries: (Q, dim) vectors.
        gallery: (N, dim) vectors.
        query_groups: (Q,) group numbers.
        gallery_groups: (N,) group numbers.
        candidates: rank only these for each query.
        block_scores: how many scores to hold at once; at least one query's are held.
        progress: called with the number of queries done since the last call.

    Raises:
        NgcgError: a vector holds NaN or infinity, or a query has no correct item to be found.
    """
    if queries.ndim != 2 or gallery.ndim != 2 or queries.shape[1] != gallery.shape[1]:
        raise ValueError(f"queries {queries.shape} against gallery {gallery.shape}")
    if query_groups.shape != queries.shape[:1] or gallery_groups.shape != gallery.shape[:1]:
        raise ValueError("one group number a vector is needed")
    check_vectors(queries, "query")
    check_vectors(gallery, "gallery")
    ranked = _Gallery(np.asarray(gallery, np.float32), gallery_groups)
    count = len(queries)
    rank, top = np.empty(count, np.int64), np.empty(count, np.int64)
    score = np.empty(count, np.float32)
    rows = max(1, block_scores // max(1, len(ranked.distinct)))
    block = np.empty((min(rows, count), len(ranked.distinct)), np.float32)
    for start in range(0, count, rows):
        part = slice(start, min(start + rows, count))
        # One product for the whole block: everything below reads scores from it.
        scores = block[: part.stop - part.start]
        np.matmul(np.asarray(queries[part], np.float32), ranked.distinct.T, out=scores)
        if candidates is None:
            found = _rank_all(scores, query_groups[part], ranked)
        else:
            own = Candidates(candidates.index[part], candidates.cost[part])
            correct = gallery_groups[own.index] == query_groups[part][:, None]
            scores = np.take_along_axis(scores, ranked.place[own.index], axis=1)
            found = _rank_candidates(scores, correct, own)
        rank[part], top[part], score[part] = found
        if progress is not None:
            progress(part.stop - part.start)
    lost = np.flatnonzero(rank == 0)
    if lost.size:
        raise NgcgError(
            f"{lost.size} queries have no correct item in the gallery; the first is query {lost[0]}"
        )
    return Ranking(rank, top, score)


def group_numbers(keys: Iterable[Hashable]) -> Ints:
    """Equal keys to equal numbers, counted from 0 in order of appearance."""
    seen: dict[Hashable, int] = {}
    return np.array([seen.setdefault(key, len(seen)) for key in keys], np.int64)


def check_vectors(vectors: Floats, side: str) -> None:
    """Raise NgcgError when a vector holds NaN, infinity, or numbers no dot product can hold."""
    for start in range(0, len(vectors), _CHECKED_ROWS):
        block = np.abs(vectors[start : start + _CHECKED_ROWS]).max(axis=1, initial=0.0)
        bad = np.flatnonzero(~(block < _LARGEST))  # NaN is not smaller than anything
        if bad.size:
            raise NgcgError(
                f"the vector of {side} {start + bad[0]} holds NaN or infinity (or is larger than "
                f"{_LARGEST:g}): no figure is computed from it",
                hint="The model's weights are broken: evaluate an earlier checkpoint",
            )


class _Gallery:
    """The gallery's distinct vectors, and which of its items have which vector and group.

    Attributes:
        distinct: (U, dim) the distinct vectors; the given array itself when all are.
        place: (N,) each item's row in `distinct`.
        first: (U,) the first item that has the row's vector.
        copies: (U,) how many items have it; None when all are distinct.
    """

    def __init__(self, vectors: Floats, groups: Ints) -> None:
        self._by_group = np.argsort(groups, kind="stable")
        self._groups = groups[self._by_group]
        places: dict[bytes, int] = {}
        self.place = np.empty(len(vectors), np.int64)
        first: list[int] = []
        for item, vector in enumerate(vectors):
            # Adding zero turns -0.0 into 0.0: they score alike.
            key = blake2b((vector + np.float32(0.0)).tobytes(), digest_size=16)
            row = places.setdefault(key.digest(), len(places))
            if row == len(first):
                first.append(item)
            self.place[item] = row
        self.first = np.array(first, np.int64)
        all_distinct = len(first) == len(vectors)
        self.distinct = vectors if all_distinct else vectors[self.first]
        self.copies = None if all_distinct else np.bincount(self.place)

    def items_of(self, group: int) -> Ints:
        """The items of a group."""
        low, high = np.searchsorted(self._groups, [group, group + 1])
        return self._by_group[low:high]

    def count(self, ahead: npt.NDArray[np.bool_]) -> int:
        """How many items have one of the marked distinct vectors (U,)."""
        if self.copies is None:
            return int(np.count_nonzero(ahead))
        return int(self.copies[ahead].sum())


def _rank_all(scores: Floats, groups: Ints, gallery: _Gallery) -> tuple[Ints, Ints, Floats]:
    """Ranks against the whole gallery; `scores` is (B, U). Rank 0: no correct item.

    A query's rank is one more than the number of items that score at least its best correct
    score, less the correct ones among them.
    """
    size = len(scores)
    best = np.full(size, np.inf, np.float32)
    best_item, correct_ahead = np.zeros(size, np.int64), np.zeros(size, np.int64)
    for row, group in enumerate(groups):
        items = gallery.items_of(group)
        if items.size:
            own = scores[row, gallery.place[items]]
            best[row] = own.max()
            best_item[row] = items[own.argmax()]
            correct_ahead[row] = np.count_nonzero(own == best[row])
    counted = np.array([gallery.count(own >= b) for own, b in zip(scores, best, strict=True)])
    rank = np.where(correct_ahead > 0, counted - correct_ahead + 1, 0)

    highest = scores.argmax(axis=1)
    score = scores[np.arange(size), highest]
    top = np.where(rank == 1, best_item, gallery.first[highest])
    for shared in np.flatnonzero((rank > 1) & (score == best)):  # with the correct item
        tied = np.flatnonzero(scores[shared, gallery.place] == score[shared])
        top[shared] = np.setdiff1d(tied, gallery.items_of(groups[shared]))[0]
    return rank, top, score


def _rank_candidates(
    scores: Floats, correct: npt.NDArray[np.bool_], candidates: Candidates
) -> tuple[Ints, Ints, Floats]:
    """Ranks among each query's own candidates; the arguments are (B, C)."""
    best = np.where(correct, scores, -np.inf).max(axis=1)
    wrong_ahead = ((scores >= best[:, None]) & ~correct).sum(axis=1)
    rank = np.where(correct.any(axis=1), wrong_ahead + 1, 0)
    score = scores.max(axis=1)
    # Among the highest: wrong before correct, then the costliest.
    badness = np.where(correct, -1.0, candidates.cost)
    badness[scores < score[:, None]] = -np.inf
    top = candidates.index[np.arange(len(scores)), badness.argmax(axis=1)]
    return rank, top, score
