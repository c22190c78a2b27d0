"""A generative model is asked about hits: whether they show what was asked, and why."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ngcg_cli.answers.cost import Cost
from ngcg_cli.answers.looking import Rasters
from ngcg_cli.answers.rerank import Key, key, ordered

if TYPE_CHECKING:
    import numpy as np

    from ngcg_cli.encoder.generator import Generator
    from ngcg_cli.search.hits import Hit

_SHOWS = "Does this image show {}? Answer yes or no."
_WHY = (
    "This overhead image was found for: {}. In one short sentence, say what in the image fits "
    "that, or that nothing does."
)
_WHAT = "In one short sentence, say what this overhead image shows."
_WHY_TOKENS = 48
_BATCH = 8
_SENTENCE = re.compile(r".*?[.!?](?=\s|$)")


class Asker:
    """A generative model that is asked about hits; each question about a tile is asked once.

    Args:
        generator: the model.
        unread: gets the sources of which something could not be read.
    """

    def __init__(self, generator: Generator, unread: set[str] | None = None) -> None:
        self._generator = generator
        self._unread = unread
        self._chances: dict[tuple[Key, str], float] = {}
        self._reasons: dict[tuple[Key, str], str] = {}

    def order(self, found: Sequence[Sequence[Hit]], words: Sequence[str]) -> list[list[Hit]]:
        """The hits of each question, best first by how likely the model says yes to it.

        Args:
            found: hits in any order; their `score` becomes that probability, 0 to 1.
            words: each question in words, as in "Does this image show ...?".

        Returns:
            See `rerank.ordered`.
        """
        asked = [(hit, text, text) for hits, text in zip(found, words, strict=True) for hit in hits]

        def ask(images: list[np.ndarray], texts: list[str]) -> list[float]:
            questions = [_SHOWS.format(_bare(text)) for text in texts]
            return [float(chance) for chance in self._generator.chances(images, questions)]

        self._ask(asked, self._chances, ask, "is asked yes or no about", None)
        order = []
        for hits, text in zip(found, words, strict=True):
            known = {key(hit): self._chances.get((key(hit), text)) for hit in hits}
            scores = {at: chance for at, chance in known.items() if chance is not None}
            order.append(ordered(hits, scores))
        return order

    def explained(self, hits: Sequence[Hit], words: str, cost: Cost | None = None) -> list[Hit]:
        """The hits of one question, each with a sentence that says why.

        Args:
            hits: in rank order.
            words: the question in words; where there are none, the sentence says what is seen.
            cost: is told how far the work is; None tells of these hits alone.

        Returns:
            The hits with `explanation`; it is empty where the raster cannot be read.
        """
        question = _WHY.format(_bare(words)) if words else _WHAT

        def ask(images: list[np.ndarray], questions: list[str]) -> list[str]:
            said = self._generator.answers(images, questions, _WHY_TOKENS)
            return [first_sentence(text) for text in said]

        asked = [(hit, words, question) for hit in hits]
        self._ask(asked, self._reasons, ask, "says why of", cost)
        return [replace(hit, explanation=self._reasons.get((key(hit), words), "")) for hit in hits]

    def why(self, count: int) -> Cost:
        """Tells that up to `count` hits will be explained."""
        return Cost(f"{self._generator.name} says why of up to {count:,} hits", count)

    def _ask(
        self,
        asked: Sequence[tuple[Hit, str, str]],
        known: dict[tuple[Key, str], Any],
        ask: Callable[[list[np.ndarray], list[str]], Sequence[Any]],
        what: str,
        cost: Cost | None,
    ) -> None:
        """Fills `known`, by tile and words, with what the model says; batch by batch."""
        new = {
            (key(hit), words): (hit, question)
            for hit, words, question in asked
            if (key(hit), words) not in known
        }
        if cost is None:
            cost = Cost(f"{self._generator.name} {what} {len(new):,} tiles", len(new))
        todo = list(new.items())
        with Rasters("not looked at again", self._unread) as rasters:
            for start in range(0, len(todo), _BATCH):
                batch = todo[start : start + _BATCH]
                read = [
                    (at, image, question)
                    for at, (hit, question) in batch
                    if (image := rasters.pixels(hit, self._generator.image_size)) is not None
                ]
                if read:
                    places, images, questions = zip(*read, strict=True)
                    said = ask(list(images), list(questions))
                    known.update(zip(places, said, strict=True))
                cost.done(len(batch))


def first_sentence(text: str) -> str:
    """The first sentence of an answer, in one line; all of it where none ends."""
    line = " ".join(text.split())
    match = _SENTENCE.match(line)
    return match[0] if match else line


def _bare(text: str) -> str:
    """A question as it stands inside another: one line, without its own end."""
    return " ".join(text.split()).rstrip(".?! ")
