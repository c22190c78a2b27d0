"""`ngcg caption`: captions for imagery that has none, by a model that converses."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from ngcg_cli.commands.options import (
    AssetOption,
    DeviceOption,
    DriverOption,
    JsonOption,
    PrecisionOption,
    StacFetchOption,
)
from ngcg_cli.errors import UsageError
from ngcg_cli.plain import json_text

logger = logging.getLogger(__name__)


def caption(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE|INDEX",
            help="Rasters, or folders of them, which are cut as `ngcg index` would; or one index "
            "(a folder or milvus:...), whose tiles are taken.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            metavar="FILE.jsonl",
            help="The rows; pictures of the tiles go into the folder FILE-images beside it.",
            show_default=False,
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="NAME_OR_PATH",
            envvar="NGCG_MODEL",
            help="A model that converses: its name, id or folder, or a checkpoint trained on it.",
            show_default=False,
        ),
    ] = None,
    style: Annotated[
        str,
        typer.Option(
            "--style",
            metavar="short,long,attributes",
            help="What captions look like; of several, comma between, each tile gets one of each.",
        ),
    ] = "short",
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit",
            metavar="N",
            min=1,
            help="Caption N tiles at most, spread over all; more later adds to them.",
        ),
    ] = None,
    tile: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="Side of a tile of a raster: 224px, 100m, or auto; an index has its own.",
            show_default="auto",
        ),
    ] = None,
    overlap: Annotated[
        float | None,
        typer.Option(
            metavar="FRACTION",
            help="Share of a tile's side that the next tile overlaps.",
            show_default="0.25",
        ),
    ] = None,
    min_valid: Annotated[
        float | None,
        typer.Option(
            metavar="FRACTION",
            help="Skip tiles in which a smaller share of the pixels holds data.",
            show_default="0.25",
        ),
    ] = None,
    driver: DriverOption = None,
    asset: AssetOption = None,
    fetch: StacFetchOption = False,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    batch_size: Annotated[
        int,
        typer.Option(
            "--batch-size", metavar="N", min=1, help="Tiles that the model is shown at once."
        ),
    ] = 8,
    as_json: JsonOption = False,
) -> None:
    """Write captions of tiles, as rows that `ngcg train` takes.

    The model looks at each tile, any adapter off. Captions that are empty, go in circles, or are
    (nearly) those of another tile are left out. Run again, it goes on where it ended.

    \b
    Example:
      ngcg caption region.tif --model smolvlm-500m --out captions.jsonl --limit 2000
      ngcg caption ngcg-index --model internvl3.5-1b --out captions.jsonl --style short,long
      ngcg train captions.jsonl --out runs/region
    """
    if model is None:
        raise UsageError(
            "--model: no model that converses is bundled", hint="Name one, such as smolvlm-500m."
        )
    from ngcg_cli.journeys.captioning import caption as run
    from ngcg_cli.output.progress import LiveProgress

    with LiveProgress("tiles") as progress:
        report = run(
            sources,
            out,
            model=model,
            styles=[word.strip() for word in style.split(",")],
            limit=limit,
            tile=tile,
            overlap=overlap,
            min_valid=min_valid,
            drivers=driver or (),
            asset=asset,
            fetch=fetch,
            device=device,
            precision=precision,
            batch_size=batch_size,
            progress=progress,
        )
    if as_json:
        typer.echo(json_text(report.as_json()))
    left_out = ", ".join(f"{count:,} {why}" for why, count in sorted(report.dropped.items()))
    logger.info(
        "%s: %s rows with %s captions added%s; %.1f s",
        report.out,
        f"{report.rows:,}",
        f"{report.captions:,}",
        f" (left out: {left_out})" if left_out else "",
        report.seconds,
    )
    if report.unreadable or report.failed:
        tried = report.tiles - report.before
        raise typer.Exit(1 if tried and report.unreadable == tried else 3)
