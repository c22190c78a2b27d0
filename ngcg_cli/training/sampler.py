"""Which pairs go into which batch: places spread apart, a pure function of the batch's number."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np


class SpreadBatches:
    """Deals items into batches so that a batch holds as few as possible of one place.

    Within an epoch every item comes at most once, and each place at most ceil(c / M) times in a
    batch, where c is its number of items and M the number of batches: once wherever that can be.
    (The reference implementation has a sampler with this aim, but trains on plain shuffling; a
    place with more items than there are batches makes it impossible.)

    How: the items stand in rows of M, place by place in random order, and column j is batch j.
    Each row is shuffled, except that a place which continues from the row above first takes the
    columns that hold it least. What is left over, fewer items than a batch, is drawn anew and
    left out in each epoch.

    Args:
        places: the place of each item.
        batch_size: items a batch; with fewer items than that, all of them are the batch.
        seed: seeds every epoch, together with the epoch's number.
    """

    def __init__(self, places: Sequence[Hashable], batch_size: int, seed: int = 0) -> None:
        if not places:
            raise ValueError("no items to deal")
        numbers: dict[Hashable, int] = {}
        self._groups = np.array([numbers.setdefault(place, len(numbers)) for place in places])
        self.batch_size = min(batch_size, len(places))
        self.batches_per_epoch = len(places) // self.batch_size
        self.seed = seed
        self._dealt: tuple[int, np.ndarray] | None = None

    def __getitem__(self, index: int) -> np.ndarray:
        """(batch_size,) item numbers of batch `index`, counted through all epochs."""
        epoch, batch = divmod(index, self.batches_per_epoch)
        if self._dealt is None or self._dealt[0] != epoch:
            self._dealt = epoch, self._deal(epoch)
        return self._dealt[1][:, batch]

    def _deal(self, epoch: int) -> np.ndarray:
        """(batch_size, M) item numbers; a column is a batch."""
        rng = np.random.default_rng((self.seed, epoch))
        rows, columns = self.batch_size, self.batches_per_epoch
        items = rng.permutation(len(self._groups))[: rows * columns]
        order = rng.permutation(self._groups.max() + 1)
        # Stable, so that the items of a place stay in their random order.
        items = items[np.argsort(order[self._groups[items]], kind="stable")]
        table = items.reshape(rows, columns)
        dealt = np.empty_like(table)
        held = np.zeros(columns, dtype=np.int64)  # items of the continuing place in each batch
        before = -1
        for row, out in zip(table, dealt, strict=True):
            groups = self._groups[row]
            continued = int((groups == before).sum())
            free = rng.permutation(columns)
            if continued:
                free = free[np.argsort(held[free], kind="stable")]
                rng.shuffle(free[continued:])
            # The items of a continuing place come first in the row, and take these columns first.
            out[free] = row
            if groups[-1] != before:
                before = groups[-1]
                held[:] = 0
            held[free[groups == before]] += 1
        return dealt
