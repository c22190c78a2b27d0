"""From a sentence or a photo to ranked places."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict, Unpack

import numpy as np

from ngcg_cli.answers.confidence import NOTHING_HERE, Calibration, with_confidence
from ngcg_cli.choices import RerankBy
from ngcg_cli.errors import UsageError
from ngcg_cli.journeys import trust
from ngcg_cli.journeys.calibration import load_calibration
from ngcg_cli.journeys.model import load_model, refuse_other_name
from ngcg_cli.journeys.nothing import undated, why_nothing
from ngcg_cli.journeys.questions import Part, Question, Vectors, vectors
from ngcg_cli.search import Filters, Hit, open_index

if TYPE_CHECKING:
    import shapely

    from ngcg_cli.answers.asking import Asker
    from ngcg_cli.answers.rerank import Reranker
    from ngcg_cli.encoder.encoder import Encoder
    from ngcg_cli.encoder.precision import PrecisionChoice

logger = logging.getLogger(__name__)
# Hits that another model looks at again, unless told.
DEPTH = 50


class QueryOptions(TypedDict, total=False):
    """What narrows a query and what is done with its hits, named as for `ngcg query`.

    Attributes:
        bbox: west, south, east, north in degrees.
        near: latitude, longitude, metres.
        areas: polygons in WGS 84, of which one must hold the tile's centre.
        source: a pattern of rasters' paths or names.
        after, before: dates of acquisition, such as "2024-05-17".
        exact: compare every tile.
        keep_overlaps: keep hits that overlap a better one.
        min_confidence: 0 to 1.
        refine: look at the hits' rasters again.
        rerank: a model that orders the best `depth` hits anew, `rerank_by` "vectors" or "yes".
        explain: a model that says why.
    """

    bbox: tuple[float, float, float, float] | None
    near: tuple[float, float, float] | None
    areas: tuple[shapely.Geometry, ...]
    source: str | None
    after: str | None
    before: str | None
    exact: bool
    keep_overlaps: bool
    min_confidence: float | None
    refine: bool
    rerank: str | None
    depth: int
    rerank_by: RerankBy
    explain: str | None


class FinderOptions(QueryOptions, total=False):
    """`QueryOptions`, and how many hits to return at most."""

    top: int


@dataclass(frozen=True)
class _Wish:
    """How to search, and what is done with the hits: what of `FinderOptions` is no filter."""

    top: int = 10
    exact: bool = False
    keep_overlaps: bool = False
    min_confidence: float | None = None
    refine: bool = False
    rerank: str | None = None
    depth: int = DEPTH
    rerank_by: RerankBy = "vectors"
    explain: str | None = None

    @property
    def reach(self) -> int:
        """Hits to search for, so that the best `top` are among them."""
        if self.rerank is not None:
            return max(self.top, self.depth)
        if self.min_confidence is not None:
            return max(self.top, DEPTH)  # confidence does not fall with the score: look further
        return self.top


class Answer(NamedTuple):
    """A query (its text, or the path of its photo) and its hits in rank order."""

    query: str
    hits: Sequence[Hit]


class Finder:
    """An open index and the model that made it; the model is loaded when the first query comes.

    Args:
        index: the index folder.
        model: name or path, None for the index's own.
        device: where the model runs.
        precision: what the model computes in; `auto` is the index's own.
        asked: see `QueryOptions`; and `top`. The methods take them too, for their own queries.

    Attributes:
        unread: sources whose hits could not be looked at again, by `refine`, `rerank`, `explain`.

    Raises:
        TileIndexError: there is no index, or it was made with another model.
    """

    def __init__(
        self,
        index: str | Path,
        model: str | None,
        device: str,
        precision: PrecisionChoice = "auto",
        **asked: Unpack[FinderOptions],
    ) -> None:
        self.index = open_index(index)
        self._model = model
        self._device = device
        self._precision = precision
        self._asked = asked
        self._told_of_nothing = self._told_of_undated = False
        self._rerankers: dict[str, Reranker] = {}
        self.unread: set[str] = set()
        self._askers: dict[str, Asker] = {}
        refuse_other_name(model, self.index)
        trust.allow_servers(index)

    @cached_property
    def _calibration(self) -> Calibration | None:
        return load_calibration(self._encoder)

    @cached_property
    def _encoder(self) -> Encoder:
        return load_model(self._model, self._device, self.index, precision=self._precision)

    def of_texts(
        self,
        blocks: Iterable[Sequence[str]],
        steering: Sequence[Part] = (),
        **asked: Unpack[FinderOptions],
    ) -> Iterator[Answer]:
        """Answers in the order of the queries, each block embedded and searched together.

        Args:
            blocks: texts.
            steering: what is added to each of them, or subtracted.
            asked: as for the class.
        """
        for block in blocks:
            yield from self.answer([Question.of(text, steering) for text in block], **asked)

    def of_image(
        self,
        name: str,
        pixels: np.ndarray,
        steering: Sequence[Part] = (),
        **asked: Unpack[FinderOptions],
    ) -> Iterator[Answer]:
        """The answer to a photo, uint8 (h, w, 3), called `name`."""
        yield from self.answer([Question((Part(pixels, name), *steering))], **asked)

    def answer(
        self, questions: Sequence[Question], **asked: Unpack[FinderOptions]
    ) -> Iterator[Answer]:
        """Answers in the order of the questions, which are embedded and searched together."""
        filters, wish = _told_apart({**self._asked, **asked})
        asked_for = vectors(questions, self._encoder, self.index)
        found = self.index.search(
            asked_for, wish.reach, filters, exact=wish.exact, keep_overlaps=wish.keep_overlaps
        )
        self._tell(filters, found)
        if wish.rerank is not None and any(found):
            found = self._reranked(wish.rerank, wish.rerank_by, questions, found)
        count = sum(min(wish.top, len(hits)) for hits in found) if wish.explain is not None else 0
        asker = self._asker(wish.explain) if wish.explain is not None and count else None
        cost = asker.why(count) if asker is not None else None
        for question, vector, hits in zip(questions, asked_for, found, strict=True):
            hits = self._looked_at(question, vector, hits, len(questions) == 1, wish)
            if asker is not None:
                hits = asker.explained(hits, question.words, cost)
            yield Answer(question.name, hits)

    def _tell(self, filters: Filters, found: list[list[Hit]]) -> None:
        """Says once why there is no hit, or that filters pass over what has no date."""
        if not self._told_of_nothing and not all(found):
            self._told_of_nothing = True  # the filters are the same for the others
            logger.warning("%s", why_nothing(self.index, filters))
        elif not self._told_of_undated:
            self._told_of_undated = True
            if told := undated(self.index, filters):
                logger.info("%s", told)

    def _asker(self, model: str) -> Asker:
        """The generative model that is asked about hits, loaded once."""
        if model not in self._askers:
            from ngcg_cli.answers.asking import Asker
            from ngcg_cli.encoder.generator import open_generator

            logger.info("loading %s", model, extra={"wait": True})
            self._askers[model] = Asker(open_generator(model, self._device), self.unread)
        return self._askers[model]

    def _reranked(
        self, model: str, by: RerankBy, questions: Sequence[Question], found: list[list[Hit]]
    ) -> list[list[Hit]]:
        """The hits of each question in the order of another model, which looks at all again."""
        if by == "yes":
            wordless = next((question for question in questions if not question.words), None)
            if wordless is not None:
                raise UsageError(
                    f"--rerank-by yes: {wordless.name!r} has no words to ask the model with",
                    hint="Give TEXT, or --rerank-by vectors.",
                )
            words = [question.words for question in questions]
            return self._asker(model).order(found, words)
        if model not in self._rerankers:
            from ngcg_cli.answers.rerank import Reranker

            self._rerankers[model] = Reranker(load_model(model, self._device), self.unread)
        reranker = self._rerankers[model]
        return reranker.order(found, vectors(questions, reranker.encoder, None))

    def _looked_at(
        self, question: Question, vector: Vectors, hits: list[Hit], alone: bool, wish: _Wish
    ) -> list[Hit]:
        """The first `top` hits with their confidence, looked at again where that is asked for.

        Args:
            question, vector, hits: one of the questions, its vector, and what was found.
            alone: whether it is the only one: of many, a line each would drown what matters.
            wish: what is asked for.
        """
        hits = self._rated(question, vector, hits, alone)
        if wish.min_confidence is not None:
            hits = self._sure(question, hits, alone, wish.min_confidence)
        hits = hits[: wish.top]
        if wish.refine and hits:
            from ngcg_cli.answers.refine import refine as look_again

            hits = look_again(hits, vector, self._encoder, self.unread)
        return [replace(hit, rank=rank) for rank, hit in enumerate(hits, 1)]

    def _rated(
        self, question: Question, vector: Vectors, hits: list[Hit], alone: bool
    ) -> list[Hit]:
        """The hits with the confidence of each, where the model has a calibration."""
        words = question.in_words
        if not hits or words is None or self._calibration is None:
            return hits
        alike = len(words.parts) == len(question.parts)
        asked = vector if alike else vectors([words], self._encoder, self.index)[0]
        hits = with_confidence(hits, asked, self._calibration)
        best = max(hit.confidence or 0.0 for hit in hits)
        if best < NOTHING_HERE:
            level = logging.INFO if alone else logging.DEBUG
            told = "%r: nothing here looks like that (confidence %.2f at most)"
            logger.log(level, told, words.name, best)
        return hits

    def _sure(self, question: Question, hits: list[Hit], alone: bool, least: float) -> list[Hit]:
        """The hits whose confidence is high enough."""
        if self._calibration is None:
            raise UsageError(
                "--min-confidence: the index's model has no calibration",
                hint="Make one: ngcg calibrate --help.",
            )
        if question.in_words is None:
            raise UsageError(
                f"--min-confidence: {question.name!r} has no words to be confident about",
                hint="Give TEXT, or leave it away.",
            )
        best = max((hit.confidence or 0.0 for hit in hits), default=0.0)
        if hits and best < least:
            told = "%r: no hit: none of the %d best reaches --min-confidence %g (best: %.4f)"
            level = logging.WARNING if alone else logging.INFO
            logger.log(level, told, question.name, len(hits), least, best)
        return [hit for hit in hits if (hit.confidence or 0.0) >= least]


def _told_apart(asked: Mapping[str, Any]) -> tuple[Filters, _Wish]:
    """What narrows a search, and all else that is asked."""
    narrow = {field.name for field in fields(Filters)}
    filters = {name: value for name, value in asked.items() if name in narrow}
    others = {name: value for name, value in asked.items() if name not in narrow}
    return Filters(**filters), _Wish(**others)
