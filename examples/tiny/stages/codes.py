"""Codes of what sentences about drawn tiles are made of: a red house, two boats, a pond at a side.

A contrast, "a pond left of a road" against "right of", teaches nothing at first: as long as
neither images nor texts tell sides apart, neither has anything to follow. So each attribute gets a
learned vector of its own, random at the start. Images learn whether what sets a statement off from
its false twin is true of them; sentences learn to differ from their twins by just that. A side is
a place on a scale: "A left of B" says that A is far on one end and B on the other.

The codes are for training alone; the shipped model has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from examples.tiny.stages.contrasts import KINDS, Facts, Swap, field_of, said, taught
from examples.town.captions import Speaker

#: A rare value of a pair weighs more, so that both of its values weigh alike, but at most so much.
_MOST = 4.0


class Pair(NamedTuple):
    """Two statements that exclude each other: one of KINDS, and their keys in order."""

    kind: str
    first: str
    second: str

    @classmethod
    def of(cls, swap: Swap) -> Pair:
        """The pair of a swap, whichever of its two statements is the true one."""
        return cls(swap.kind, *sorted((swap.key, swap.false)))

    def swap(self, second: bool) -> Swap:
        """The pair with its first or second statement as the true one."""
        true, false = (self.second, self.first) if second else (self.first, self.second)
        at = field_of(self.kind)
        return Swap(true, self.kind, true.split("|")[at], false.split("|")[at])


class Code:
    """The pairs of all tiles, which side of them each tile is on, and what sets their sides apart.

    Attributes:
        pairs: P of them, all `taught`.
        kinds: (P,) numbers of their kinds in KINDS.
        labels: for each tile, (pair, 1 or -1): its first statement is true, or its second.
        weights: float32 (P, 2), of labels 1 and -1.
        coefficients: float32 (P, atoms): the first statement's atoms less the second's.
    """

    def __init__(self, facts: Sequence[Facts]) -> None:
        known: dict[Pair, int] = {}
        labels: list[list[tuple[int, int]]] = []
        for fact in facts:
            held = [(Pair.of(swap), swap.key) for swap in fact.swaps]
            labels.append([(known.setdefault(pair, len(known)), 1 if key == pair.first else -1)
                           for pair, key in held])  # fmt: skip
        fine = np.array([_taught(pair) for pair in known], bool)
        renumbered = np.cumsum(fine) - 1
        self.pairs = [pair for pair, good in zip(known, fine, strict=True) if good]
        self.labels = [[(int(renumbered[p]), y) for p, y in own if fine[p]] for own in labels]
        self.kinds = np.array([KINDS.index(pair.kind) for pair in self.pairs])
        counts = np.zeros((len(self.pairs), 2))
        for own in self.labels:
            for p, y in own:
                counts[p, int(y < 0)] += 1
        other = counts[:, ::-1] / counts.sum(1, keepdims=True)
        self.weights = np.minimum(2 * other, _MOST).astype(np.float32)
        atoms: dict[tuple[str, ...], int] = {}
        rows = [{atoms.setdefault(atom, len(atoms)): c for atom, c in _atoms(pair).items()}
                for pair in self.pairs]  # fmt: skip
        self.coefficients = torch.zeros(len(rows), len(atoms))
        for n, row in enumerate(rows):
            self.coefficients[n, list(row)] = torch.tensor(list(row.values()))


def _taught(pair: Pair) -> bool:
    texts = said(pair.swap(second=False), Speaker(np.random.default_rng(0)))
    return texts is not None and all(map(taught, texts))


def _atoms(pair: Pair) -> dict[tuple[str, ...], float]:
    """What a pair's first statement holds more than its second, as atoms with their shares."""
    verb, *first = pair.first.split("|")
    second = pair.second.split("|")[1:]
    if pair.kind.endswith("colour"):
        return {("colour", *first[:2]): 1.0, ("colour", *second[:2]): -1.0}
    if pair.kind == "count":
        thing, colour = (*first[:-1], "")[:2] if len(first) > 1 else (verb, "")
        # What two planes share with two boats, and what is their own.
        out: dict[tuple[str, ...], float] = {
            ("count", first[-1]): 1.0,
            ("count", second[-1]): -1.0,
            ("count", verb, thing, first[-1]): 1.0,
            ("count", verb, thing, second[-1]): -1.0,
        }
        if colour:
            out["count", verb, thing, colour, first[-1]] = 0.5
            out["count", verb, thing, colour, second[-1]] = -0.5
        return out
    axis = "across" if first[-1] in ("left", "right") else "along"
    sign = -1.0 if first[-1] in ("left", "south") else 1.0
    ends = [(sign, first[0], first[1])]
    if verb == "side":
        ends.append((-sign, first[2], first[3]))
    out = {}
    for share, thing, colour in ends:
        out[axis, thing] = out.get((axis, thing), 0.0) + share
        if colour:
            out[axis, thing, colour] = out.get((axis, thing, colour), 0.0) + share / 2
    return out
