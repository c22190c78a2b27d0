"""Captions by a generative model: how it is asked for them, and which are worth learning from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

from ngcg_cli.answers.asking import first_sentence
from ngcg_cli.choices import CaptionStyle

if TYPE_CHECKING:
    import numpy as np

    from ngcg_cli.encoder.generator import Generator

#: Why a caption is left out: it says nothing; it goes in circles; it is, but for small words,
#: order and number, one that another tile has.
Fault = Literal["empty", "circular", "repeated", "near_equal"]


class _Style(NamedTuple):
    prompt: str
    tokens: int


#: Texts by which people look for places are short; long ones and lists of attributes add words.
STYLES: dict[CaptionStyle, _Style] = {
    "short": _Style(
        "Describe this overhead image in one short sentence: the main things in it and where they "
        "stand to each other.",
        40,
    ),
    "long": _Style(
        "Describe this overhead image in two or three sentences: what is there, how it is laid "
        "out, and what lies beside what. Say only what can be seen.",
        120,
    ),
    "attributes": _Style(
        "List what can be seen in this overhead image, separated by commas: objects with number, "
        "colour and shape, kinds of ground, roads and water.",
        60,
    ),
}
_LEAST_WORDS = 2
_WORD = re.compile(r"\w+")
_SENTENCES = re.compile(r".*[.!?](?=\s|$)")
# What two captions may differ in and still say the same.
_SMALL = frozenset(
    re.findall(r"\w+", "a an and are at by in is it of on or some the there this to with")
)


class Filter:
    """Keeps captions that say something, and that no other tile has.

    Equal captions of two tiles would be taken, in training, for wrong answers to each other.

    Args:
        known: captions that were kept before.
    """

    def __init__(self, known: Iterable[str] = ()) -> None:
        self._whole: set[str] = set()
        self._gist: set[str] = set()
        for caption in known:
            self._add(caption)

    def fault(self, caption: str) -> Fault | None:
        """Why a caption is left out; None where it is kept, and remembered."""
        words = _WORD.findall(caption.casefold())
        if len(words) < _LEAST_WORDS:
            return "empty"
        if _circular(words):
            return "circular"
        if " ".join(words) in self._whole:
            return "repeated"
        if _gist(words) in self._gist:
            return "near_equal"
        self._add(caption)
        return None

    def _add(self, caption: str) -> None:
        words = _WORD.findall(caption.casefold())
        self._whole.add(" ".join(words))
        self._gist.add(_gist(words))


def ask(
    generator: Generator, images: Sequence[np.ndarray], styles: Sequence[CaptionStyle]
) -> list[list[str]]:
    """A caption of each style for each image, tidied, in the order of the styles.

    Args:
        generator: the model.
        images: uint8 RGB (h, w, 3).
        styles: keys of `STYLES`.
    """
    said: list[list[str]] = [[] for _ in images]
    for style in styles:
        prompt, tokens = STYLES[style]
        answers = generator.answers(images, [prompt] * len(images), tokens)
        for captions, answer in zip(said, answers, strict=True):
            captions.append(tidy(answer, style))
    return said


def tidy(answer: str, style: CaptionStyle) -> str:
    """An answer as a caption: one line, no quotes around it, no sentence that was cut short."""
    line = " ".join("".join(c if c.isprintable() else " " for c in answer).split())
    line = line.strip("\"'“”` ")
    if style == "short":
        return first_sentence(line)
    match = _SENTENCES.match(line) if style == "long" else None
    return match[0] if match else line


def _gist(words: Sequence[str]) -> str:
    return " ".join(sorted({word.rstrip("s") for word in words if word not in _SMALL}))


def _circular(words: Sequence[str]) -> bool:
    """Whether three words in a row come three times: a model that has lost its thread."""
    counts: dict[tuple[str, ...], int] = {}
    for at in range(len(words) - 2):
        three = tuple(words[at : at + 3])
        counts[three] = counts.get(three, 0) + 1
    return max(counts.values(), default=0) >= 3
