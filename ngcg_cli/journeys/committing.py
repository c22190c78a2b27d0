"""The thread that commits what is embedded, in blocks, while the model goes on."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Self

import numpy as np

from ngcg_cli.errors import TileIndexError
from ngcg_cli.journeys.defaults import BLOCK_SECONDS, BLOCK_TILES
from ngcg_cli.journeys.files import content_of, with_facts
from ngcg_cli.journeys.planning import Job
from ngcg_cli.journeys.reading import Chunk
from ngcg_cli.search import Block, Store, TileTable

logger = logging.getLogger(__name__)

# Chunks that may wait for the disk.
_QUEUE = 256
# Of a source's unreadable windows so many are named.
_NAMED = 3


@dataclass
class _Waiting:
    """Chunks of a source that wait to be committed, and its content, being found."""

    job: Job
    content: Future[str | None] | None
    chunks: list[Chunk] = field(default_factory=list)


class Committer:
    """Counts what comes, and commits it in blocks of tiles, of one source or of several.

    How far a source is stands in its `Job`, which is written here alone. A block is committed when
    it is full or old enough, and at the end, also of an interrupted run. Of a source of which no
    window can be read nothing is committed: what an earlier run has made of it stays.

    Attributes:
        added: tiles that it has committed.
    """

    def __init__(
        self,
        index: Store,
        jobs: Iterable[Job],
        tiles: int = BLOCK_TILES,
        seconds: float = BLOCK_SECONDS,
    ) -> None:
        self.added = 0
        self._jobs = {job.path: job for job in jobs}
        self._index = index
        self._tiles = tiles
        self._seconds = seconds
        self._queue: queue.Queue[Chunk | None] = queue.Queue(_QUEUE)
        self._waiting: dict[str, _Waiting] = {}
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
        if error is not self._error:  # told once
            logger.error("%s", self._error)

    def put(self, chunk: Chunk) -> None:
        """Hands on what is embedded; a source's chunks come in the order of its grid.

        Raises:
            TileIndexError: an earlier block could not be committed.
        """
        if self._error is not None:
            raise self._error
        self._queue.put(chunk)

    def _work(self) -> None:
        ended = False
        try:
            while not ended:
                patience = max(0.0, self._due - time.monotonic())
                with contextlib.suppress(queue.Empty):
                    chunk = self._queue.get(timeout=min(patience, threading.TIMEOUT_MAX))
                    ended = chunk is None
                    if chunk is not None:
                        self._take(chunk)
                if ended or self._held >= self._tiles or time.monotonic() >= self._due:
                    self._commit()
        except BaseException as error:
            self._error = error
            while not ended:  # nobody who puts may wait for ever
                ended = self._queue.get() is None

    def _take(self, chunk: Chunk) -> None:
        job = self._jobs[chunk.path]
        if job.failed:
            return
        if chunk.error is not None:
            job.report.fail(chunk.error)
            return
        waiting = self._waiting.get(job.path)
        if waiting is None:
            known = job.record.content is not None
            content = None if known else self._hasher.submit(content_of, job.path, self._stopped)
            waiting = self._waiting[job.path] = _Waiting(job, content)
        waiting.chunks.append(chunk)
        job.done += chunk.windows
        job.readable += chunk.readable
        job.nowhere += chunk.nowhere
        job.left_out += len(chunk.skipped)
        job.skipped += chunk.skipped[: _NAMED - len(job.skipped)]
        if chunk.tiles is not None:
            job.tiles += len(chunk.tiles)
            self._held += len(chunk.tiles)
        for complaint in chunk.complaints:
            logger.warning("%s: %s", job.path, complaint)
        if job.done == job.windows:
            job.conclude()
        self._due = min(self._due, time.monotonic() + self._seconds)

    def _commit(self) -> None:
        self._held, self._due = 0, float("inf")
        blocks = []
        for waiting in self._waiting.values():
            job = waiting.job
            if not waiting.chunks or not (job.readable or job.start):
                continue
            block = self._block(waiting)
            try:
                block.check(self._index.model.dim)
            except TileIndexError as error:  # what is wrong with one source is no other's failure
                job.report.fail(error)
            else:
                blocks.append(block)
        if not blocks:
            return
        self._index.commit(blocks)
        for block in blocks:
            waiting = self._waiting[block.source.path]
            report = waiting.job.report
            report.tiles = len(block.tiles) + (0 if block.fresh else report.tiles)
            self.added += len(block.tiles)
            waiting.job.fresh = False
            waiting.chunks = []
            if block.source.complete:
                del self._waiting[block.source.path]

    def _block(self, waiting: _Waiting) -> Block:
        job = waiting.job
        complete = job.done == job.windows
        record = replace(
            job.record,
            done=job.done,
            windows=job.windows,
            skipped=job.record.skipped + job.left_out,
            complete=complete,
        )
        content = waiting.content
        if complete or content is None or content.done():
            found = record.content if content is None else content.result()
            record = replace(record, content=found)
        if complete and with_facts(record) != record:
            # Then its content may be neither the one that was found nor the one that is there.
            logger.warning("%s: it changed while it was indexed, index it again", record.path)
            record = replace(record, content=None)
        vectors = [vector for chunk in waiting.chunks for vector in chunk.vectors]
        return Block(
            source=record,
            tiles=join([chunk.tiles for chunk in waiting.chunks if chunk.tiles is not None]),
            vectors=np.reshape(vectors, (-1, self._index.model.dim)),
            fresh=job.fresh,
        )


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
