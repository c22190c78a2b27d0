"""A question: texts, photos and places, added and subtracted, as one vector.

Every door (command line, Python, server) builds a `Question`; `vectors` turns questions into what
`TileIndex.search` takes. The arithmetic is the plain one of image search tools: the weighted sum of
unit vectors, brought to length 1 again.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from ngcg_cli.errors import DataError, UsageError

if TYPE_CHECKING:
    from ngcg_cli.encoder.encoder import Encoder
    from ngcg_cli.search.store import Store

Vectors: TypeAlias = npt.NDArray[np.float32]
Point: TypeAlias = tuple[float, float]

_BEFORE_COLON = re.compile(r"([^\s:]+):(.*)", re.DOTALL)
_PLAIN_NUMBER = re.compile(r"-?[0-9]*\.?[0-9]+", re.ASCII)
# Nobody describes a place so: a picture is meant, and its path is wrong.
_PICTURE = re.compile(r"\S+\.(?:png|jpe?g|tiff?|webp|bmp|gif|jp2)", re.IGNORECASE)
# A sum shorter than this has no direction to speak of: its parts cancel each other.
_LEAST = 1e-3
_MAX_WEIGHT = 1e6
# A tile whose centre is farther from a place does not show it.
_REACH_M = 1000.0


@dataclass(frozen=True, eq=False)
class Part:
    """One thing that a question asks for, or asks to be away from.

    Attributes:
        what: a text; the pixels of a photo, uint8 RGB (h, w, 3); or a place, (latitude, longitude)
            in degrees, which stands for the indexed tile there.
        name: what the user wrote, for messages and output.
        weight: how much it counts; below 0: away from it.
    """

    what: str | npt.NDArray[np.uint8] | Point
    name: str
    weight: float = 1.0


@dataclass(frozen=True)
class Question:
    """What is looked for: the sum of its parts."""

    parts: tuple[Part, ...]

    @classmethod
    def of(cls, text: str, steering: Iterable[Part] = ()) -> Question:
        """A sentence, steered by more parts."""
        return cls((Part(text, text), *steering))

    @property
    def name(self) -> str:
        """What output calls it: a lone text as it is; a sum as "a harbour + boats - 2:cranes"."""
        said = ""
        for part in self.parts:
            size = abs(part.weight)
            named = part.name if size == 1 else f"{size:g}:{part.name}"
            if part.weight < 0:
                said += f" - {named}" if said else f"- {named}"
            else:
                said += f" + {named}" if said else named
        return said

    @property
    def in_words(self) -> Question | None:
        """The sum of its texts alone, which a confidence is calibrated for; None if none asks.

        A picture or a place scores far higher on imagery than words do: of a sum with one, the
        calibration would believe in whatever looks like the picture.
        """
        texts = tuple(part for part in self.parts if isinstance(part.what, str))
        return Question(texts) if any(part.weight > 0 for part in texts) else None

    @property
    def words(self) -> str:
        """What its texts ask for: "a harbour and boats, but not cranes"; "" where none asks."""
        texts = [(part.what, part.weight) for part in self.parts if isinstance(part.what, str)]
        said = " and ".join(text for text, weight in texts if weight > 0)
        away = " or ".join(text for text, weight in texts if weight < 0)
        return f"{said}, but not {away}" if said and away else said


def weighed(text: str) -> tuple[float, str]:
    """Reads "2:cranes" as (2.0, "cranes"); without a number and colon the weight is 1.

    Raises:
        UsageError: the weight is 0, or too large to mean anything, or written otherwise than as 2
            or 0.5; or nothing stands after the colon.
    """
    match = _BEFORE_COLON.fullmatch(text)
    if match is None:
        return 1.0, text
    before, what = match[1], match[2].strip()
    if not what:
        raise UsageError(f"{text!r} says nothing after its colon", hint="Such as 2:cranes.")
    if not _is_number(before):
        return 1.0, text
    if not _PLAIN_NUMBER.fullmatch(before):
        raise UsageError(f"{text!r}: the weight {before} is no plain number such as 2 or 0.5")
    weight = float(before)
    if not 0 < weight <= _MAX_WEIGHT:
        raise UsageError(f"{text!r}: the weight {before} is not above 0 and at most 1000000")
    return weight, what


def _is_number(text: str) -> bool:
    """Whether it reads as a number in any way: also 1e3, nan, 1_000 and the digits of others."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def content_part(text: str, sign: int = 1) -> Part:
    """What `--add` and `--subtract` take: `[N:]TEXT`, or `[N:]FILE` where there is such a picture.

    Raises:
        UsageError: nothing is asked.
        DataError: the file is no picture, or what is named like one is not there.
    """
    weight, what = weighed(text.strip())
    if not what:
        raise UsageError(f"{text!r} says nothing", hint="Give a text or the path of a picture.")
    file = Path(what).expanduser()
    if _is_file(file):
        from ngcg_cli.datasets.images import read_image

        return Part(read_image(file), what, sign * weight)
    if _PICTURE.fullmatch(what):
        raise DataError("no such picture", where=what, hint="Give its path, or say it in words.")
    return Part(what, what, sign * weight)


