"""`ngcg models`: the named backbones."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from ngcg_cli.output.formats import RowFormat


def models(
    row_format: Annotated[
        RowFormat | None,
        typer.Option(
            "--format",
            help="How models are printed.",
            show_default="table on a terminal, otherwise jsonl",
        ),
    ] = None,
) -> None:
    """List the named models and their sizes.

    Parameters are those of the architecture, and those trained are of the default LoRA settings;
    no weights are loaded and no network is needed.

    \b
    Example:
      ngcg models
      ngcg models --format csv
    """
    from ngcg_cli.encoder.catalogue import list_backbones
    from ngcg_cli.output.rows import write_rows

    write_rows(list_backbones(), row_format, sys.stdout)
