"""`ngcg remove`: sources out of an index."""

from __future__ import annotations

import logging
from typing import Annotated

import typer

from ngcg_cli.commands.options import DEFAULT_INDEX, IndexOption, JsonOption
from ngcg_cli.plain import json_text

logger = logging.getLogger(__name__)


def remove(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE",
            help="A source as `ngcg info` names it, another path to it, or a folder: then all "
            "sources in it.",
            show_default=False,
        ),
    ],
    wait: Annotated[
        bool,
        typer.Option(
            "--wait/--no-wait", help="Wait for another process that writes this index, or give up."
        ),
    ] = False,
    index: IndexOption = DEFAULT_INDEX,
    as_json: JsonOption = False,
) -> None:
    """Take sources out of an index. The rasters themselves stay where they are.

    If one of them is not in the index, none is removed.

    \b
    Example:
      ngcg remove region.tif
      ngcg remove photos/2019 --index town-index
    """
    from ngcg_cli.search import open_index
    from ngcg_cli.search.match import matching

    opened = open_index(index)
    with opened.writing(wait=wait):
        gone = opened.drop(matching(opened, sources))
    tiles = sum(source.tiles for source in gone)
    logger.info("%s: sources: %d removed; tiles: %s removed", index, len(gone), f"{tiles:,}")
    if as_json:
        removed = [{"path": source.path, "tiles": source.tiles} for source in gone]
        report = {"index": str(index), "removed": removed, "tiles": opened.tile_count}
        typer.echo(json_text(report))
