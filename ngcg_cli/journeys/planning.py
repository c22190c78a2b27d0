"""What is there to do: which sources are new, changed, moved, unfinished, gone."""

from __future__ import annotations

import logging
import math
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from ngcg_cli.errors import NgcgError, RasterError, UsageError
from ngcg_cli.journeys.files import content_of, is_gone, with_facts
from ngcg_cli.journeys.finding import Choice, find, gone_under
from ngcg_cli.progress import Progress
from ngcg_cli.search import SourceRecord, Store

if TYPE_CHECKING:
    from ngcg_cli.raster import Raster
    from ngcg_cli.stac import Picked

logger = logging.getLogger(__name__)

_HASHERS = min(4, os.cpu_count() or 1)
# Rasters that stay open from the planning to their reading; each takes a file and its header.
_KEPT_OPEN = 64

# What a STAC item tells of a source.
_OF_ITEM = ("item", "catalog", "acquired", "revision")

Status = Literal["indexed", "unchanged", "failed"]


@dataclass
class SourceReport:
    """What became of a source.

    Attributes:
        reason: why it failed, or what of it could not be read.
        moved_from: the path under which an earlier run found it.
    """

    path: str
    status: Status
    tiles: int = 0
    reason: str | None = None
    moved_from: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Its row in the `--json` object."""
        return {
            name: value
            for name, value in vars(self).items()
            if value is not None or name in ("path", "status", "tiles")
        }

    def fail(self, error: Exception) -> None:
        """Marks it as failed, once, and says why."""
        if self.status == "failed":
            return
        self.status = "failed"
        if isinstance(error, NgcgError):
            reason = f"{error.what.rstrip('.')}. {error.hint}" if error.hint else error.what
        else:
            reason = f"{type(error).__name__}: {error}"
        self.reason = " ".join(reason.split())
        logger.error("%s: %s", self.path, self.reason)
        logger.debug("reading %s failed", self.path, exc_info=error)


@dataclass
class Job:
    """A raster to be indexed, and how far it is.

    Attributes:
        record: what the index shall know of it.
        windows: size of its grid.
        start: windows that an earlier run has done.
        fresh: whether tiles of the same path that are in the index have to go.
        raster: left open by the planning, for the reader.
        done: windows that have been looked at, those of earlier runs included.
        tiles: how many hold enough data, in this run.
        readable: windows that were read, or are known to be empty.
        skipped: of each window that could not be read, or the first few, which and why.
        left_out: how many could not be read.
        nowhere: how many have their centre off the Earth.
    """

    record: SourceRecord
    report: SourceReport
    windows: int
    start: int = 0
    fresh: bool = True
    raster: Raster | None = None
    done: int = 0
    tiles: int = 0
    readable: int = 0
    skipped: list[str] = field(default_factory=list)
    left_out: int = 0
    nowhere: int = 0

    def __post_init__(self) -> None:
        self.done = self.start

    @property
    def path(self) -> str:
        """The raster's path."""
        return self.record.path

    @property
    def failed(self) -> bool:
        """Whether nothing more is to be done for it."""
        return self.report.status == "failed"

    def conclude(self) -> None:
        """Tells what is wrong with the source, now that all of it was seen."""
        left_out = self.record.skipped + self.left_out
        if self.nowhere:
            logger.warning(
                "%s: %s of its %s windows have their centre off the Earth and are left out",
                self.path,
                f"{self.nowhere:,}",
                f"{self.windows:,}",
            )
        if self.left_out and not self.readable and not self.start:
            from ngcg_cli.raster.gdal import DAMAGED

            what = f"none of its windows can be read: {self.skipped[0]}"
            self.report.fail(RasterError(what, hint=DAMAGED))
        elif left_out:
            more = "; ..." if left_out > len(self.skipped) else ""
            told = "; ".join(self.skipped)
            reason = f"{left_out:,} of its {self.windows:,} windows left out: {told}{more}"
            self.report.reason = " ".join(reason.split())
            logger.error("%s: %s", self.path, self.report.reason)
        elif not self.tiles and not self.start:
            logger.warning(
                "%s: no tile holds enough data to be indexed; gdalinfo -stats tells what its "
                "nodata value, mask or alpha band hides",
                self.path,
            )


