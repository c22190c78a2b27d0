"""Options of `ngcg query` that steer a question, narrow its search, and look at its hits again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from ngcg_cli.choices import RerankBy

AddOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--add",
        metavar="[N:]Q",
        help="Look for this too: a text, or the path of a picture; N weighs it. Repeatable.",
    ),
]
SubtractOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--subtract", metavar="[N:]Q", help="Look away from this, given as for --add. Repeatable."
    ),
]
LikeOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--like",
        metavar="[N:]LAT,LON",
        help="Look for what the indexed tiles at this place show. Repeatable.",
    ),
]
UnlikeOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--unlike",
        metavar="[N:]LAT,LON",
        help="Look away from what is there. Repeatable.",
    ),
]
AreaOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--area",
        metavar="FILE",
        help="Only tiles whose centre lies in one of this file's polygons: GeoJSON, GeoParquet, "
        "or with 'ngcg[gis]' GeoPackage, Shapefile, FlatGeobuf, KML; any CRS.",
    ),
]
SourceOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--source", metavar="GLOB", help="Only tiles of rasters whose path or name matches."
    ),
]
AfterOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--after", metavar="DATE", help="Only imagery acquired on this date (2024-05-17) or later."
    ),
]
BeforeOption: TypeAlias = Annotated[
    str | None,
    typer.Option("--before", metavar="DATE", help="Only imagery acquired earlier than this date."),
]
MinConfidenceOption: TypeAlias = Annotated[
    float | None,
    typer.Option(
        "--min-confidence",
        metavar="P",
        min=0.0,
        max=1.0,
        help="Leave out hits whose chance to be right is below P, 0 to 1.",
    ),
]
RefineOption: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--refine",
        help="Look at the hits' rasters again: a point, a smaller footprint and a new order.",
    ),
]
RerankOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--rerank",
        metavar="NAME_OR_PATH",
        help="Let another, larger model look at the best hits again, and order them.",
    ),
]
RerankByOption: TypeAlias = Annotated[
    RerankBy | None,
    typer.Option(
        "--rerank-by",
        help="How --rerank judges: by its vectors, or by how likely the model says yes when asked "
        "whether the tile shows TEXT (a model that converses).",
        show_default="vectors",
    ),
]
ExplainOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--explain",
        metavar="NAME_OR_PATH",
        help="Let a model that converses say in a sentence why each hit was found.",
    ),
]
DepthOption: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--depth",
        metavar="N",
        min=1,
        help="How many hits --rerank looks at.",
        show_default="50",
    ),
]
