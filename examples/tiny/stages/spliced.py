"""Sentences spliced from captions of one kind of scene, at words that two of them have.

Photographs' captions name few of the combinations that could be said. A spliced one may be true of
no photograph, and its grammar may limp; what a panel of models makes of it is learned all the same.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

#: Words that a splice must keep of either caption.
_LEAST = 2
#: A sentence is made of up to so many splices.
_TIMES = 3


def splice(first: str, second: str, rng: np.random.Generator) -> str | None:
    """The first sentence up to a word, and the second from that word on; None where none fits."""
    ours, theirs = first.split(), second.split()
    places = [
        (a, b)
        for a in range(_LEAST, len(ours) - 1)
        for b in range(1, len(theirs) - _LEAST)
        if ours[a] == theirs[b]
    ]
    if not places:
        return None
    a, b = places[int(rng.integers(len(places)))]
    return " ".join([*ours[:a], *theirs[b:]])


def spliced(
    captions: Sequence[str], own: Sequence[Sequence[int]], scenes: Sequence[int], count: int
) -> list[str]:
    """Up to `count` different sentences that are no captions, in an order of their own.

    Args:
        captions: the sentences.
        own: for each photograph, the indices of its captions.
        scenes: each photograph's.
        count: how many; fewer where the captions give no more.
    """
    of_scene: defaultdict[int, set[int]] = defaultdict(set)
    for numbers, scene in zip(own, scenes, strict=True):
        of_scene[scene].update(numbers)
    groups = [sorted(group) for _, group in sorted(of_scene.items())]
    rng, known = np.random.default_rng(23), set(captions)
    made: dict[str, None] = {}
    for _ in range(8 * count):
        group = groups[int(rng.integers(len(groups)))]
        text: str | None = captions[group[int(rng.integers(len(group)))]]
        for _ in range(int(rng.integers(1, _TIMES + 1))):
            text = text and splice(text, captions[group[int(rng.integers(len(group)))]], rng)
        if text and text not in known:
            made[text] = None
        if len(made) == count:
            break
    return list(made)
