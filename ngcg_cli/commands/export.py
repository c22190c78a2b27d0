"""`ngcg export`: a model as it runs without torch."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Annotated, Literal

import typer

from ngcg_cli.commands.options import JsonOption

logger = logging.getLogger(__name__)


def export(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="A name from `ngcg models`, a model id, or a folder that `ngcg train` wrote.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            metavar="DIR",
            help="A folder that is not there yet; or MODEL's own, beside whose weights the graphs "
            "are written.",
            show_default=False,
        ),
    ],
    precision: Annotated[
        Literal["float32", "float16", "int8"],
        typer.Option(
            "--precision",
            help="Of the stored weights; float16 halves them. int8 is not written yet.",
        ),
    ] = "float32",
    as_json: JsonOption = False,
) -> None:
    """Write a model as ONNX graphs that run on a CPU without torch.

    Adapters are merged; tokenizer and settings come along. What was written is compared with
    torch's vectors before it counts. Needs `pip install 'ngcg[export]'`.

    \b
    Example:
      ngcg export runs/mine/best --out mine-onnx
      ngcg index region.tif --model mine-onnx
    """
    from ngcg_cli.encoder.export import export as run

    report = run(model, out.expanduser(), precision)
    if as_json:
        typer.echo(json.dumps(report.as_json()))
    logger.info(
        "%s: %.1f MB; least cosine to torch %.7f of texts, %.7f of images",
        report.out,
        report.bytes / 1e6,
        report.text_cosine,
        report.image_cosine,
    )
