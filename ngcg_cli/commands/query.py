"""`ngcg query`: a sentence, or a photo, in; ranked coordinates out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ngcg_cli.commands.options import (
    DEFAULT_INDEX,
    DeviceOption,
    IndexModelOption,
    IndexOption,
    IndexPrecisionOption,
)
from ngcg_cli.commands.places import BoundingBox, parse_bbox, parse_near
from ngcg_cli.commands.steering import (
    AddOption,
    AfterOption,
    AreaOption,
    BeforeOption,
    DepthOption,
    ExplainOption,
    LikeOption,
    MinConfidenceOption,
    RefineOption,
    RerankByOption,
    RerankOption,
    SourceOption,
    SubtractOption,
    UnlikeOption,
)
from ngcg_cli.errors import UsageError
from ngcg_cli.output.formats import HitFormat


def query(
    text: Annotated[
        str | None,
        typer.Argument(
            metavar="TEXT|-",
            help="What to look for, or - to read one query per line from standard input.",
            show_default=False,
        ),
    ] = None,
    image: Annotated[
        Path | None,
        typer.Option(
            "--image", metavar="FILE", help="Look for what a photo shows; with TEXT, for both."
        ),
    ] = None,
    top: Annotated[
        int, typer.Option("--top", "-k", metavar="N", min=1, help="How many hits at most.")
    ] = 10,
    hit_format: Annotated[
        HitFormat | None,
        typer.Option(
            "--format",
            help="How hits are printed.",
            show_default="table on a terminal, otherwise jsonl",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write the hits to a file; its suffix says the format: .jsonl .csv .geojson .html "
            ".kml .gpx .gpkg .fgb .parquet.",
        ),
    ] = None,
    crops: Annotated[
        Path | None,
        typer.Option(
            "--crops",
            metavar="DIR",
            help="Cut each hit out of its raster: a georeferenced GeoTIFF and a PNG.",
        ),
    ] = None,
    pictures: Annotated[
        bool, typer.Option("--pictures", help="Show the hits' pictures in the terminal.")
    ] = False,
    fetch: Annotated[
        bool,
        typer.Option(
            "--fetch", help="For pictures, also read rasters on servers that only the index names."
        ),
    ] = False,
    bbox: Annotated[
        BoundingBox | None,
        typer.Option(
            "--bbox",
            metavar="W,S,E,N",
            parser=parse_bbox,
            help="Only tiles whose centre lies in this box, in degrees; W > E crosses the "
            "antimeridian.",
        ),
    ] = None,
    near: Annotated[
        tuple | None,
        typer.Option(
            "--near",
            metavar="LAT,LON",
            parser=parse_near,
            help="Only tiles whose centre lies around this point; needs --within.",
        ),
    ] = None,
    within: Annotated[
        float | None,
        typer.Option("--within", metavar="METRES", help="How far from --near."),
    ] = None,
    exact: Annotated[
        bool, typer.Option("--exact", help="Always compare every tile; never use the search graph.")
    ] = False,
    keep_overlaps: Annotated[
        bool,
        typer.Option(
            "--keep-overlaps",
            help="Keep hits that overlap a better one (intersection over union above 1/3).",
        ),
    ] = False,
    add: AddOption = None,
    subtract: SubtractOption = None,
    like: LikeOption = None,
    unlike: UnlikeOption = None,
    area: AreaOption = None,
    source: SourceOption = None,
    after: AfterOption = None,
    before: BeforeOption = None,
    min_confidence: MinConfidenceOption = None,
    refine: RefineOption = False,
    rerank: RerankOption = None,
    rerank_by: RerankByOption = None,
    depth: DepthOption = None,
    explain: ExplainOption = None,
    index: IndexOption = DEFAULT_INDEX,
    model: IndexModelOption = None,
    device: DeviceOption = "auto",
    precision: IndexPrecisionOption = "auto",
) -> None:
    """Find the places that a sentence, or a photo, describes.

    Ranked coordinates come out, best first, as a table, JSON Lines, CSV or GeoJSON.

    \b
    Example:
      ngcg query "a red-roofed building beside a roundabout"
      ngcg query "boats in a harbour" --near 40.70,-74.02 --within 5000 -k 3
      ngcg query - --format csv < captions.txt > hits.csv
      ngcg query --image photo.jpg --format geojson > hits.geojson
      ngcg query "storage tanks" -k 20 -o tanks.gpkg --crops tanks
      ngcg query "a harbour" --add "many small boats" --subtract 2:cranes
      ngcg query --like 47.936,10.506 --area district.geojson --refine
      ngcg query "a stadium" --rerank smolvlm-500m --rerank-by yes --explain smolvlm-500m
    """
    if text is None and image is None and not (add or like):
        raise UsageError("give TEXT or --image FILE, or both", hint="See 'ngcg query --help'.")
    _check_text(text)
    around = _around(near, within)
    for name, value in (("--rerank-by", rerank_by), ("--depth", depth)):
        if value is not None and rerank is None:
            raise UsageError(f"{name} {value} goes with --rerank", hint="Name its model.")

    from ngcg_cli.journeys.areas import read_areas
    from ngcg_cli.journeys.lines import LineReader
    from ngcg_cli.journeys.querying import DEPTH, Finder
    from ngcg_cli.journeys.questions import Part, Question, steering_parts
    from ngcg_cli.output.delivery import Delivery
    from ngcg_cli.output.terminal import prompted

    delivery = Delivery(hit_format, output, crops, pictures, fetch)
    parts = steering_parts(add or (), subtract or (), like or (), unlike or ())
    finder = Finder(
        index,
        model,
        device,
        precision,
        top=top,
        bbox=bbox,
        near=around,
        areas=() if area is None else read_areas(area),
        source=source,
        after=after,
        before=before,
        exact=exact,
        keep_overlaps=keep_overlaps,
        min_confidence=min_confidence,
        refine=refine,
        rerank=rerank,
        rerank_by=rerank_by or "vectors",
        depth=depth or DEPTH,
        explain=explain,
    )
    lines = LineReader(sys.stdin.buffer) if text == "-" else None
    if image is not None:
        from ngcg_cli.datasets.images import read_image

        parts = (Part(read_image(image), str(image)), *parts)
    if lines is not None:
        answers = finder.of_texts(prompted(lines), parts)
    elif text is not None:
        answers = finder.of_texts([[text]], parts)
    else:
        answers = finder.answer([Question(parts)])
    delivery.deliver(answers, sys.stdout)
    unread = delivery.unreadable or finder.unread or (lines is not None and lines.unreadable)
    if unread or finder.index.damaged():
        raise typer.Exit(3)


def _check_text(text: str | None) -> None:
    if text is not None and not text.strip():
        raise UsageError("TEXT is empty", hint='Say what to look for: ngcg query "a harbour".')
    if text == "-" and sys.stdin is None:
        raise UsageError("standard input is closed", hint="Send it one question a line.")


def _around(
    near: tuple[float, float] | None, within: float | None
) -> tuple[float, float, float] | None:
    """Latitude, longitude, metres."""
    if near is None and within is None:
        return None
    if near is None or within is None:
        raise UsageError("--near and --within go together", hint="Give both or none.")
    if not 0 < within < float("inf"):
        raise UsageError(f"--within {within:g}: the distance must be above 0 metres")
    return (*near, within)
