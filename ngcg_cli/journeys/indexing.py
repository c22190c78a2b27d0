"""From rasters to an index: plan, read ahead, embed in batches, commit in blocks."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections import deque
from collections.abc import Generator, Iterable
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from ngcg_cli import items
from ngcg_cli.errors import RasterError, TileIndexError, UsageError
from ngcg_cli.items import StrPath
from ngcg_cli.journeys import defaults, trust
from ngcg_cli.journeys.committing import Committer, Done
from ngcg_cli.journeys.model import (
    BUNDLED,
    load_model,
    model_name,
    refuse_other_name,
    refuse_other_precision,
    stamp,
)
from ngcg_cli.journeys.planning import Job, Plan, SourceReport, Status, make_plan
from ngcg_cli.journeys.reading import CHUNK, Chunk, read_ahead
from ngcg_cli.progress import Progress
from ngcg_cli.search import Store, create_index, index_exists, open_index

if TYPE_CHECKING:
    from ngcg_cli.encoder.encoder import Encoder
    from ngcg_cli.encoder.precision import PrecisionChoice

logger = logging.getLogger(__name__)

# Of a source's unreadable windows so many are named.
_NAMED = 3


@dataclass
class IndexReport:
    """What a run did. `dim` is None where nothing could be indexed and no index is there yet.

    Attributes:
        pruned: sources dropped because they are gone; None where that was not asked for.
    """

    index: str
    model: str
    dim: int | None
    tiles: int = 0
    added: int = 0
    pruned: int | None = None
    sources: list[SourceReport] = field(default_factory=list)
    seconds: float = 0.0

    def count(self, status: Status) -> int:
        """How many sources have this status."""
        return sum(source.status == status for source in self.sources)

    @property
    def partly(self) -> bool:
        """Whether this run could not read some windows of a source."""
        return any(source.status == "indexed" and source.reason for source in self.sources)

    def as_json(self) -> dict[str, Any]:
        """The object that `ngcg index --json` prints."""
        row = {**vars(self), "sources": [source.as_json() for source in self.sources]}
        if self.pruned is None:
            del row["pruned"]
        return row


def index_sources(
    sources: StrPath | Iterable[StrPath],
    index_path: StrPath,
    *,
    model: str | None = None,
    tile: str | None = None,
    overlap: float | None = None,
    min_valid: float | None = None,
    device: str = "auto",
    precision: PrecisionChoice = "auto",
    batch_size: int = defaults.BATCH,
    block_tiles: int = defaults.BLOCK_TILES,
    force: bool = False,
    prune: bool = False,
    wait: bool = False,
    drivers: Iterable[str] = (),
    progress: Progress | None = None,
) -> IndexReport:
    """Adds rasters to an index, which is made if it is not there.

    What is embedded is committed in blocks, so that an interruption loses seconds of work, and the
    next run goes on from there. Sources that cannot be read are reported as failed and the rest
    goes on; a window that cannot be read is left out and named.

    Args:
        sources: rasters or folders of them; one alone may be given as it is.
        index_path: the index folder.
        model: name or path, None for the index's own (`tiny` for a new one).
        tile: tile size with its unit; None for what the index remembers, else auto.
        overlap: fraction of a tile shared with the next; None likewise, else 0.25.
        min_valid: least share of valid pixels for a tile to be taken; None likewise, else 0.25.
        device: where the model runs.
        precision: what the model computes in; `auto` is the index's own, else the device's.
        batch_size: tiles embedded at once.
        block_tiles: tiles committed at once.
        force: index also what is unchanged.
        prune: drop from the index what lay under the sources once and is gone.
        wait: for another process that writes the index, instead of giving up.
        drivers: further drivers of GDAL that may open rasters, from now on in this process.
        progress: is told how far the work is.

    Raises:
        TileIndexError: the index is damaged, being written, or was made with another model; or a
            block cannot be committed (those before it are).
        ModelError: the model cannot be loaded.
        UsageError: tile, overlap or min_valid make no sense.
    """
    began = time.monotonic()
    progress = progress or Progress()
    names = items.paths(sources)
    (index_path,) = items.paths(index_path)
    report = IndexReport(index_path, "", None, pruned=0 if prune else None)
    if drivers := items.texts(drivers):
        from ngcg_cli.raster.drivers import allow

        allow(drivers)

    def run(index: Store | None) -> None:
        settings = _settings(index, tile, overlap, min_valid)
        plan = make_plan(names, index, settings, force=force, prune=prune, progress=progress)
        report.sources = plan.reports
        report.model = index.model.name if index is not None else model_name(model or BUNDLED)
        encoder = load_model(model, device, index, precision=precision) if plan.jobs else None
        if index is not None:
            _work(plan, index, encoder, batch_size, block_tiles, progress, report)
        elif encoder is not None:
            index = create_index(index_path, stamp(encoder, model or BUNDLED), wait=wait)
            trust.remember(index.path, index.model.name)
            with index.writing(wait=wait):
                if index.sources():  # another run has made it, and done its work
                    refuse_other_name(model, index)
                    refuse_other_precision(precision, index)
                    return run(index)
                _work(plan, index, encoder, batch_size, block_tiles, progress, report)
        if index is not None:
            report.dim, report.tiles = index.model.dim, index.tile_count

    if index_exists(index_path):
        index = open_index(index_path)
        refuse_other_name(model, index)
        refuse_other_precision(precision, index)
        # Planned only now: a writer that was waited for has done part of the work.
        with index.writing(wait=wait):
            run(index)
    else:
        _refuse_foreign(index_path)
        run(None)
    report.seconds = round(time.monotonic() - began, 3)
    return report


def _refuse_foreign(folder: str) -> None:
    """Refuses a folder that holds other things than an index, before a byte is written to it."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        # What a creation cut short leaves behind is hidden, or the lock.
        theirs = sorted(
            entry.name
            for entry in entries
            if not entry.name.startswith((".partial-", "writer.lock", "manifest.previous"))
        )
        if theirs:
            raise TileIndexError(
                f"is neither empty nor an index: it holds {theirs[0]!r}",
                where=folder,
                hint="Name another folder with --index.",
            )


