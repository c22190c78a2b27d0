"""From rasters to an index: plan, read ahead, embed in batches, commit source by source."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ngcg_cli.errors import NgcgError, UsageError
from ngcg_cli.journeys.model import BUNDLED, load_model, model_name, refuse_other_name, stamp
from ngcg_cli.journeys.reading import Chunk, Plan, join, read_ahead
from ngcg_cli.progress import Progress
from ngcg_cli.search import SourceRecord, TileIndex

if TYPE_CHECKING:
    from ngcg_cli.encoder.encoder import Encoder

logger = logging.getLogger(__name__)

DEFAULT_TILE = "224px"
DEFAULT_OVERLAP = 0.25
DEFAULT_MIN_VALID = 0.25

Status = Literal["indexed", "unchanged", "failed"]


@dataclass
class SourceReport:
    """What became of a source; `reason` is set when it failed."""

    path: str
    status: Status
    tiles: int = 0
    reason: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Its row in the `--json` object."""
        row: dict[str, Any] = {"path": self.path, "status": self.status, "tiles": self.tiles}
        return row if self.reason is None else {**row, "reason": self.reason}


@dataclass
class IndexReport:
    """What a run did. `dim` is None where nothing could be indexed and no index is there yet."""

    index: str
    model: str
    dim: int | None
    tiles: int = 0
    added: int = 0
    sources: list[SourceReport] = field(default_factory=list)
    seconds: float = 0.0

    def count(self, status: Status) -> int:
        """How many sources have this status."""
        return sum(source.status == status for source in self.sources)

    def as_json(self) -> dict[str, Any]:
        """The object that `ngcg index --json` prints."""
        return {**vars(self), "sources": [source.as_json() for source in self.sources]}


@dataclass
class _Job:
    """A raster to be indexed, and what has come of it so far."""

    record: SourceRecord
    report: SourceReport
    windows: int
    left: int  # windows still to be read and, where they hold data, embedded
    chunks: list[Chunk] = field(default_factory=list)
    vectors: list[np.ndarray] = field(default_factory=list)


def index_sources(
    sources: list[str],
    index_path: Path,
    *,
    model: str | None = None,
    tile: str | None = None,
    overlap: float | None = None,
    min_valid: float | None = None,
    device: str = "auto",
    batch_size: int = 32,
    force: bool = False,
    progress: Progress | None = None,
) -> IndexReport:
    """Adds rasters to an index, which is made if it is not there.

    A source is committed when all of its tiles are embedded, so an interruption loses at most the
    sources in work. Sources that cannot be read are reported as failed and the rest goes on.

    Args:
        sources: rasters or folders of them.
        index_path: the index folder.
        model: name or path, None for the index's own (`tiny` for a new one).
        tile: tile size with its unit; None for what the index remembers, else 224px.
        overlap: fraction of a tile shared with the next; None likewise, else 0.25.
        min_valid: least share of valid pixels for a tile to be taken; None likewise, else 0.25.
        device: where the model runs.
        batch_size: tiles embedded at once.
        force: index also what is unchanged.
        progress: is told how far the work is.

    Raises:
        TileIndexError: the index is damaged, being written, or was made with another model.
        ModelError: the model cannot be loaded.
        UsageError: tile, overlap or min_valid make no sense.
    """
    from ngcg_cli.raster import TileSize

    began = time.monotonic()
    progress = progress or Progress()
    index = TileIndex.open(index_path) if TileIndex.exists(index_path) else None
    if index is not None:
        refuse_other_name(model, index)
    last = index.sources()[-1] if index is not None and index.sources() else None
    settings = {
        "tile": str(TileSize.parse(tile or (last.tile if last else DEFAULT_TILE))),
        "overlap": _first(overlap, last and last.overlap, DEFAULT_OVERLAP),
        "min_valid": _first(min_valid, last and last.min_valid, DEFAULT_MIN_VALID),
    }
    if not 0 <= settings["min_valid"] <= 1:
        raise UsageError(f"--min-valid {settings['min_valid']:g} is not within 0 to 1")

    reports, jobs = _plan(sources, index, settings, force)
    report = IndexReport(
        index=os.fspath(index_path),
        model=index.model.name if index is not None else model_name(model or BUNDLED),
        dim=index.model.dim if index is not None else None,
        sources=reports,
    )
    encoder = load_model(model, device, index) if jobs else None
    if index is None and encoder is not None:
        index = TileIndex.create(index_path, stamp(encoder, model or BUNDLED))
    if index is not None:
        with index.writing():
            if encoder is not None:
                progress.start("indexing", sum(job.windows for job in jobs))
                _work(jobs, index, encoder, batch_size, progress.advance)
            _refresh_graph(index, progress)
        report.dim, report.tiles = index.model.dim, index.tile_count
    report.added = sum(job.report.tiles for job in jobs if job.report.status == "indexed")
    report.seconds = round(time.monotonic() - began, 3)
    return report


def _refresh_graph(index: TileIndex, progress: Progress) -> None:
    """Also when there was nothing to index: a run before may have been cut short just here."""
    begun = False

    def advance(tiles: int) -> None:
        nonlocal begun
        if not begun:
            progress.start("graph", index.tile_count)
            begun = True
        progress.advance(tiles)

    index.refresh_graph(advance)


