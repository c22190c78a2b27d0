"""One committed state of an index in Milvus, to read from."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ngcg_cli.errors import TileIndexError
from ngcg_cli.search.extent import Box, meets
from ngcg_cli.search.filters import Filters
from ngcg_cli.search.milvus.catalogue import PART_ROWS, Entry, Range, State
from ngcg_cli.search.milvus.engine import MOST_ROWS, Engine, Row
from ngcg_cli.search.tiles import Ints, TileTable
from ngcg_cli.search.vectors import Vectors

COLUMNS = ("part", "row", "lon", "lat", "bbox", "window", "footprint")


@dataclass(frozen=True)
class Rows:
    """N tiles as they came from the engine, sorted as a folder would number them.

    Attributes:
        tiles: the tiles.
        vectors: (N, dim); (N, 0) where they were not asked for.
        entry: (N,) position of each tile's source in `View.entries`.
        part, row: (N,) where each tile lies.
    """

    tiles: TileTable
    vectors: Vectors
    entry: Ints
    part: Ints
    row: Ints


class View:
    """The tiles of the sources of one state; see `Snapshot`, its like of a folder.

    Args:
        entries: those that count, in order; what they hold is what is seen.
    """

    def __init__(self, engine: Engine, state: State, entries: Sequence[Entry]) -> None:
        self.engine = engine
        self.state = state
        self.entries = [entry for entry in entries if not entry.gone]
        self.dead = [one for entry in entries for one in entry.dead]
        ranges = [(one, at) for at, entry in enumerate(self.entries) for one in entry.ranges]
        self.count = sum(one.tiles for one, _ in ranges)
        order = sorted(range(len(ranges)), key=lambda i: ranges[i][0].first)
        # By part: where each range begins and ends, its source, and its place in the order of all.
        self._first = np.array([ranges[i][0].first for i in order], np.int64)
        self._end = np.array([ranges[i][0].first + ranges[i][0].parts for i in order], np.int64)
        self._entry = np.array([ranges[i][1] for i in order], np.int64)
        self._rank = np.array(order, np.int64)

    def expression(self, filters: Filters) -> str | None:
        """What holds for all tiles that the filters allow, and few others; None: there are none.

        Sources and the box are told exactly; circles and polygons by the boxes around them.
        """
        chosen = self.within(filters)
        if not any(entry.ranges for entry in chosen):
            return None
        parts = [f"part < {self.state.next_part}"]
        if len(chosen) < len(self.entries):
            ranges = _spans(one for entry in chosen for one in entry.ranges)
            parts = [_any_part(ranges)]
        elif self.dead:
            parts += [f"not ({_any_part(_spans(self.dead))})"]
        parts += [_in_boxes(boxes) for boxes in filters.boxes()]
        return " and ".join(f"({part})" for part in parts)

    def within(self, filters: Filters) -> list[Entry]:
        """The sources that may hold tiles that the filters allow."""
        chosen = [entry for entry in self.entries if filters.takes(entry.record)]
        if filters.spatial:
            boxes = np.array([entry.box or (0, 0, 0, 0) for entry in chosen]).reshape(-1, 4)
            near = np.array([entry.box is not None for entry in chosen], bool)
            for places in filters.boxes():
                near &= np.any([meets(boxes, place) for place in places], axis=0)
            chosen = [
                entry for entry, is_near in zip(chosen, near.tolist(), strict=True) if is_near
            ]
        return chosen

    def read(
        self, ranges: Iterable[Range], expression: str = "", vectors: bool = True
    ) -> Iterator[Rows]:
        """The tiles of some ranges that an expression holds for, in blocks of `MOST_ROWS`."""
        waiting: list[Range] = []
        held = 0
        for one in _bites(ranges):
            if waiting and held + one.tiles > MOST_ROWS:
                yield self._read(waiting, expression, vectors)
                waiting, held = [], 0
            waiting.append(one)
            held += one.tiles
        if waiting:
            yield self._read(waiting, expression, vectors)

    def _read(self, ranges: Sequence[Range], expression: str, vectors: bool) -> Rows:
        chosen = f"({_any_part(_spans(ranges))})"
        fields = [*COLUMNS, "vector"] if vectors else list(COLUMNS)
        collection = self.engine.place.collection
        wanted = f"{chosen} and {expression}" if expression else chosen
        return self.rows(self.engine.query(collection, wanted, fields))

    def rows(self, found: Sequence[Row]) -> Rows:
        """Rows of an answer, those of this state, in the order of a folder."""
        where = self.engine.place.name
        try:
            part = np.array([row["part"] for row in found], np.int64)
            row = np.array([row["row"] for row in found], np.int64)
            at = np.searchsorted(self._first, part, side="right") - 1
            known = (at >= 0) & (part < self._end[at]) if len(self._end) else np.zeros(0, bool)
            order = np.lexsort((row, part, self._rank[at]))
            order = order[known[order]]
            picked = [found[i] for i in order.tolist()]
            tiles = TileTable(
                lon=np.array([tile["lon"] for tile in picked], np.float64),
                lat=np.array([tile["lat"] for tile in picked], np.float64),
                bbox=np.array([tile["bbox"] for tile in picked], np.float64).reshape(-1, 4),
                window=np.array([tile["window"] for tile in picked], np.int64).reshape(-1, 4),
                geometry=[base64.b64decode(tile["footprint"], validate=True) for tile in picked],
            )
            tiles.check()
            vectors = np.array([tile["vector"] for tile in picked if "vector" in tile], np.float32)
            return Rows(
                tiles,
                vectors.reshape(len(picked), -1) if picked else np.empty((0, 0), np.float32),
                self._entry[at[order]],
                part[order],
                row[order],
            )
        except (ValueError, TypeError, KeyError) as error:
            raise TileIndexError(
                f"holds a damaged tile: {error}",
                where=where,
                hint="`ngcg info --check` finds its source: index that again with --force.",
            ) from error


def _bites(ranges: Iterable[Range]) -> Iterator[Range]:
    """Ranges that each fit into an answer: a few parts do, by how they are made."""
    few = MOST_ROWS // PART_ROWS
    for one in ranges:
        if one.tiles <= MOST_ROWS:
            yield one
            continue
        for first in range(0, one.parts, few):
            parts = min(few, one.parts - first)
            yield Range(one.first + first, parts, parts * PART_ROWS)


def _spans(ranges: Iterable[Range]) -> list[tuple[int, int]]:
    """(first, end) of the parts, joined where they touch."""
    spans: list[tuple[int, int]] = []
    for first, end in sorted((one.first, one.first + one.parts) for one in ranges):
        if spans and spans[-1][1] == first:
            first = spans.pop()[0]
        spans.append((first, end))
    return spans


def any_part(ranges: Iterable[Range]) -> str:
    """The expression that holds for the tiles of some ranges."""
    return _any_part(_spans(ranges))


def _any_part(spans: list[tuple[int, int]]) -> str:
    alone = [first for first, end in spans if end == first + 1]
    told = [f"(part >= {first} and part < {end})" for first, end in spans if end > first + 1]
    if alone:
        told.append(f"part in {alone}")
    return " or ".join(told)


def _in_boxes(boxes: Sequence[Box]) -> str:
    told = []
    for west, south, east, north in (map(float, box) for box in boxes):
        between = [(west, east)] if west <= east else [(west, 180.0), (-180.0, east)]
        # 180 and -180 are one meridian.
        ends = [f"lon == {-end!r}" for end in {west, east} if abs(end) == 180]
        along = " or ".join([*(f"(lon >= {a!r} and lon <= {b!r})" for a, b in between), *ends])
        told.append(f"(({along}) and lat >= {south!r} and lat <= {north!r})")
    return " or ".join(told)
