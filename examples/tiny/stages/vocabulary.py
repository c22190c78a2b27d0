"""What people look for from above, in many words: `data/vocabulary.txt`.

A line is one thing under all its names, and the scenes of which it is nearly always true, if any.
Names of a scene's things join its lexicon; all of them are words to learn; and a caption may be
said with another name for what it speaks of, or in another manner, without being less true.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from examples.tiny.stages.templates import articled, plural
from examples.tiny.stages.words import Near

VOCABULARY = Path(__file__).parents[1] / "data/vocabulary.txt"


class Thing(NamedTuple):
    """One thing: its names, and the scenes of AID that show it."""

    names: tuple[str, ...]
    scenes: tuple[str, ...]


def things(path: Path = VOCABULARY) -> list[Thing]:
    """All things of the vocabulary, in its order."""
    out = []
    for line in path.read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            names, _, scenes = line.partition("|")
            out.append(Thing(tuple(n.strip() for n in names.split(",")), tuple(scenes.split())))
    return out


def phrased(name: str) -> Iterator[str]:
    """A name as people ask for it: alone, with an article, in a photograph, several of it."""
    yield name
    if _several(name):
        yield f"aerial photo of {name}"
    else:
        yield articled(f"a {name}")
        yield articled(f"aerial photo of a {name}")
        if plural(name) != name:
            yield plural(name)


def phrases() -> list[str]:
    """All that is said so of the vocabulary's things."""
    return [text for thing in things() for name in thing.names for text in phrased(name)]


def _several(name: str) -> bool:
    return name.endswith("s") and not name.endswith(("ss", "us"))


_SPELLINGS = (
    ("harbor", "harbour"), ("gray", "grey"), ("center", "centre"), ("plowed", "ploughed"),
    ("airplane", "aeroplane"), ("color", "colour"), ("neighborhood", "neighbourhood"),
    ("meter", "metre"), ("parking lot", "car park"), ("theater", "theatre"),
)  # fmt: skip
_VIEWS = ("aerial photo of ", "an aerial view of ", "a satellite image of ", "satellite photo of ",
          "find ", "show me ", "overhead view of ", "a bird's-eye view of ")  # fmt: skip
_ARTICLES = frozenset({"a", "an", "the"})
_SMALL = _ARTICLES | {"is", "are", "there", "of", "some", "in", "this", "with", "and", "on", "by",
                      "to", "it", "its", "that", "which", "at", "here", "."}  # fmt: skip
#: Sentences that cannot follow "show me".
_WHOLE = ("there", "this", "it", "in ", "aerial", "find", "an aerial", "a satellite")


class Alter:
    """The same said otherwise: another name, spelling, no articles, key words, as a search.

    Args:
        queries: held-out ones; what comes near one of them stays as it was.
        known: the vocabulary.
    """

    def __init__(self, queries: Sequence[str], known: Sequence[Thing]) -> None:
        self._near = Near(queries)
        self._others: dict[str, list[str]] = {}
        for thing in known:
            for name in thing.names:
                others = [other for other in thing.names if other != name]
                if others and len(name) > 3:
                    self._others.setdefault(name, others)
        longest_first = sorted(self._others, key=len, reverse=True)
        self._names = re.compile(rf"\b({'|'.join(map(re.escape, longest_first))})(s|es)?\b")

    def __call__(self, text: str, rng: np.random.Generator) -> str:
        """`text`, lower case, perhaps in other words."""
        plain = " ".join(text.lower().split())
        said = self._renamed(plain, rng) if rng.random() < 0.3 else plain
        if rng.random() < 0.12:
            said = _respelled(said)
        manner = rng.random()
        if manner < 0.2:
            dropped = _ARTICLES if manner < 0.12 else _SMALL
            said = " ".join(word for word in said.split() if word not in dropped) or said
        elif manner < 0.3 and not said.startswith(_WHOLE):
            said = _VIEWS[int(rng.integers(len(_VIEWS)))] + said
        if rng.random() < 0.25:
            said = said.rstrip(" .") or said
        return plain if said != plain and self._near(said) else said

    def _renamed(self, text: str, rng: np.random.Generator) -> str:
        found = list(self._names.finditer(text))
        if not found:
            return text
        match = found[int(rng.integers(len(found)))]
        others = self._others[match[1]]
        name = others[int(rng.integers(len(others)))]
        if match[2] and not _several(name):
            name = plural(name)
        before = text[: match.start()]
        if _several(name):
            before = re.sub(r"\ban? $", "", before)
        return articled(re.sub(r"\ban $", "a ", before) + name + text[match.end() :])


def _respelled(text: str) -> str:
    for one, other in _SPELLINGS:
        if re.search(rf"\b{one}", text):
            text = re.sub(rf"\b{one}", other, text)
        else:
            text = re.sub(rf"\b{other}", one, text)
    return text
