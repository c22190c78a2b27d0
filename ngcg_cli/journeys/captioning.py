"""A region without captions gets some: tiles -> a generative model -> rows that `train` takes."""

from __future__ import annotations

import hashlib
import logging
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from ngcg_cli import items
from ngcg_cli.answers.captions import STYLES, Filter, ask
from ngcg_cli.answers.cost import Cost
from ngcg_cli.choices import CaptionStyle
from ngcg_cli.errors import NgcgError, RasterError, TileIndexError, UsageError
from ngcg_cli.items import StrPath
from ngcg_cli.journeys import trust
from ngcg_cli.journeys.caption_file import CaptionFile, Window, picture_name
from ngcg_cli.journeys.finding import Choice
from ngcg_cli.journeys.indexing import cut_settings
from ngcg_cli.journeys.model import model_name
from ngcg_cli.journeys.planning import make_plan
from ngcg_cli.progress import Progress
from ngcg_cli.raster.kept import KeptOpen
from ngcg_cli.search import index_exists, open_index

if TYPE_CHECKING:
    import numpy as np

    from ngcg_cli.encoder.generator import Generator
    from ngcg_cli.encoder.precision import PrecisionChoice

logger = logging.getLogger(__name__)

#: Tiles that the model is shown, and whose rows are added, at once.
BATCH = 8
#: A picture's longer side at most, in pixels: what the largest supported models see of a tile.
_SIDE = 512
_MOST_OPEN = 32


class Tile(NamedTuple):
    """A window of a source, and the name of its picture."""

    source: str
    window: Window
    picture: str


@dataclass
class CaptionReport:
    """What a run did.

    Attributes:
        tiles: that were asked for, those of earlier runs included.
        before: of these, done by earlier runs.
        rows: tiles that got captions in this run, a row each.
        captions: written in this run.
        dropped: captions left out in this run, by why; `no_data` counts tiles.
        unreadable: tiles whose pixels cannot be read; the next run tries them again.
        failed: sources that cannot be opened, or lost tiles of a damaged index.
    """

    out: str
    model: str
    tiles: int = 0
    before: int = 0
    rows: int = 0
    captions: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    unreadable: int = 0
    failed: int = 0
    seconds: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """The object that `ngcg caption --json` prints."""
        return {**vars(self), "dropped": dict(sorted(self.dropped.items()))}


def caption(
    sources: StrPath | Iterable[StrPath],
    out: StrPath,
    *,
    model: str,
    styles: str | Sequence[str] = "short",
    limit: int | None = None,
    tile: str | None = None,
    overlap: float | None = None,
    min_valid: float | None = None,
    drivers: Iterable[str] = (),
    asset: str | None = None,
    fetch: bool = False,
    device: str = "auto",
    precision: PrecisionChoice = "auto",
    batch_size: int = BATCH,
    progress: Progress | None = None,
) -> CaptionReport:
    """Writes captions of an index's or of rasters' tiles, as rows that `train` takes.

    Run again with the same `out`, it goes on where it ended, however that was.

    Args:
        sources: one index, or rasters and folders, which are cut as `index_sources` would.
        out: the JSON Lines file; pictures go into a folder beside it.
        model: name, id or path of a model that converses.
        styles: of `short`, `long` and `attributes`; a tile gets a caption of each.
        limit: so many tiles at most, spread over all; a larger one later adds to them.
        tile, overlap, min_valid, drivers, asset, fetch: of rasters, see `index_sources`.
        device: where the model runs.
        precision: what it computes in.
        batch_size: tiles that it is shown at once.
        progress: is told how far the work is.

    Raises:
        ModelError: the model cannot be loaded, or does not converse.
        UsageError: options make no sense, or `out` is not ours.
        NgcgError: there are no tiles, or a file cannot be written.
    """
    began = time.monotonic()
    progress = progress or Progress()
    names = items.paths(sources)
    (where,) = items.paths(out)
    chosen = [_style(style) for style in dict.fromkeys(items.texts(styles))]
    if drivers := items.texts(drivers):
        from ngcg_cli.raster.drivers import allow

        allow(drivers)
    report = CaptionReport(where, model_name(model))
    made_by = {"model": report.model, "styles": chosen, "precision": precision}
    cut = None
    if any(map(index_exists, names)):
        if len(names) > 1:
            raise UsageError("an index stands alone", hint="Name one index, or rasters.")
        if (tile, overlap, min_valid) != (None, None, None):
            raise UsageError("--tile, --overlap and --min-valid: the index has its tiles already")
    else:
        cut = cut_settings(None, tile, overlap, min_valid)
    file = CaptionFile(Path(where), {**made_by, **({"cut": cut} if cut else {})})
    tiles = (
        _of_index(names[0], report)
        if cut is None
        else _of_rasters(names, cut, Choice(asset, fetch), report, progress)
    )
    if not tiles:
        raise TileIndexError(
            "has no tiles to be captioned", where=names[0], hint="See ngcg info, or ngcg index."
        )
    tiles = _spread(tiles, limit)
    report.tiles = len(tiles)
    with file:
        todo = [each for each in tiles if each.picture not in file.done]
        report.before = len(tiles) - len(todo)
        if todo:
            least = 0.0 if cut is None else cast("float", cut["min_valid"])
            _write(
                todo, file, chosen, least, (model, device, precision), batch_size, report, progress
            )
    report.seconds = round(time.monotonic() - began, 3)
    return report


