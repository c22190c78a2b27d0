"""`ngcg eval`: how good a model is, by the protocols of the field."""

from __future__ import annotations

import functools
import logging
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ngcg_cli.choices import DataFormat, Gallery, ImageType, Match, Protocol
from ngcg_cli.commands.options import (
    DEFAULT_INDEX,
    DeviceOption,
    DimOption,
    IndexOption,
    JsonOption,
    ModelOption,
    PrecisionOption,
)
from ngcg_cli.errors import UsageError
from ngcg_cli.plain import json_text

logger = logging.getLogger(__name__)

VIEWS = ("drone", "satellite", "ground")


def parse_views(text: str) -> tuple[str, ...]:
    """Reads "drone,satellite,ground" or a part of it.

    Raises:
        typer.BadParameter: another word.
    """
    views = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    if unknown := [view for view in views if view not in VIEWS]:
        raise typer.BadParameter(f"{unknown[0]!r} is not one of {', '.join(VIEWS)}")
    return views


def evaluate(
    ctx: typer.Context,
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            help="Captions as JSON Lines, a GeoText-1652 annotation file, or a CVG-Text folder.",
            show_default=False,
        ),
    ],
    protocol: Annotated[
        Protocol,
        typer.Option(
            help="What counts as right; auto goes by the data: places for JSON Lines without "
            "images, recall for others, geotext and cvg-text for those data sets."
        ),
    ] = "auto",
    data_format: Annotated[
        DataFormat,
        typer.Option(help="The format of DATA; auto looks at the content."),
    ] = "auto",
    images: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where the images lie, when not beside DATA."),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The split of a data set's folder, or the lines with this split in JSON Lines.",
            show_default="test for a folder",
        ),
    ] = None,
    views: Annotated[
        tuple | None,
        typer.Option(
            metavar="drone,satellite,ground",
            parser=parse_views,
            help="Only images from these cameras (GeoText-1652).",
            show_default="all",
        ),
    ] = None,
    image_type: Annotated[
        ImageType,
        typer.Option(help="Satellite tiles or OpenStreetMap tiles (CVG-Text)."),
    ] = "sat",
    gallery: Annotated[
        Gallery,
        typer.Option(
            help="What recall and geotext rank: each image once, or once for each of its captions "
            "(the method's own evaluation of annotations with a row per caption)."
        ),
    ] = "unique",
    match: Annotated[
        Match,
        typer.Option(
            help="When a tile of CVG-Text is right: the same position, or the same file name (the "
            "data set's own script)."
        ),
    ] = "position",
    index: IndexOption = DEFAULT_INDEX,
    per_query: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write one row per query (rank of the truth, top hit, error in metres); the name "
            "ends in .csv or .jsonl.",
        ),
    ] = None,
    ci: Annotated[
        bool, typer.Option("--ci", help="Add 95 % bootstrap intervals (fixed seed).")
    ] = False,
    cache: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Where embeddings are kept.", show_default="the user's cache"
        ),
    ] = None,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Neither use nor keep embeddings.")
    ] = False,
    max_unreadable: Annotated[
        float | None,
        typer.Option(
            metavar="FRACTION",
            min=0.0,
            max=1.0,
            help="Stop when more than this share of the images cannot be read.",
            show_default="0.05",
        ),
    ] = None,
    model: ModelOption = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    dim: DimOption = None,
    batch_size: Annotated[
        int, typer.Option("--batch-size", metavar="N", min=1, help="Images embedded at once.")
    ] = 32,
    as_json: JsonOption = False,
) -> None:
    """Measure a model: captions to images, or captions to places.

    Images that cannot be read are named and left out, and the exit status is 3.

    \b
    Example:
      ngcg eval captions.jsonl
      ngcg eval GeoText1652/test_951_version.json --views drone --model run/best --ci
      ngcg eval CVG-Text/NewYork-mixed --image-type osm --json
      ngcg eval places.jsonl --index ngcg-index --per-query misses.csv
    """
    if cache is not None and no_cache:
        raise UsageError("--cache and --no-cache exclude each other")

    from ngcg_cli.datasets import MAX_BROKEN_SHARE
    from ngcg_cli.evaluation.embed import EmbeddingCache
    from ngcg_cli.evaluation.report import check_rows_path, write_rows
    from ngcg_cli.evaluation.run import evaluate as run
    from ngcg_cli.journeys.model import load_model
    from ngcg_cli.output.progress import LiveProgress

    if per_query is not None:
        check_rows_path(per_query)
    folder = None if no_cache else cache or EmbeddingCache.default_folder()
    with LiveProgress() as progress:
        outcome = run(
            data,
            functools.partial(load_model, model, device, precision=precision, dim=dim),
            protocol=protocol,
            data_format=data_format,
            images=images,
            split=split,
            views=views or (),
            image_type=image_type,
            gallery=gallery,
            match=match,
            index=index,
            cache=EmbeddingCache(folder),
            max_unreadable=MAX_BROKEN_SHARE if max_unreadable is None else max_unreadable,
            batch_size=batch_size,
            intervals=ci,
            progress=progress,
        )
    if outcome.report.protocol != "places" and _was_typed(ctx, "index"):
        logger.warning("--index %s is not looked at: only the places protocol asks an index", index)
    if per_query is not None:
        write_rows(outcome.report, per_query)
    if as_json:
        typer.echo(json_text(outcome.report.figures))
    else:
        _print_table(outcome.report.figures)
    if outcome.unreadable:
        _name_unreadable(outcome.unreadable)
    if outcome.unreadable or outcome.damaged:
        raise typer.Exit(3)


def _was_typed(ctx: typer.Context, option: str) -> bool:
    """Whether an option stands on the command line itself, not in the environment."""
    source = ctx.get_parameter_source(option)
    return source is not None and source.name == "COMMANDLINE"


def _print_table(figures: dict[str, Any]) -> None:
    """A line a figure, its interval beside it."""
    from ngcg_cli.output.rows import nested, write_rows

    intervals = {row["metric"]: row["value"] for row in nested(figures.get("ci", {}))}
    rows = nested({name: value for name, value in figures.items() if name != "ci"})
    if intervals:
        for row in rows:
            low_high = intervals.get(row["metric"])
            row["95 % interval"] = "{:.2f} to {:.2f}".format(*low_high) if low_high else None
    write_rows(rows, "table", sys.stdout)


def _name_unreadable(unreadable: dict[Path, str]) -> None:
    for image, reason in unreadable.items():
        logger.error("%s", reason if reason.startswith(str(image)) else f"{image}: {reason}")
    logger.error("%s images could not be read and were left out", f"{len(unreadable):,}")