@dataclass
class Plan:
    """The work.

    Attributes:
        reports: a report for each raster, in order and once each.
        jobs: the rasters to be read.
        renames: old path and new record of what was moved or merely touched.
        gone: paths to be dropped.
        doubts: what speaks against reading rasters as asked, and which.
    """

    reports: list[SourceReport] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)
    renames: list[tuple[str, SourceRecord]] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    doubts: dict[str, list[str]] = field(default_factory=dict)

    def close(self) -> None:
        """Closes the rasters that nobody has read."""
        for job in self.jobs:
            if job.raster is not None:
                job.raster.close()


def make_plan(
    sources: list[str],
    index: Store | None,
    settings: dict[str, Any],
    *,
    force: bool,
    prune: bool,
    choice: Choice,
    progress: Progress,
) -> Plan:
    """Looks at all rasters that the sources name.

    Those in need of work are opened and cut here, before the model is loaded: mistyped names are
    told at once, and the time left is known.

    Args:
        settings: how to cut: `tile`, `overlap`, `min_valid`.
        force: index also what is unchanged.
        prune: drop what was found under these sources once and is there no more.
        choice: how to take rasters from STAC files.
        progress: is told what has been listed, compared and opened.
    """
    known = {} if index is None else {record.path: record for record in index.sources()}
    plan = Plan()
    found = find(sources, known, choice, progress)
    gone = set(gone_under(sources, known, found)) if prune else set()
    wanted = [
        with_facts(_record(path, found.items.get(path), settings))
        for path in found.paths
        if path not in found.failed and path not in gone
    ]
    contents: dict[str, str | None] = {}
    earlier = {} if force else _earlier(wanted, known, contents, progress)
    plan.reports = [SourceReport(path, "indexed") for path in found.paths if path not in gone]
    reports = {report.path: report for report in plan.reports}
    for path, error in found.failed.items():
        if path in reports:
            reports[path].fail(error)
    done = {path for path, same in earlier.items() if same.complete}
    if len(done) < len(wanted):
        progress.start("opening", len(wanted) - len(done), "rasters")
    for record in wanted:
        opens = record.path not in done
        if opens:
            progress.at(record.path)
        record = replace(record, content=contents.get(record.path))
        _plan_one(plan, record, reports[record.path], known, earlier)
        if opens:
            progress.advance(1)
    for doubt, (first, *others) in plan.doubts.items():
        more = f" and {len(others):,} more" if others else ""
        logger.warning("%s%s: %s", first, more, doubt)
    moved = {old for old, _ in plan.renames}
    plan.gone = sorted(gone - moved)
    return plan


def _record(path: str, item: Picked | None, settings: dict[str, Any]) -> SourceRecord:
    told = {} if item is None else {name: getattr(item, name) for name in _OF_ITEM}
    return SourceRecord(path, None, None, **settings, **told)


def _plan_one(
    plan: Plan,
    record: SourceRecord,
    report: SourceReport,
    known: dict[str, SourceRecord],
    earlier: dict[str, SourceRecord],
) -> None:
    from ngcg_cli.raster import Raster, TileSize

    if record.path in known:
        report.tiles = known[record.path].tiles  # if it fails, those of an earlier run stay
    same = earlier.get(record.path)
    if same is not None:
        _keep(plan, record, same, report)
        if same.complete:
            return
    try:
        raster = Raster.open(record.path)
        tile = TileSize.parse(record.tile)
        windows = len(raster.grid(tile, record.overlap))
    except UsageError:
        raise
    except Exception as error:  # whatever a hostile file provokes, the other sources go on
        report.fail(error)
        return
    for doubt in raster.doubts(tile):
        plan.doubts.setdefault(doubt, []).append(record.path)
    record = replace(record, acquired=record.acquired or raster.acquired, gsd=_gsd(raster))
    job = Job(record, report, windows)
    if same is not None and same.windows == windows:
        record = replace(record, content=same.content, skipped=same.skipped)
        job = Job(record, report, windows, start=same.done, fresh=False)
    if len(plan.jobs) < _KEPT_OPEN:
        job.raster = raster
    else:
        raster.close()
    plan.jobs.append(job)