def _style(word: str) -> CaptionStyle:
    if word not in STYLES:
        raise UsageError(f"--style {word!r} is none of {', '.join(STYLES)}")
    return word


def _of_index(name: str, report: CaptionReport) -> list[Tile]:
    index = open_index(name)
    trust.allow_servers(name)
    report.failed = len(index.damaged())
    return [
        _tile(block.source.path, window)
        for block in index.blocks()
        for window in block.tiles.window
    ]


def _of_rasters(
    names: list[str],
    cut: dict[str, Any],
    choice: Choice,
    report: CaptionReport,
    progress: Progress,
) -> list[Tile]:
    from ngcg_cli.raster import Raster, TileSize
    from ngcg_cli.raster.servers import allow, servers

    tiles = []
    plan = make_plan(names, None, cut, force=False, prune=False, choice=choice, progress=progress)
    with closing(plan):
        for job in plan.jobs:
            opened, job.raster = job.raster, None
            with opened or Raster.open(job.path) as raster:
                windows = raster.grid(TileSize.parse(cut["tile"]), cut["overlap"])
                tiles += [_tile(job.path, window) for window in windows]
            allow(servers(job.path))
        failed = [each for each in plan.reports if each.status == "failed"]
        report.failed = len(failed)
        if failed and not tiles:
            raise NgcgError("none of the sources can be read")
    return tiles


def _tile(source: str, window: Iterable[Any]) -> Tile:
    column, row, width, height = map(int, window)
    place = (column, row, width, height)
    return Tile(source, place, picture_name(source, place))


def _spread(tiles: list[Tile], limit: int | None) -> list[Tile]:
    """So many of the tiles, all over the region and in their order; of more, these are a part."""
    if limit is None or limit >= len(tiles):
        return tiles

    def drawn(at: int) -> str:
        return hashlib.sha256(tiles[at].picture.encode()).hexdigest()

    return [tiles[at] for at in sorted(sorted(range(len(tiles)), key=drawn)[:limit])]


def _write(
    todo: list[Tile],
    file: CaptionFile,
    styles: list[CaptionStyle],
    min_valid: float,
    how: tuple[str, str, PrecisionChoice],
    batch_size: int,
    report: CaptionReport,
    progress: Progress,
) -> None:
    from ngcg_cli.encoder.generator import open_generator

    model, device, precision = how
    logger.info("loading %s", model, extra={"wait": True})
    generator = open_generator(model, device, precision=precision)
    generator.batch = batch_size
    done = f", {report.before:,} are done" if report.before else ""
    cost = Cost(
        f"{model} writes {', '.join(styles)} captions of {len(todo):,} tiles{done}", len(todo)
    )
    progress.start("captions", len(todo))
    keep = Filter(file.captions)
    told: set[str] = set()
    try:
        with KeptOpen(most=_MOST_OPEN) as rasters:
            for start in range(0, len(todo), batch_size):
                batch = todo[start : start + batch_size]
                _batch(batch, generator, file, keep, styles, min_valid, rasters, report, told)
                progress.at(batch[-1].source)
                progress.advance(len(batch))
                cost.done(len(batch))
    except KeyboardInterrupt:
        logger.warning(
            "stopped: %s rows of this run are in %s; give the same command again to go on",
            f"{report.rows:,}",
            file.path,
        )
        raise


def _batch(
    batch: list[Tile],
    generator: Generator,
    file: CaptionFile,
    keep: Filter,
    styles: list[CaptionStyle],
    min_valid: float,
    rasters: KeptOpen,
    report: CaptionReport,
    told: set[str],
) -> None:
    seen: list[tuple[Tile, np.ndarray, dict[str, Any]]] = []
    dropped: list[dict[str, Any]] = []
    for tile in batch:
        try:
            pixels, place = _look(tile, rasters, min_valid)
        except RasterError as error:
            report.unreadable += 1
            if str(error) not in told:  # one that is gone would be told for each of its tiles
                told.add(str(error))
                logger.error("not captioned: %s", error)
            continue
        if pixels is None:
            report.dropped["no_data"] += 1
            dropped.append({"image": tile.picture, "reason": "no_data"})
        else:
            seen.append((tile, pixels, place))
    said = ask(generator, [pixels for _, pixels, _ in seen], styles)
    kept = []
    for (tile, pixels, place), captions in zip(seen, said, strict=True):
        faults = [keep.fault(text) for text in captions]
        report.dropped.update(fault for fault in faults if fault is not None)
        good = [text for text, fault in zip(captions, faults, strict=True) if fault is None]
        if good:
            kept.append((tile.picture, pixels, {"captions": good, **place}))
            report.captions += len(good)
        else:
            dropped.append({"image": tile.picture, "reason": faults[0], "captions": captions})
    file.add(kept, dropped)
    report.rows += len(kept)


def _look(
    tile: Tile, rasters: KeptOpen, min_valid: float
) -> tuple[np.ndarray | None, dict[str, Any]]:
    """A tile's pixels, None where it holds too little data; and what its row says of its place."""
    from ngcg_cli.raster import Window as Area

    raster, area = rasters.raster(tile.source), Area(*tile.window)
    if raster.empty(area):
        return None, {}
    footprints = raster.footprints([area])
    pixels, valid = raster.read(area, max_side=_SIDE)
    if not footprints.placed[0] or valid <= 0 or valid < min_valid:
        return None, {}
    return pixels, {
        "lon": round(float(footprints.lon[0]), 7),
        "lat": round(float(footprints.lat[0]), 7),
        "source": tile.source,
        "window": list(tile.window),
    }