def place_part(text: str, sign: int = 1) -> Part:
    """What `--like` and `--unlike` take: `[N:]LAT,LON`.

    Raises:
        UsageError: it is no place on the Earth.
    """
    weight, where = weighed(text.strip())
    try:
        lat, lon = (float(number) for number in where.split(","))
    except ValueError:
        lat = lon = math.nan
    if not (abs(lat) <= 90 and abs(lon) <= 180):  # written so that NaN fails too
        raise UsageError(f"{text!r} is not LAT,LON in degrees", hint="Such as --like 40.7,-74.02.")
    return Part((lat, lon), where, sign * weight)


def steering_parts(
    add: Iterable[str] = (),
    subtract: Iterable[str] = (),
    like: Iterable[str] = (),
    unlike: Iterable[str] = (),
) -> tuple[Part, ...]:
    """What the options of these names say, in this order.

    Raises:
        UsageError, DataError: one of them says nothing, or no place, or names a bad picture.
    """
    return (
        *(content_part(text) for text in add),
        *(content_part(text, -1) for text in subtract),
        *(place_part(text) for text in like),
        *(place_part(text, -1) for text in unlike),
    )


def vectors(questions: Sequence[Question], encoder: Encoder, index: Store | None) -> Vectors:
    """The unit vectors (Q, dim) of questions; each text, photo and place is embedded once.

    Args:
        questions: at least one part each.
        encoder: the index's model.
        index: where places are looked up; None where the encoder is another than its own.

    Raises:
        UsageError: no tile of the index lies at a place, or the parts of a question cancel out.
    """
    known = _embedded([part.what for question in questions for part in question.parts], encoder)
    found = np.empty((len(questions), encoder.dim), np.float32)
    for row, question in zip(found, questions, strict=True):
        first = question.parts[0]
        if len(question.parts) == 1 and first.weight > 0 and not isinstance(first.what, tuple):
            row[:] = known[_key(first.what)]  # as it is: its length is 1 already
            continue
        total = np.zeros(len(row), np.float64)
        for part in question.parts:
            if isinstance(part.what, tuple):
                total += part.weight * _at(part, index)
            else:
                total += part.weight * known[_key(part.what)]
        length = float(np.linalg.norm(total))
        if length < _LEAST:
            raise UsageError(
                f"the parts of {question.name!r} cancel each other",
                hint="Change a weight, or leave one away.",
            )
        row[:] = total / length
    return found


def _embedded(
    contents: Sequence[str | npt.NDArray[np.uint8] | Point], encoder: Encoder
) -> dict[str | int, Vectors]:
    texts = list(dict.fromkeys(what for what in contents if isinstance(what, str)))
    photos = {id(what): what for what in contents if isinstance(what, np.ndarray)}
    known: dict[str | int, Vectors] = {}
    if texts:
        known.update(zip(texts, encoder.encode_texts(texts), strict=True))
    if photos:
        known.update(zip(photos, encoder.encode_images(list(photos.values())), strict=True))
    return known


def _key(what: str | npt.NDArray[np.uint8]) -> str | int:
    return what if isinstance(what, str) else id(what)


def _at(part: Part, index: Store | None) -> Vectors:
    """The tile whose centre is nearest to a place."""
    assert isinstance(part.what, tuple)
    if index is None:
        raise UsageError(
            f"{part.name} is a place, which only the index's own model can ask for",
            hint="Leave --rerank away, or --like and --unlike.",
        )
    found = index.nearest(*part.what)
    if found is None or found[1] > _REACH_M:
        how_far = (
            "it is empty" if found is None else f"the nearest is {found[1] / 1000:,.1f} km off"
        )
        raise UsageError(
            f"no tile of the index lies at {part.name}: {how_far}",
            hint="LAT,LON is meant, latitude first; `ngcg info` tells what the index covers.",
        )
    return found[0]


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a text too long for a path, or with a NUL
        return False
