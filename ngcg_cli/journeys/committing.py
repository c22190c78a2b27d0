"""The thread that commits what is embedded, in blocks, while the model goes on."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Self

import numpy as np

from ngcg_cli.journeys.defaults import BLOCK_SECONDS, BLOCK_TILES
from ngcg_cli.journeys.files import content_of, with_facts
from ngcg_cli.journeys.planning import Job
from ngcg_cli.search import Block, SourceRecord, Store, TileTable

logger = logging.getLogger(__name__)

# Chunks that may wait for the disk.
_QUEUE = 256


@dataclass
class Done:
    """Some neighbouring windows of a source, embedded: `windows` looked at, N tiles of them."""

    job: Job
    windows: int
    skipped: int
    readable: int
    tiles: TileTable | None
    vectors: np.ndarray


@dataclass
class _State:
    """How far a source is, with what waits to be committed."""

    job: Job
    fresh: bool
    done: int
    skipped: int
    readable: bool
    waits: bool = False
    tables: list[TileTable] = field(default_factory=list)
    vectors: list[np.ndarray] = field(default_factory=list)
    content: Future[str | None] | None = None


class Committer:
    """Commits blocks of tiles, of one source or of several, in the order in which they come.

    A block is committed when it is full or old enough, and at the end, also of an interrupted run.
    Of a source of which no window can be read nothing is committed: what an earlier run has made of
    it stays.

    Attributes:
        added: tiles that it has committed.
    """

    def __init__(
        self, index: Store, tiles: int = BLOCK_TILES, seconds: float = BLOCK_SECONDS
    ) -> None:
        self.added = 0
        self._index = index
        self._tiles = tiles
        self._seconds = seconds
        self._queue: queue.Queue[Done | None] = queue.Queue(_QUEUE)
        self._states: dict[str, _State] = {}
        self._held = 0
        self._due = float("inf")
        self._error: BaseException | None = None
        self._stopped = threading.Event()
        self._hasher = ThreadPoolExecutor(1, thread_name_prefix="hasher")
        self._thread = threading.Thread(target=self._work, name="committer", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        """Commits the rest. An error of the body comes before one of the committing."""
        if error is not None:
            self._stopped.set()  # no content is worth waiting for
        self._queue.put(None)
        self._thread.join()
        self._stopped.set()
        self._hasher.shutdown(cancel_futures=True)
        if self._error is None:
            return
        if error is None:
            raise self._error
        logger.error("%s", self._error)

    def put(self, done: Done) -> None:
        """Hands on what is embedded; a source's windows come in the order of its grid.

        Raises:
            TileIndexError: an earlier block could not be committed.
        """
        if self._error is not None:
            raise self._error
        self._queue.put(done)

    def _work(self) -> None:
        ended = False
        try:
            while not ended:
                patience = max(0.0, self._due - time.monotonic())
                with contextlib.suppress(queue.Empty):
                    done = self._queue.get(timeout=min(patience, threading.TIMEOUT_MAX))
                    ended = done is None
                    if done is not None:
                        self._hold(done)
                if ended or self._held >= self._tiles or time.monotonic() >= self._due:
                    self._commit()
        except BaseException as error:
            self._error = error
            while not ended:  # nobody who puts may wait for ever
                ended = self._queue.get() is None

    def _hold(self, done: Done) -> None:
        job = done.job
        state = self._states.get(job.record.path)
        if state is None:
            state = _State(job, job.fresh, job.start, job.record.skipped, readable=job.start > 0)
            self._states[job.record.path] = state
            if job.record.content is None:
                state.content = self._hasher.submit(content_of, job.record.path, self._stopped)
        state.done += done.windows
        state.skipped += done.skipped
        state.readable |= done.readable > 0
        state.waits = True
        if done.tiles is not None:
            state.tables.append(done.tiles)
            state.vectors.append(done.vectors)
            self._held += len(done.vectors)
        self._due = min(self._due, time.monotonic() + self._seconds)

    def _commit(self) -> None:
        self._held, self._due = 0, float("inf")
        ready = [state for state in self._states.values() if state.waits and state.readable]
        if not ready:
            return
        blocks = [self._block(state) for state in ready]
        self._index.commit(blocks)
        for state, block in zip(ready, blocks, strict=True):
            report = state.job.report
            report.tiles = len(block.tiles) + (0 if state.fresh else report.tiles)
            self.added += len(block.tiles)
            state.fresh = state.waits = False
            state.tables, state.vectors = [], []
            if block.source.complete:
                del self._states[block.source.path]

    def _block(self, state: _State) -> Block:
        job = state.job
        record = replace(
            job.record,
            done=state.done,
            windows=job.windows,
            skipped=state.skipped,
            complete=state.done == job.windows,
        )
        if state.content is not None and (record.complete or state.content.done()):
            record = replace(record, content=_content(record, state.content))
        none = np.empty((0, self._index.model.dim), np.float32)
        return Block(
            source=record,
            tiles=join(state.tables),
            vectors=np.concatenate(state.vectors or [none]),
            fresh=state.fresh,
        )


def _content(record: SourceRecord, content: Future[str | None]) -> str | None:
    """The content, if the file is still the one that was found: else it may be neither's."""
    found = content.result()
    if record.complete and with_facts(record) != record:
        logger.warning("%s: it changed while it was indexed, index it again", record.path)
        return None
    return found


def join(tables: Sequence[TileTable]) -> TileTable:
    """The tiles of all tables, in order."""
    if not tables:
        return TileTable.empty()
    return TileTable(
        lon=np.concatenate([table.lon for table in tables]),
        lat=np.concatenate([table.lat for table in tables]),
        bbox=np.concatenate([table.bbox for table in tables]),
        window=np.concatenate([table.window for table in tables]),
        geometry=[wkb for table in tables for wkb in table.geometry],
    )
