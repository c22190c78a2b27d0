"""From rasters to an index: plan, read ahead, embed in batches, commit in blocks."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ngcg_cli import items
from ngcg_cli.errors import TileIndexError, UsageError
from ngcg_cli.items import StrPath
from ngcg_cli.journeys import defaults, trust
from ngcg_cli.journeys.committing import Committer
from ngcg_cli.journeys.embedding import embed
from ngcg_cli.journeys.finding import Choice
from ngcg_cli.journeys.model import (
    BUNDLED,
    load_model,
    loadable,
    model_name,
    refuse_other_dim,
    refuse_other_name,
    refuse_other_precision,
    stamp,
)
from ngcg_cli.journeys.on_ray import address_of, embed_on_ray
from ngcg_cli.journeys.planning import Job, Plan, SourceReport, Status, make_plan
from ngcg_cli.journeys.reading import CHUNK, Chunk, read_ahead
from ngcg_cli.progress import Progress
from ngcg_cli.search import Store, create_index, index_exists, open_index
from ngcg_cli.search.lock import LOCK

if TYPE_CHECKING:
    from ngcg_cli.encoder.encoder import Encoder
    from ngcg_cli.encoder.precision import PrecisionChoice

logger = logging.getLogger(__name__)


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
    dim: int | None = None,
    batch_size: int = defaults.BATCH,
    block_tiles: int = defaults.BLOCK_TILES,
    force: bool = False,
    prune: bool = False,
    wait: bool = False,
    drivers: Iterable[str] = (),
    asset: str | None = None,
    fetch: bool = False,
    engine: str = "local",
    progress: Progress | None = None,
) -> IndexReport:
    """Adds rasters to an index, which is made if it is not there.

    What is embedded is committed in blocks, so that an interruption loses seconds of work, and the
    next run goes on from there. Sources that cannot be read are reported as failed and the rest
    goes on; a window that cannot be read is left out and named.

    Args:
        sources: rasters, folders of them, STAC files; one alone may be given as it is.
        index_path: the index folder.
        model: name or path, None for the index's own (`tiny` for a new one).
        tile: tile size with its unit; None for what the index remembers, else auto.
        overlap: fraction of a tile shared with the next; None likewise, else 0.25.
        min_valid: least share of valid pixels for a tile to be taken; None likewise, else 0.25.
        device: where the model runs.
        precision: what the model computes in; `auto` is the index's own, else the device's.
        dim: components of a vector that are kept, where the model was trained for fewer; None for
            the index's own, else all.
        batch_size: tiles embedded at once.
        block_tiles: tiles committed at once.
        force: index also what is unchanged.
        prune: drop from the index what lay under the sources once and is gone.
        wait: for another process that writes the index, instead of giving up.
        drivers: further drivers of GDAL that may open rasters, from now on in this process.
        asset: of STAC items, the asset to index: its name, or a pattern; None picks by role.
        fetch: read also from servers that only a STAC file names.
        engine: `local`; `ray` reads and embeds on a Ray of this machine, `ray://HOST:PORT` on that
            cluster.
        progress: is told how far the work is.

    Raises:
        TileIndexError: the index is damaged, being written, or was made with another model; or a
            block cannot be committed (those before it are).
        ModelError: the model cannot be loaded.
        UsageError: tile, overlap or min_valid make no sense.
    """
    began = time.monotonic()
    address = address_of(engine)
    progress = progress or Progress()
    names = items.paths(sources)
    (index_path,) = items.paths(index_path)
    report = IndexReport(index_path, "", None, pruned=0 if prune else None)
    if drivers := items.texts(drivers):
        from ngcg_cli.raster.drivers import allow

        allow(drivers)

    def plan_for(index: Store | None) -> Plan:
        cut = cut_settings(index, tile, overlap, min_valid)
        choice = Choice(asset, fetch)
        return make_plan(
            names, index, cut, force=force, prune=prune, choice=choice, progress=progress
        )

    with ExitStack() as stack:
        index = open_index(index_path) if index_exists(index_path) else None
        if index is None:
            refuse_foreign(index_path)
        else:
            refuse_other_name(model, index)
            refuse_other_precision(precision, index)
            refuse_other_dim(dim, index)
            # Planned only then: a writer that was waited for has done part of the work.
            stack.enter_context(index.writing(wait=wait))
        plan = stack.enter_context(closing(plan_for(index)))
        encoder = None
        if plan.jobs:
            encoder = load_model(model, device, index, precision=precision, dim=dim)
        if index is None and encoder is not None:
            own = stamp(encoder, model or BUNDLED)
            index = create_index(index_path, own, wait=wait)
            trust.remember(index.path, index.model.name)
            stack.enter_context(index.writing(wait=wait))
            if index.sources():  # another run has made it meanwhile, and done its work
                refuse_other_name(model, index)
                refuse_other_precision(precision, index)
                index.check_model(own)
                plan = stack.enter_context(closing(plan_for(index)))
        report.sources = plan.reports
        report.model = index.model.name if index is not None else model_name(model or BUNDLED)
        if index is not None:
            # Not those of what failed: nobody but a STAC file may have named their servers.
            trust.remember_servers(
                index.path, (each.path for each in plan.reports if each.status != "failed")
            )

            def read_and_embed(committer: Committer) -> None:
                assert encoder is not None
                hand_on = _counting(plan.jobs, committer, progress)
                if address is None:
                    _embed(plan.jobs, encoder, batch_size, hand_on)
                    return
                embed_on_ray(
                    plan.jobs,
                    encoder,
                    model or loadable(index.model),
                    hand_on,
                    address=address,
                    device=device,
                    batch_size=batch_size,
                    drivers=items.texts(drivers),
                )

            work = read_and_embed if encoder is not None else None
            _work(plan, index, work, block_tiles, progress, report)
            report.dim, report.tiles = index.model.dim, index.tile_count
    report.seconds = round(time.monotonic() - began, 3)
    return report


def refuse_foreign(folder: str) -> None:
    """Refuses a folder that holds other things than an index, before a byte is written to it."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        # What a creation cut short leaves behind is hidden, or the lock.
        theirs = sorted(
            entry.name
            for entry in entries
            if not entry.name.startswith((".partial-", LOCK, "manifest.previous"))
        )
        if theirs:
            raise TileIndexError(
                f"is neither empty nor an index: it holds {theirs[0]!r}",
                where=folder,
                hint="Name another folder with --index.",
            )


