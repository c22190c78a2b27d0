"""`ngcg info`: what an index holds and how it is."""

from __future__ import annotations

from typing import Annotated

import typer

from ngcg_cli.commands.options import DEFAULT_INDEX, IndexOption, JsonOption
from ngcg_cli.errors import TileIndexError, UsageError
from ngcg_cli.plain import json_text


def info(
    check: Annotated[
        bool,
        typer.Option("--check", help="Compare the checksum of every file, not only its size."),
    ] = False,
    stac: Annotated[
        bool, typer.Option("--stac", help="Print a STAC collection that describes the index.")
    ] = False,
    index: IndexOption = DEFAULT_INDEX,
    as_json: JsonOption = False,
) -> None:
    """Describe an index: model, sources, tiles, extent, size, health.

    When files are damaged or missing they are named, and the exit status is 1.

    \b
    Example:
      ngcg info
      ngcg info --index town-index --check
      ngcg info --json
      ngcg info --stac > collection.json
    """
    from ngcg_cli.output.life import info_text
    from ngcg_cli.output.stac import collection
    from ngcg_cli.search import open_index

    if stac and as_json:
        raise UsageError("--stac and --json are two answers", hint="Give one of them.")
    report = open_index(index).describe(check)
    if stac:
        typer.echo(json_text(collection(report)))
    else:
        typer.echo(json_text(report) if as_json else info_text(report), nl=as_json)
    damaged = report["health"]["damaged"]
    if damaged:
        more = f" and {len(damaged) - 1:,} more" if len(damaged) > 1 else ""
        raise TileIndexError(
            f"is damaged ({damaged[0]}{more})",
            where=index,
            hint="Index the damaged sources again; with --force where only --check finds it.",
        )
