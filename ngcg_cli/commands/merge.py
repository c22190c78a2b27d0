"""`ngcg merge`: several indexes into one."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from ngcg_cli.commands.options import JsonOption
from ngcg_cli.errors import UsageError
from ngcg_cli.plain import json_text

logger = logging.getLogger(__name__)


def merge(
    indexes: Annotated[
        list[str],
        typer.Argument(
            metavar="INDEX",
            help="Indexes, two or more; one is enough from or into Milvus.",
            show_default=False,
        ),
    ],
    out: Annotated[
        str,
        typer.Option(
            "--out",
            metavar="DIR|milvus:...",
            help="The folder of the new index; or one in Milvus, which may be there already.",
            show_default=False,
        ),
    ],
    as_json: JsonOption = False,
) -> None:
    """Join indexes of one model into a new one; they stay as they are.

    Of a source that several hold, the complete one is kept, then the newest; each is named. The
    new index shares its files with the old ones (hard links) where the disk can, so that it costs
    next to no space.

    \b
    Example:
      ngcg merge north-index south-index --out country-index
      ngcg merge country-index --out milvus:country.db
    """
    from ngcg_cli.journeys.trust import pass_on
    from ngcg_cli.search.merge import merge as join
    from ngcg_cli.search.milvus.name import is_milvus
    from ngcg_cli.search.transfer import transfer

    if any(map(is_milvus, (*indexes, out))):
        report = transfer(indexes, out)
    else:
        if len(indexes) < 2:
            raise UsageError("one index alone cannot be joined", hint="Name two or more.")
        report = join([Path(index) for index in indexes], Path(out))
    pass_on(indexes, out, report.model)
    for double in report.duplicates:
        left = ", ".join(double["left_out"])
        logger.warning("%s: kept from %s, left out of %s", double["path"], double["kept"], left)
    logger.info("%s: sources: %d; tiles: %s", out, report.sources, f"{report.tiles:,}")
    if as_json:
        typer.echo(json_text(vars(report)))
