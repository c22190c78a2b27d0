"""What the tiles in Milvus belong to: the state of the index, and an entry for each source.

They are rows of a small collection beside that of the tiles. One row, the state, says which step
was the last that was committed; to replace it is to commit. An entry is written under the step
that it belongs to, and the latest one of a step that was committed counts. Tiles lie in numbered
parts; a part's number is one that an entry holds, or that nobody looks at.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from ngcg_cli.errors import TileIndexError
from ngcg_cli.search.extent import Box, extent
from ngcg_cli.search.milvus.engine import Engine, Row
from ngcg_cli.search.records import ModelStamp, SourceRecord

VERSION = 1
STATE, WRITER = "state", "writer"
# Characters of a record: Milvus takes texts of 65,535 bytes, and JSON is ASCII here.
MOST_TEXT = 65_535
# Most tiles of a part: some parts together fit into one answer of the engine.
PART_ROWS = 4096
_PAGE = 2048
_FACTS = tuple(
    name for name in SourceRecord.__dataclass_fields__ if name not in ("tiles", "segments")
)

FIELDS: list[Row] = [
    {"field_name": "key", "datatype": "VARCHAR", "max_length": 64, "is_primary": True},
    {"field_name": "number", "datatype": "INT64"},
    {"field_name": "step", "datatype": "INT64"},
    {"field_name": "record", "datatype": "VARCHAR", "max_length": MOST_TEXT},
    # A collection has to have vectors.
    {"field_name": "nothing", "datatype": "FLOAT_VECTOR", "dim": 2},
]
TYPES = {
    "key": "VARCHAR",
    "number": "INT64",
    "step": "INT64",
    "record": "VARCHAR",
    "nothing": "FLOAT_VECTOR(2)",
}


@dataclass(frozen=True)
class Range:
    """Parts of one source with successive numbers: the first of them, how many, their tiles."""

    first: int
    parts: int
    tiles: int

    def __post_init__(self) -> None:
        if not (self.first >= 0 and self.parts > 0 and self.tiles > 0):
            raise ValueError(f"parts {self}")


@dataclass(frozen=True)
class State:
    """What was committed last.

    Attributes:
        step: counts the commits.
        next_part, next_number: those of the next part and source.
        losses: counts the commits that took tiles out: what was found while it changed is doubtful.
    """

    model: ModelStamp
    step: int = 0
    next_part: int = 0
    next_number: int = 0
    losses: int = 0

    def row(self) -> Row:
        """As it is kept."""
        told = {"format": VERSION, **asdict(self), "model": self.model.told()}
        return _row(STATE, -1, self.step, told)


@dataclass(frozen=True)
class Entry:
    """A source.

    Attributes:
        number: its place in the order of the sources.
        step: the commit that this belongs to.
        record: its `tiles` are those of the ranges.
        ranges: where its tiles lie.
        box: what holds them; None without any.
        dead: parts that it had before, to be deleted once the step is committed.
        gone: whether the source was taken out, and only its dead parts are left.
    """

    number: int
    step: int
    record: SourceRecord
    ranges: tuple[Range, ...] = ()
    box: Box | None = None
    dead: tuple[Range, ...] = ()
    gone: bool = False

    @property
    def key(self) -> str:
        """Its row's."""
        return f"{self.number}:{self.step}"

    def row(self) -> Row:
        """As it is kept."""
        facts = {name: getattr(self.record, name) for name in _FACTS}
        told: dict[str, Any] = {"source": facts, "box": self.box, "gone": self.gone}
        told |= {
            name: [[r.first, r.parts, r.tiles] for r in ranges]
            for name, ranges in (("ranges", self.ranges), ("dead", self.dead))
        }
        row = _row(self.key, self.number, self.step, told)
        if len(row["record"]) > MOST_TEXT:
            raise TileIndexError(
                "lies in too many pieces for an index in Milvus",
                where=self.record.path,
                hint="Commit more tiles at once (--block).",
            )
        return row

    def with_tiles(self, record: SourceRecord, ranges: Iterable[Range], box: Box | None) -> Entry:
        """This entry with more tiles."""
        boxes = [b for b in (self.box, box) if b is not None]
        joined = _joined([*self.ranges, *ranges])
        return replace(
            self,
            record=replace(record, tiles=sum(r.tiles for r in joined), segments=()),
            ranges=joined,
            box=extent(np.array(boxes)) if boxes else None,
        )


