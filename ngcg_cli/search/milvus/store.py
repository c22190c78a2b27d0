"""An index in Milvus: a `Store` whose tiles are rows of a collection."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from ngcg_cli import items
from ngcg_cli.errors import TileIndexError
from ngcg_cli.search import agreement
from ngcg_cli.search.blocks import Block
from ngcg_cli.search.extent import extent
from ngcg_cli.search.filters import NO_FILTERS, Filters, check_near
from ngcg_cli.search.hits import Hit
from ngcg_cli.search.milvus import catalogue, schema, searching
from ngcg_cli.search.milvus.catalogue import PART_ROWS, Entry, Range, State
from ngcg_cli.search.milvus.describe import describe, lost_sources
from ngcg_cli.search.milvus.engine import MOST_BYTES, Engine
from ngcg_cli.search.milvus.name import parse
from ngcg_cli.search.milvus.view import View, any_part
from ngcg_cli.search.milvus.writer import writers_place
from ngcg_cli.search.records import ModelStamp, SourceRecord
from ngcg_cli.search.tiles import TileTable
from ngcg_cli.search.vectors import Vectors

Found = TypeVar("Found")

# Searches that are done again because tiles were taken out meanwhile.
_TRIES = 5


class MilvusIndex:
    """An open index in Milvus. Each method sees what was last committed.

    A commit writes tiles into new parts, and entries of their sources beside the old ones; then
    one row, the state, is replaced, and all of it counts at once. What an interruption leaves
    behind counts for nothing: the next writer deletes it.
    """

    def __init__(self, engine: Engine, view: View) -> None:
        self._engine = engine
        self._view = view
        self._check: Callable[[], None] | None = None
        self._unclean = False
        self._lost: frozenset[str] = frozenset()

    @classmethod
    def create(cls, where: str | Path, model: ModelStamp, *, wait: bool = False) -> MilvusIndex:
        """Make an empty index in collections that are not there yet; see `store.create_index`."""
        place = parse(where)
        engine = Engine(place)
        if cls._is_there(engine):
            if wait:
                return cls.open(where)
            raise TileIndexError("is an index already", where=place.name)
        if not engine.has(place.records):
            index = {"index_type": "FLAT", "metric_type": "IP"}
            engine.create(place.records, catalogue.FIELDS, "nothing", index)
        if not engine.has(place.collection):
            engine.create(
                place.collection, schema.fields(model.dim), "vector", schema.index_params(engine)
            )
        elif engine.fields(place.collection) != schema.types(model.dim):  # ours, and never used
            engine.drop(place.collection)
            engine.create(
                place.collection, schema.fields(model.dim), "vector", schema.index_params(engine)
            )
        engine.upsert(place.records, [State(model).row()])
        return cls.open(where)

    @classmethod
    def open(cls, where: str | Path) -> MilvusIndex:
        """Open an index in its last committed state.

        Raises:
            TileIndexError: there is none, it was made by something else, or cannot be reached.
        """
        place = parse(where)
        engine = None if place.file is not None and not place.file.exists() else Engine(place)
        if engine is None or not cls._is_there(engine):
            raise TileIndexError(
                "there is no index", where=place.name, hint="Make one: ngcg index SOURCE."
            )
        for collection in (place.records, place.collection):
            engine.load(collection)
        return cls(engine, _look(engine))

    @classmethod
    def exists(cls, where: str | Path) -> bool:
        """Whether there is an index of that name; TileIndexError where its name is taken."""
        place = parse(where)
        if place.file is not None and not place.file.exists():
            return False
        return cls._is_there(Engine(place))

    @staticmethod
    def _is_there(engine: Engine) -> bool:
        place = engine.place
        tiles, records = engine.has(place.collection), engine.has(place.records)
        strange = ""
        if records and engine.fields(place.records) != catalogue.TYPES:
            strange = place.records
        elif tiles and not records:
            strange = place.collection
        elif tiles:
            fields = engine.fields(place.collection)
            vector = fields.pop("vector", "")
            if fields != schema.TYPES or not vector.startswith("FLOAT_VECTOR("):
                strange = place.collection
        if strange:
            raise TileIndexError(
                f"the collection {strange!r} was made by something else, or another ngcg",
                where=place.name,
                hint="Name another one: put #NAME at the end.",
            )
        if not tiles or not records:
            return False
        engine.load(place.records)
        return catalogue.read_state(engine) is not None

    @property
    def path(self) -> str:
        """Its name."""
        return self._engine.place.name

    @property
    def model(self) -> ModelStamp:
        """The model that the index is bound to."""
        return self._view.state.model

    @property
    def tile_count(self) -> int:
        """Tiles of the whole index."""
        return self._view.count

    def sources(self) -> list[SourceRecord]:
        """The sources; one of which a writer misses tiles is told as one to be indexed anew."""
        return [
            replace(entry.record, complete=False, done=0, windows=0)
            if entry.record.path in self._lost
            else entry.record
            for entry in self._view.entries
        ]

    def committed(self) -> object:
        """The last committed state, whoever made it."""
        return catalogue.read_state(self._engine)

    def check_model(self, model: ModelStamp) -> None:
        """See that `model` is the one whose vectors are in the index."""
        agreement.check_model(self.path, self.model, model)

    def damaged(self) -> set[str]:
        """Paths of the sources of which a writer misses tiles."""
        return set(self._lost)

    def check_precision(self, precision: str) -> None:
        """See that new vectors would be computed as those in the index were."""
        agreement.check_precision(self.path, self.model.precision, precision)

    # --- writing ------------------------------------------------------------------------------

    @contextlib.contextmanager
    def writing(self, wait: bool = False) -> Iterator[MilvusIndex]:
        """Be the only writer, from the last committed state on; what others left is cleared."""
        if self._check is not None:
            yield self
            return
        with writers_place(self._engine, wait) as check:
            self._check = check
            try:
                self._delete_orphans()
                self._lost = lost_sources(self._view)
                yield self
            finally:
                self._check = None

    def commit(self, blocks: Sequence[Block]) -> None:
        """Add blocks of tiles, of one source or of several, in one step."""
        for block in blocks:
            block.check(self.model.dim)
            if any(len(wkb) * 4 > schema.MOST_FOOTPRINT * 3 - 12 for wkb in block.tiles.geometry):
                raise TileIndexError(
                    "a footprint of too many points for an index in Milvus",
                    where=block.source.path,
                )
        with self._step() as state:
            known = {entry.record.path: entry for entry in self._view.entries}
            changed: dict[str, Entry] = {}
            part, number = state.next_part, state.next_number
            for block in blocks:
                path = block.source.path
                old = changed.get(path) or known.get(path)
                if old is None:
                    old = Entry(number, 0, block.source)
                    number += 1
                elif block.fresh:
                    old = replace(old, ranges=(), box=None, dead=(*old.dead, *old.ranges))
                ranges = self._put(block, part)
                part += len(ranges)
                box = None
                if len(block.tiles):
                    tiles = block.tiles
                    box = extent(
                        np.asarray(tiles.bbox), np.asarray(tiles.lon), np.asarray(tiles.lat)
                    )
                changed[path] = old.with_tiles(block.source, ranges, box)
            self._turn(replace(state, next_part=part, next_number=number), changed.values())

    def _put(self, block: Block, part: int) -> list[Range]:
        """Write the tiles of a block into parts from a number on; nobody sees them yet."""
        vectors = np.asarray(block.vectors, np.float32)
        step = max(1, MOST_BYTES // (4 * self.model.dim + 500))
        ranges = []
        for first in range(0, len(block.tiles), PART_ROWS):
            rows = [
                schema.row(block, vectors, part, at, first)
                for at in range(first, min(first + PART_ROWS, len(block.tiles)))
            ]
            for begin in range(0, len(rows), step):
                self._engine.upsert(self._engine.place.collection, rows[begin : begin + step])
            ranges.append(Range(part, 1, len(rows)))
            part += 1
        return ranges

    def rename_all(self, pairs: Iterable[tuple[str, SourceRecord]]) -> None:
        """Replace the records of sources, given by their old paths; their tiles stay."""
        with self._step() as state:
            known = {entry.record.path: entry for entry in self._view.entries}
            wanted = {
                known[old].number: replace(known[old], record=replace(
                    record, tiles=known[old].record.tiles, segments=()
                )) for old, record in pairs if old in known
            }  # fmt: skip
            taken = {entry.record.path for entry in wanted.values()}
            replaced = [
                _gone(entry)
                for path, entry in known.items()
                if path in taken and entry.number not in wanted
            ]
            before = {entry.number: entry for entry in known.values()}
            changed = [entry for entry in wanted.values() if entry != before[entry.number]]
            if changed or replaced:
                self._turn(state, [*changed, *replaced])

    def drop(self, paths: str | Iterable[str]) -> list[SourceRecord]:
        """Take sources out in one step; returns those that were there."""
        unwanted = set(items.texts(paths))
        with self._step() as state:
            gone = [entry for entry in self._view.entries if entry.record.path in unwanted]
            if gone:
                self._turn(state, [_gone(entry) for entry in gone])
            return [entry.record for entry in gone]

    def refresh_graph(self, progress: Callable[[int], object] | None = None) -> None:
        """Nothing: what makes searches fast is the engine's own work."""

    @contextlib.contextmanager
    def _step(self) -> Iterator[State]:
        """A change from the last committed state on; what a failed one left is cleared first."""
        with self.writing():
            if self._unclean:
                self._delete_orphans()
            self._unclean = True
            yield self._view.state
            self._unclean = False

    def _turn(self, state: State, changed: Iterable[Entry]) -> None:
        """Commit: write entries under the next step, then the state that makes them count."""
        records = self._engine.place.records
        step = state.step + 1
        before = {entry.number: entry for entry in self._view.entries}
        entries = [replace(entry, step=step) for entry in changed]
        losses = any(entry.dead for entry in entries)
        state = replace(state, step=step, losses=state.losses + losses)
        rows = [entry.row() for entry in entries]
        size = max(1, MOST_BYTES // catalogue.MOST_TEXT)
        for first in range(0, len(rows), size):
            self._engine.upsert(records, rows[first : first + size])
        if self._check is not None:
            self._check()
        self._engine.upsert(records, [state.row()])
        old = [before[entry.number] for entry in entries if entry.number in before]
        now = {**before, **{entry.number: entry for entry in entries}}
        self._view = View(self._engine, state, [now[number] for number in sorted(now)])
        self._clear([entry.key for entry in old], entries)

    def _clear(self, keys: list[str], entries: Iterable[Entry]) -> None:
        """Delete rows of entries that count no more, and the dead parts of those that do."""
        place = self._engine.place
        _delete_keys(self._engine, keys)
        dying = [entry for entry in entries if entry.dead or entry.gone]
        dead = [one for entry in dying for one in entry.dead]
        for first in range(0, len(dead), 1000):
            self._engine.delete(place.collection, any_part(dead[first : first + 1000]))
        cleared = [replace(entry, dead=()) for entry in dying]
        self._engine.upsert(place.records, [entry.row() for entry in cleared if not entry.gone])
        _delete_keys(self._engine, [entry.key for entry in cleared if entry.gone])
        now = {entry.number: entry for entry in self._view.entries}
        now |= {entry.number: entry for entry in cleared if not entry.gone}
        self._view = View(self._engine, self._view.state, [now[number] for number in sorted(now)])

    def _delete_orphans(self) -> None:
        """Go over to the last committed state, and delete what belongs to none."""
        self._view = view = _look(self._engine)
        self._engine.delete(self._engine.place.collection, f"part >= {view.state.next_part}")
        entries = catalogue.read_entries(self._engine, view.state)
        self._clear(
            [entry.key for entry, counts in entries if not counts],
            [entry for entry, counts in entries if counts],
        )
        self._unclean = False

    # --- reading ------------------------------------------------------------------------------

    def search(
        self,
        vectors: npt.ArrayLike,
        top: int = 10,
        filters: Filters = NO_FILTERS,
        *,
        exact: bool = False,
        keep_overlaps: bool = False,
    ) -> list[list[Hit]]:
        """Rank the tiles for each query; see `Store.search`."""
        queries = agreement.check_queries(self.path, self.model.dim, vectors, top)
        flat = self._engine.embedded
        return self._reading(
            lambda view: searching.find(view, queries, top, filters, keep_overlaps, flat, exact)
        )

    def nearest(self, lat: float, lon: float) -> tuple[Vectors, float] | None:
        """The vector (dim,) of the tile whose centre is nearest to a point, and metres to it."""
        check_near((lat, lon, 0.0))
        return self._reading(lambda view: searching.nearest(view, lat, lon))

    def blocks(self) -> Iterator[Block]:
        """All that it holds, source by source; the first block of a source is `fresh`."""
        for entry in self._view.entries:
            fresh = True
            for rows in self._view.read(entry.ranges):
                yield Block(entry.record, rows.tiles, rows.vectors, fresh)
                fresh = False
            if fresh:
                none = np.empty((0, self.model.dim), np.float32)
                yield Block(entry.record, TileTable.empty(), none)

    def describe(self, check: bool = False) -> dict[str, Any]:
        """The object that `ngcg info --json` prints; `check` reads every tile."""
        return describe(self._reading(lambda view: view), check)

    def _reading(self, read: Callable[[View], Found]) -> Found:
        """What `read` makes of the last committed state, if it stayed long enough."""
        for _ in range(_TRIES):
            if self._check is None:
                self._view = _look(self._engine, self._view)
            found = read(self._view)
            if self._check is not None:
                break
            state = catalogue.read_state(self._engine)
            if state is not None and state.losses == self._view.state.losses:
                break
        return found


def _look(engine: Engine, before: View | None = None) -> View:
    """The last committed state; the one `before` if it still is."""
    while True:
        state = catalogue.read_state(engine)
        if state is None:
            raise TileIndexError("there is no index any more", where=engine.place.name)
        if before is not None and state == before.state:
            return before
        entries = [entry for entry, counts in catalogue.read_entries(engine, state) if counts]
        if catalogue.read_state(engine) == state:  # else rows may have been deleted meanwhile
            return View(engine, state, entries)


def _gone(entry: Entry) -> Entry:
    return replace(
        entry,
        record=replace(entry.record, tiles=0),
        ranges=(),
        box=None,
        dead=(*entry.dead, *entry.ranges),
        gone=True,
    )


def _delete_keys(engine: Engine, keys: Sequence[str]) -> None:
    for first in range(0, len(keys), 1000):
        told = ", ".join(f'"{key}"' for key in keys[first : first + 1000])
        engine.delete(engine.place.records, f"key in [{told}]")
