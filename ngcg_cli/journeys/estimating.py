"""What an index run would do and cost: planned as it is, tried on a few tiles, not written."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from ngcg_cli import items
from ngcg_cli.items import StrPath
from ngcg_cli.journeys.finding import Choice
from ngcg_cli.journeys.indexing import cut_settings, refuse_foreign
from ngcg_cli.journeys.model import (
    load_model,
    refuse_other_dim,
    refuse_other_name,
    refuse_other_precision,
)
from ngcg_cli.journeys.planning import Job, SourceReport, make_plan
from ngcg_cli.journeys.reading import READERS, read_source
from ngcg_cli.progress import Progress
from ngcg_cli.search import index_exists, open_index

if TYPE_CHECKING:
    from ngcg_cli.encoder.encoder import Encoder
    from ngcg_cli.encoder.precision import PrecisionChoice

# Sources of which a few windows are read, and batches that are embedded, to tell the time.
_TRIED = 3
# Of a row of a table of tiles on disk, beside the vector.
_ROW_BYTES = 120


@dataclass
class Estimate:
    """What is to be done.

    Attributes:
        sources: rasters to be read.
        tiles: of these, those of earlier runs not counted. Tiles without data are among them.
        seconds: about how long that takes here.
        bytes: about how much larger the index becomes, without a graph.
        reports: a report for each raster, as a run would begin with it.
        passed_over: files in the folders that hold rasters, but are indexed only by name.
    """

    sources: int
    tiles: int
    seconds: float
    bytes: int
    reports: list[SourceReport] = field(default_factory=list)
    passed_over: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """The object that `ngcg index --dry-run --json` prints."""
        names = ("sources", "tiles", "seconds", "bytes")
        return {name: getattr(self, name) for name in names}

    def count(self, status: str) -> int:
        """How many sources have this status."""
        return sum(report.status == status for report in self.reports)


def estimate(
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
    batch_size: int,
    force: bool = False,
    drivers: Iterable[str] = (),
    asset: str | None = None,
    fetch: bool = False,
    progress: Progress | None = None,
) -> Estimate:
    """Plans a run of `index_sources`, whose arguments these are, and writes nothing.

    Raises:
        TileIndexError: the index is damaged, or was made with another model.
        ModelError: the model cannot be loaded.
        UsageError: tile, overlap or min_valid make no sense.
    """
    from ngcg_cli.raster.drivers import allow
    from ngcg_cli.raster.find import passed_over

    progress = progress or Progress()
    names = items.paths(sources)
    (index_path,) = items.paths(index_path)
    if drivers := items.texts(drivers):
        allow(drivers)
    index = open_index(index_path) if index_exists(index_path) else None
    if index is None:
        refuse_foreign(index_path)
    else:
        refuse_other_name(model, index)
        refuse_other_precision(precision, index)
        refuse_other_dim(dim, index)
    with ExitStack() as stack:
        cut = cut_settings(index, tile, overlap, min_valid)
        choice = Choice(asset, fetch)
        plan = make_plan(
            names, index, cut, force=force, prune=False, choice=choice, progress=progress
        )
        stack.enter_context(closing(plan))
        tiles = sum(job.windows - job.start for job in plan.jobs)
        seconds, size = 0.0, 0
        if plan.jobs:
            began = time.monotonic()
            encoder = load_model(model, device, index, precision=precision, dim=dim)
            loading = time.monotonic() - began
            reading = _reading(plan.jobs, 2 * encoder.image_size)
            # The readers and the model work at the same time.
            seconds = loading + tiles * max(reading / READERS, _embedding(encoder, batch_size))
            size = tiles * (4 * encoder.dim + _ROW_BYTES)
    over = sorted({path for name in names for path in passed_over(name)})
    return Estimate(len(plan.jobs), tiles, round(seconds, 3), size, plan.reports, over)


def _reading(jobs: list[Job], max_side: int) -> float:
    """Seconds a window, by the first ones of a few sources."""
    began, windows = time.monotonic(), 0
    for job in jobs[:: max(1, len(jobs) // _TRIED)][:_TRIED]:
        for chunk in islice(read_source(job, max_side), 1):
            windows += chunk.windows
    return (time.monotonic() - began) / max(1, windows)


def _embedding(encoder: Encoder, batch_size: int) -> float:
    """Seconds a tile, by a few batches of grey ones; the first, which warms up, does not count."""
    from ngcg_cli.encoder.streams import encode_batches, share

    streams, size = share(encoder.engine.streams(), batch_size)
    side = encoder.image_size
    batch = [encoder.resized(np.full((side, side, 3), 128, np.uint8))] * size
    batches = [(0, batch)] * (1 + _TRIED) * streams
    embedded = encode_batches(encoder.encode_batch, batches, streams, encoder.engine.enter_stream)
    ended = [time.monotonic() for _ in embedded]
    counted = ended[streams - 1 :]
    return (counted[-1] - counted[0]) / (size * max(1, len(counted) - 1))