def _settings(
    index: Store | None, tile: str | None, overlap: float | None, min_valid: float | None
) -> dict[str, Any]:
    """How to cut: as asked, else as the index's last source was cut, else by default."""
    from ngcg_cli.raster import TileSize

    last = index.sources()[-1] if index is not None and index.sources() else None
    settings = {
        "tile": str(TileSize.parse(tile or (last.tile if last else defaults.TILE))),
        "overlap": _first(overlap, last and last.overlap, defaults.OVERLAP),
        "min_valid": _first(min_valid, last and last.min_valid, defaults.MIN_VALID),
    }
    if not 0 <= settings["min_valid"] <= 1:
        raise UsageError(f"--min-valid {settings['min_valid']:g} is not within 0 to 1")
    return settings


def _first(*values: Any) -> Any:
    return next(value for value in values if value is not None)


def _work(
    plan: Plan,
    index: Store,
    encoder: Encoder | None,
    batch_size: int,
    block_tiles: int,
    progress: Progress,
    report: IndexReport,
) -> None:
    """Does what was planned, and brings the graph up to date."""
    index.rename_all(plan.renames)
    if report.pruned is not None:
        report.pruned = len(index.drop(plan.gone))
    if encoder is not None:
        progress.start("indexing", sum(job.windows - job.start for job in plan.jobs))
        committer = Committer(index, block_tiles)
        try:
            with committer:
                _embed(plan.jobs, committer, encoder, batch_size, progress)
        except KeyboardInterrupt:
            logger.warning(
                "stopped: %s tiles of this run are in the index; give the same command again to go "
                "on from there",
                f"{committer.added:,}",
            )
            raise
        report.added = committer.added
    _refresh_graph(index, progress)


def _refresh_graph(index: Store, progress: Progress) -> None:
    """Also when there was nothing to index: a run before may have been cut short just here."""
    begun = False

    def advance(tiles: int) -> None:
        nonlocal begun
        if not begun:
            progress.start("graph", index.tile_count)
            begun = True
        progress.advance(tiles)

    index.refresh_graph(advance)


