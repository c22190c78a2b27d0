"""`ngcg index`: rasters into an index."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ngcg_cli.commands.options import DeviceOption, IndexModelOption, IndexOption, JsonOption


def index(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE",
            help="A raster that GDAL opens (file, /vsi..., s3://, https://), or a folder that is "
            "searched for *.tif, *.tiff, *.vrt and *.jp2.",
            show_default=False,
        ),
    ],
    tile: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="Side of a tile: 224px, or 100m on the ground.",
            show_default="as before, 224px for a new index",
        ),
    ] = None,
    overlap: Annotated[
        float | None,
        typer.Option(
            metavar="FRACTION",
            help="Share of a tile's side that it has in common with the next.",
            show_default="as before, 0.25 for a new index",
        ),
    ] = None,
    min_valid: Annotated[
        float | None,
        typer.Option(
            metavar="FRACTION",
            help="Skip tiles with a smaller share of pixels that hold data.",
            show_default="as before, 0.25 for a new index",
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Index also what has not changed.")
    ] = False,
    index: IndexOption = Path("ngcg-index"),
    model: IndexModelOption = None,
    device: DeviceOption = "auto",
    batch_size: Annotated[
        int, typer.Option("--batch-size", metavar="N", min=1, help="Tiles embedded at once.")
    ] = 32,
    as_json: JsonOption = False,
) -> None:
    """Cut rasters into tiles and make them searchable.

    Run again, it adds only what is new or changed; interrupted, it finishes when run again.

    \b
    Example:
      ngcg index region.tif
      ngcg index photos/ mosaic.vrt --tile 100m --index town-index
    """
    from ngcg_cli.journeys.indexing import index_sources
    from ngcg_cli.output.indexing import log_summary
    from ngcg_cli.output.progress import LiveProgress

    with LiveProgress("tiles") as progress:
        report = index_sources(
            sources,
            index,
            model=model,
            tile=tile,
            overlap=overlap,
            min_valid=min_valid,
            device=device,
            batch_size=batch_size,
            force=force,
            progress=progress,
        )
    log_summary(report)
    if as_json:
        typer.echo(json.dumps(report.as_json(), ensure_ascii=False))
    if report.count("failed"):
        raise typer.Exit(1 if report.count("failed") == len(report.sources) else 3)