def _gsd(raster: Raster) -> float | None:
    """Metres a pixel, of both sides one number; six digits, as nobody knows it better."""
    metres = float(f"{math.sqrt(raster.gsd[0] * raster.gsd[1]):.6g}")
    return metres if 0 < metres < math.inf else None


def _keep(plan: Plan, record: SourceRecord, same: SourceRecord, report: SourceReport) -> None:
    """Keeps the tiles that an earlier run has made of a source, under its path of today."""
    # What no item has told now was told by one before, or never.
    names = ("path", "size", "mtime_ns", *(name for name in _OF_ITEM if getattr(record, name)))
    facts = {name: getattr(record, name) for name in names}
    report.tiles = same.tiles
    if same.complete:
        report.status = "unchanged"
    if any(getattr(same, name) != value for name, value in facts.items()):
        plan.renames.append((same.path, replace(same, **facts)))
    if same.path != record.path:
        report.moved_from = same.path
        logger.info("%s: moved from %s, its tiles are kept", record.path, same.path)
    if same.complete and same.skipped:
        report.reason = f"{same.skipped:,} of its windows could not be read when it was indexed"


def _earlier(
    wanted: list[SourceRecord],
    known: dict[str, SourceRecord],
    contents: dict[str, str | None],
    progress: Progress,
) -> dict[str, SourceRecord]:
    """For each path that an earlier run has worked on, complete or not, the record of that work.

    The cheap signs come first: path, size and time. Where the size alone fits the contents are
    compared, with the source of the same path or with those that are gone; they are kept in
    `contents`, so that none is read twice for it.
    """
    found: dict[str, SourceRecord] = {}
    doubtful: list[tuple[SourceRecord, list[SourceRecord]]] = []
    gone = [old for old in known.values() if old.content is not None and is_gone(old.path)]
    for record in wanted:
        old = known.get(record.path)
        if old is not None and _cut_alike(old, record) and _unchanged(old, record):
            found[record.path] = old
            continue
        alike = [
            other
            for other in (gone if old is None else [old])
            if other.content is not None and other.size == record.size and _cut_alike(other, record)
        ]
        if alike:
            doubtful.append((record, alike))
    if not doubtful:
        return found
    progress.start("comparing", len(doubtful), "rasters")
    taken: set[str] = set()
    with ThreadPoolExecutor(_HASHERS, thread_name_prefix="hasher") as pool:
        found_contents = pool.map(lambda pair: content_of(pair[0].path), doubtful)
        for (record, alike), content in zip(doubtful, found_contents, strict=True):
            contents[record.path] = content
            progress.advance(1)
            for other in alike:
                if content is not None and other.content == content and other.path not in taken:
                    taken.add(other.path)
                    found[record.path] = other
                    break
    return found


def _cut_alike(one: SourceRecord, other: SourceRecord) -> bool:
    return (one.tile, one.overlap, one.min_valid) == (other.tile, other.overlap, other.min_valid)


def _unchanged(old: SourceRecord, record: SourceRecord) -> bool:
    """Whether a source of the same path is the one that was indexed, by what is cheap to know."""
    revisions = {old.revision, record.revision} - {None}
    return (old.size, old.mtime_ns) == (record.size, record.mtime_ns) and len(revisions) < 2