def _joined(ranges: Sequence[Range]) -> tuple[Range, ...]:
    joined: list[Range] = []
    for one in ranges:
        if joined and joined[-1].first + joined[-1].parts == one.first:
            last = joined.pop()
            one = Range(last.first, last.parts + one.parts, last.tiles + one.tiles)
        joined.append(one)
    return tuple(joined)


def _row(key: str, number: int, step: int, told: dict[str, Any]) -> Row:
    record = json.dumps(told, separators=(",", ":"), allow_nan=False)
    return {"key": key, "number": number, "step": step, "record": record, "nothing": [0.0, 0.0]}


def writer_row(told: dict[str, Any]) -> Row:
    """The row that says who writes."""
    return _row(WRITER, -2, 0, told)


def read_state(engine: Engine) -> State | None:
    """The state; None where there is none (yet).

    Raises:
        TileIndexError: it is damaged, or of another format.
    """
    rows = engine.query(engine.place.records, f'key == "{STATE}"', ["record"])
    if not rows:
        return None
    where = engine.place.name
    try:
        told = json.loads(rows[0]["record"])
        version = int(told.pop("format"))
        if version != VERSION:
            raise TileIndexError(
                f"is an index of format {version} in Milvus; this ngcg reads format {VERSION}",
                where=where,
                hint="`ngcg merge` with the ngcg that made it brings it into a folder.",
            )
        numbers = {name: int(value) for name, value in told.items() if name != "model"}
        if min(numbers.values()) < 0:
            raise ValueError("a number below 0")
        return State(ModelStamp(**told["model"]), **numbers)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise _damaged(where, "its state", error) from error


def read_entries(engine: Engine, state: State) -> list[tuple[Entry, bool]]:
    """All entries in the order of their sources, each with whether it counts (is the latest).

    Entries of a step that was never committed do not count.
    """
    firsts = range(0, state.next_number, _PAGE)
    pages = [f"number >= {first} and number < {first + _PAGE}" for first in firsts]
    # A step that was begun may have numbered new sources.
    pages.append(f"number >= {state.next_number}")
    fields = ["key", "number", "step", "record"]
    found = [
        _entry(row, engine.place.name)
        for page in pages
        for row in engine.query(engine.place.records, page, fields)
    ]
    found.sort(key=lambda entry: (entry.number, entry.step))
    latest = {entry.number: entry.step for entry in found if entry.step <= state.step}
    return [(entry, latest.get(entry.number) == entry.step) for entry in found]


def _entry(row: Row, where: str) -> Entry:
    try:
        told = json.loads(row["record"])
        ranges, dead = (
            tuple(Range(*map(int, numbers)) for numbers in told[name])
            for name in ("ranges", "dead")
        )
        facts = told["source"]
        record = SourceRecord(
            **{name: facts[name] for name in _FACTS if name in facts},
            tiles=sum(r.tiles for r in ranges),
        )
        box = told["box"]
        if box is not None and not (len(box) == 4 and all(abs(edge) <= 180 for edge in box)):
            raise ValueError(f"the box {box}")
        entry = Entry(
            number=int(row["number"]),
            step=int(row["step"]),
            record=record,
            ranges=ranges,
            box=None if box is None else tuple(box),
            dead=dead,
            gone=bool(told["gone"]),
        )
        if row["key"] != entry.key:
            raise ValueError(f"the key {row['key']!r}")
        return entry
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise _damaged(where, "the record of a source", error) from error


def _damaged(where: str, what: str, error: Exception) -> TileIndexError:
    return TileIndexError(
        f"{what} is damaged ({type(error).__name__}: {error})",
        where=where,
        hint="Index into another collection (#NAME), or drop this one.",
    )
