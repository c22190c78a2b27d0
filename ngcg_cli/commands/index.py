"""`ngcg index`: rasters into an index."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ngcg_cli.commands.options import (
    DEFAULT_INDEX,
    AssetOption,
    DeviceOption,
    DimOption,
    DriverOption,
    IndexModelOption,
    IndexOption,
    IndexPrecisionOption,
    JsonOption,
    StacFetchOption,
)
from ngcg_cli.journeys import defaults
from ngcg_cli.plain import json_text

if TYPE_CHECKING:
    from ngcg_cli.journeys.estimating import Estimate
    from ngcg_cli.journeys.indexing import IndexReport


def index(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE",
            help="A raster of an allowed format (file, /vsi..., s3://, https://), a folder that is "
            "searched for *.tif, *.tiff, *.vrt and *.jp2, or a STAC item, collection or catalog "
            "(.json, URL) or table of items (.parquet; needs 'ngcg[stac]').",
            show_default=False,
        ),
    ],
    tile: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="Side of a tile: 224px, 100m on the ground, or auto: tiles of 100 m (at least 100 "
            "pixels), and fewer of 300 m and 900 m.",
            show_default="as before, auto for a new index",
        ),
    ] = None,
    overlap: Annotated[
        float | None,
        typer.Option(
            metavar="FRACTION",
            help="Share of a tile's side that the next tile overlaps.",
            show_default="as before, 0.25 for a new index",
        ),
    ] = None,
    min_valid: Annotated[
        float | None,
        typer.Option(
            metavar="FRACTION",
            help="Skip tiles in which a smaller share of the pixels holds data.",
            show_default="as before, 0.25 for a new index",
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Index unchanged rasters again, too.")
    ] = False,
    prune: Annotated[
        bool,
        typer.Option(
            "--prune", help="Drop rasters from the index that are no longer under SOURCE."
        ),
    ] = False,
    wait: Annotated[
        bool,
        typer.Option(
            "--wait/--no-wait", help="Wait for another process that writes this index, or give up."
        ),
    ] = False,
    driver: DriverOption = None,
    asset: AssetOption = None,
    fetch: StacFetchOption = False,
    block: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=1,
            help="Commit after so many tiles, or after 10 seconds.",
        ),
    ] = defaults.BLOCK_TILES,
    engine: Annotated[
        str,
        typer.Option(
            "--engine",
            metavar="local|ray|ray://HOST:PORT",
            help="Where rasters are read and embedded: in this process, or on Ray (needs "
            "'ngcg[ray]').",
        ),
    ] = "local",
    index: IndexOption = DEFAULT_INDEX,
    model: IndexModelOption = None,
    device: DeviceOption = "auto",
    precision: IndexPrecisionOption = "auto",
    dim: DimOption = None,
    batch_size: Annotated[
        int, typer.Option("--batch-size", metavar="N", min=1, help="Tiles embedded at once.")
    ] = defaults.BATCH,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Say how many tiles it makes, how long it takes and how much disk; write nothing.",
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Cut rasters into tiles and make them searchable.

    Run again, it adds only what is new or changed; interrupted, it finishes when run again. A file
    that was moved keeps its tiles. What cannot be read is named, and the exit status is 3.

    \b
    Example:
      ngcg index region.tif
      ngcg index photos/ mosaic.vrt --tile 100m --index town-index
      ngcg index photos/ --prune
      ngcg index photos/ --dry-run
      ngcg index catalog.json --asset visual
    """
    from ngcg_cli.output.progress import LiveProgress

    asked: dict[str, Any] = {
        "model": model,
        "tile": tile,
        "overlap": overlap,
        "min_valid": min_valid,
        "device": device,
        "precision": precision,
        "dim": dim,
        "batch_size": batch_size,
        "force": force,
        "drivers": driver or (),
        "asset": asset,
        "fetch": fetch,
    }
    report: IndexReport | Estimate
    if dry_run:
        from ngcg_cli.journeys.estimating import estimate
        from ngcg_cli.output.indexing import estimate_text, log_passed_over

        with LiveProgress("rasters") as progress:
            report = estimate(sources, index, progress=progress, **asked)
        log_passed_over(report.passed_over)
        typer.echo(json_text(report.as_json()) if as_json else estimate_text(report))
        partly, every = False, report.reports
    else:
        from ngcg_cli.journeys.indexing import index_sources
        from ngcg_cli.output.indexing import log_summary

        with _termination_interrupts(), LiveProgress("tiles") as progress:
            report = index_sources(
                sources,
                index,
                block_tiles=block,
                prune=prune,
                wait=wait,
                engine=engine,
                progress=progress,
                **asked,
            )
        log_summary(report)
        if as_json:
            typer.echo(json_text(report.as_json()))
        partly, every = report.partly, report.sources
    failed = report.count("failed")
    if failed or partly:
        raise typer.Exit(1 if failed == len(every) else 3)


@contextlib.contextmanager
def _termination_interrupts() -> Iterator[None]:
    """Lets SIGTERM, by which systems end a job, do what Ctrl-C does: commit and tell."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