def cut_settings(
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
    read_and_embed: Callable[[Committer], None] | None,
    block_tiles: int,
    progress: Progress,
    report: IndexReport,
) -> None:
    """Does what was planned, and brings the graph up to date."""
    index.rename_all(plan.renames)
    if report.pruned is not None:
        report.pruned = len(index.drop(plan.gone))
    if read_and_embed is not None:
        progress.start("indexing", sum(job.windows - job.start for job in plan.jobs))
        committer = Committer(index, plan.jobs, block_tiles)
        try:
            with committer:
                read_and_embed(committer)
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


def _counting(jobs: list[Job], committer: Committer, progress: Progress) -> Callable[[Chunk], None]:
    """What takes a chunk that is embedded: it goes to the committer, and is told."""
    left = {job.path: job.windows - job.start for job in jobs}

    def hand_on(chunk: Chunk) -> None:
        committer.put(chunk)
        looked_at = left[chunk.path] if chunk.error is not None else chunk.windows
        left[chunk.path] -= looked_at
        progress.at(chunk.path)
        progress.advance(looked_at)

    return hand_on


def _embed(
    jobs: list[Job], encoder: Encoder, batch_size: int, hand_on: Callable[[Chunk], object]
) -> None:
    """Reads, embeds and hands on to be committed, all at the same time."""
    # Resized by the readers: what waits is small, and the model's threads have the model alone.
    reading = read_ahead(
        jobs, 2 * encoder.image_size, max(2 * CHUNK, batch_size), prepare=encoder.resized
    )
    with closing(reading) as chunks:
        embed(chunks, encoder, batch_size, hand_on)