def _first(*values: Any) -> Any:
    return next(value for value in values if value is not None)


# --- planning: what is there to do? ----------------------------------------------------------


def _plan(
    sources: list[str], index: TileIndex | None, settings: dict[str, Any], force: bool
) -> tuple[list[SourceReport], list[_Job]]:
    """A report for each raster, in order and once each, and a job for each that needs work.

    Every raster in need of work is opened and cut here, before the model is loaded: mistyped names
    are told at once, and the time left is known.
    """
    known = {} if index is None else {record.path: record for record in index.sources()}
    reports: list[SourceReport] = []
    jobs: list[_Job] = []
    for path in _rasters(sources, reports):
        record = _record(path, settings)
        old = known.get(path)
        if old is not None and not force and old.up_to_date(record):
            reports.append(SourceReport(path, "unchanged", old.tiles))
            continue
        # If it fails, the tiles of an earlier run stay.
        report = SourceReport(path, "indexed", old.tiles if old else 0)
        reports.append(report)
        try:
            windows = _count_windows(path, settings)
        except UsageError:
            raise
        except NgcgError as error:
            _fail(report, error)
        else:
            jobs.append(_Job(record, report, windows, left=windows))
    return reports, jobs


def _rasters(sources: list[str], reports: list[SourceReport]) -> Iterator[str]:
    """The rasters that the sources name, each once; folders without any are reported as failed."""
    from ngcg_cli.raster import find_rasters

    seen: set[str] = set()
    for source in sources:
        name = os.path.abspath(source) if is_local(source) else source
        try:
            found = find_rasters(name)
        except NgcgError as error:
            reports.append(SourceReport(name, "indexed"))
            _fail(reports[-1], error)
            continue
        for path in found:
            identity = os.path.realpath(path) if is_local(path) else path
            if identity not in seen:
                seen.add(identity)
                yield path


def is_local(source: str) -> bool:
    """Whether a SOURCE is a path of this file system rather than a URL, `/vsi` path or the like.

    Of those GDAL alone can tell what they are, so they are passed on as they stand.
    """
    if os.path.exists(source):
        return True
    scheme, colon, _ = source.partition(":")
    return not source.startswith("/vsi") and not (colon and len(scheme) > 1 and "/" not in scheme)


def _record(path: str, settings: dict[str, Any]) -> SourceRecord:
    try:
        facts = os.stat(path)
    except (OSError, ValueError):  # remote, or missing, which opening it will tell
        return SourceRecord(path, None, None, **settings)
    return SourceRecord(path, facts.st_size, facts.st_mtime_ns, **settings)


def _count_windows(path: str, settings: dict[str, Any]) -> int:
    from ngcg_cli.raster import Raster, TileSize

    with Raster.open(path) as raster:
        return len(raster.grid(TileSize.parse(settings["tile"]), settings["overlap"]))


def _fail(report: SourceReport, error: Exception) -> None:
    if report.status == "failed":
        return
    report.status = "failed"
    if isinstance(error, NgcgError):
        report.reason = f"{error.what.rstrip('.')}. {error.hint}" if error.hint else error.what
    else:
        report.reason = f"{type(error).__name__}: {error}"
    report.reason = " ".join(report.reason.split())
    logger.error("%s: %s", report.path, report.reason)
    logger.debug("reading %s failed", report.path, exc_info=error)


# --- the work: read ahead, embed, commit -----------------------------------------------------


def _work(
    jobs: list[_Job],
    index: TileIndex,
    encoder: Encoder,
    batch_size: int,
    advance: Callable[[int], None],
) -> None:
    """Embeds all tiles in batches that run across sources, and commits each source when done."""
    batch: list[tuple[_Job, np.ndarray]] = []

    def embed() -> None:
        vectors = encoder.encode_images([pixels for _, pixels in batch], batch_size=batch_size)
        for (job, _), vector in zip(batch, vectors, strict=True):
            job.vectors.append(vector)
            done(job, 1)
        batch.clear()

    def done(job: _Job, windows: int) -> None:
        job.left -= windows
        advance(windows)
        if job.left == 0:
            _commit(job, index)

    plans = [Plan.of(job.record, job.windows) for job in jobs]
    with closing(read_ahead(plans, max_side=2 * encoder.image_size)) as chunks:
        for chunk in chunks:
            job = jobs[chunk.source]
            if chunk.error is not None:
                _fail(job.report, chunk.error)
            if job.report.status == "failed":
                done(job, chunk.windows)
                continue
            pixels, chunk.pixels = chunk.pixels, []
            job.chunks.append(chunk)
            done(job, chunk.windows - len(pixels))
            for tile in pixels:
                batch.append((job, tile))
                if len(batch) == batch_size:
                    embed()
        if batch:
            embed()


def _commit(job: _Job, index: TileIndex) -> None:
    """Puts a source with all its tiles into the index; of a failed one nothing is kept."""
    if job.report.status != "failed":
        tiles = join(job.chunks)
        index.put(job.record, tiles, np.array(job.vectors, np.float32).reshape(-1, index.model.dim))
        job.report.tiles = len(tiles)
        if not len(tiles):
            logger.warning("%s: no tile holds enough data to be indexed", job.record.path)
    job.chunks, job.vectors = [], []