@dataclass
class _Piece:
    """A chunk of a source whose tiles are being embedded: (N, dim) vectors, `left` to come."""

    job: Job
    chunk: Chunk
    vectors: np.ndarray
    left: int


def _embed(
    jobs: list[Job], committer: Committer, encoder: Encoder, batch_size: int, progress: Progress
) -> None:
    """Embeds all tiles in batches that run across sources, and hands them on in order."""
    from ngcg_cli.encoder.streams import encode_batches, share

    pieces: deque[_Piece] = deque()
    streams, size = share(encoder.device, batch_size)

    def hand_on() -> None:
        while pieces and not pieces[0].left:
            piece = pieces.popleft()
            committer.put(
                Done(
                    piece.job,
                    windows=piece.chunk.windows,
                    skipped=len(piece.chunk.skipped),
                    readable=piece.chunk.readable,
                    tiles=piece.chunk.tiles,
                    vectors=piece.vectors,
                )
            )

    def read() -> Generator[tuple[_Piece, int, np.ndarray], None, None]:
        tally = _Tally()
        ahead = max(2 * CHUNK, batch_size)
        # Resized by the readers: what waits is small, and the model's threads have the model alone.
        reading = read_ahead(jobs, 2 * encoder.image_size, ahead, prepare=encoder.resized)
        with closing(reading) as chunks:
            for job, chunk in chunks:
                if tally.job is not job:
                    tally.end(progress)
                    tally = _Tally(job)
                    progress.at(job.record.path)
                if chunk.error is not None:
                    job.report.fail(chunk.error)
                    continue
                tally.add(chunk)
                pixels, chunk.pixels = chunk.pixels, []
                count = len(pixels)
                progress.advance(chunk.windows - count)
                piece = _Piece(job, chunk, np.empty((count, encoder.dim), np.float32), count)
                pieces.append(piece)
                hand_on()
                for row, tile in enumerate(pixels):
                    yield piece, row, tile
            tally.end(progress)

    def batches() -> Generator[tuple[list[tuple[_Piece, int]], list[np.ndarray]], None, None]:
        with closing(read()) as tiles:
            while batch := list(islice(tiles, size)):
                yield [(piece, row) for piece, row, _ in batch], [tile for *_, tile in batch]

    with (
        closing(batches()) as filled,
        closing(encode_batches(encoder.encode_batch, filled, streams)) as embedded,
    ):
        for places, vectors in embedded:
            for (piece, row), vector in zip(places, vectors, strict=True):
                piece.vectors[row] = vector
                piece.left -= 1
            progress.advance(len(places))
            hand_on()


@dataclass
class _Tally:
    """What could be read of the source in work."""

    job: Job | None = None
    windows: int = 0
    readable: int = 0
    tiles: int = 0
    skipped: int = 0
    nowhere: int = 0
    reasons: list[str] = field(default_factory=list)

    def add(self, chunk: Chunk) -> None:
        self.windows += chunk.windows
        self.readable += chunk.readable
        self.tiles += len(chunk.pixels)
        self.skipped += len(chunk.skipped)
        self.nowhere += chunk.nowhere
        if self.job is not None:
            for complaint in chunk.complaints:
                logger.warning("%s: %s", self.job.record.path, complaint)
        self.reasons += chunk.skipped[: _NAMED - len(self.reasons)]

    def end(self, progress: Progress) -> None:
        """Tells what is wrong with the source, now that all of it was seen."""
        job = self.job
        if job is None:
            return
        progress.advance(job.windows - job.start - self.windows)  # what a failure left unseen
        if job.report.status == "failed":
            return
        if self.nowhere:
            logger.warning(
                "%s: %s of its %s windows have their centre off the Earth and are left out",
                job.record.path,
                f"{self.nowhere:,}",
                f"{job.windows:,}",
            )
        if self.skipped and not self.readable and not job.start:
            job.report.fail(RasterError(f"none of its windows can be read: {self.reasons[0]}"))
        elif self.skipped or job.record.skipped:
            job.report.skip(job.record.skipped + self.skipped, job.windows, self.reasons)
        elif not self.tiles and not job.start:
            logger.warning("%s: no tile holds enough data to be indexed", job.record.path)
