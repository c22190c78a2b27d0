"""`ngcg export`: a model as it runs without torch."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Annotated

import typer

from ngcg_cli.choices import ExportPrecision
from ngcg_cli.commands.options import JsonOption
from ngcg_cli.errors import UsageError

logger = logging.getLogger(__name__)

#: Images that calibrate: more do not move a range by much.
_CALIBRATE = 256


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
        ExportPrecision,
        typer.Option(
            "--precision",
            help="float16 halves the stored weights; int8 adds faster graphs, which commands use "
            "with --precision int8.",
        ),
    ] = "float32",
    calibrate: Annotated[
        Path | None,
        typer.Option(
            "--calibrate",
            metavar="DIR_OR_TAR",
            help="Images like those to come, on which int8 measures its ranges (at most 256 are "
            "read).",
            show_default="drawn ones",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write a model as ONNX graphs that run on a CPU without torch.

    Adapters are merged; tokenizer and settings come along. What was written is compared with
    torch's vectors before it counts. Needs `pip install 'ngcg[export]'`.

    \b
    Examples:
      ngcg export runs/mine/best --out mine-onnx
      ngcg index region.tif --model mine-onnx
      ngcg export runs/mine/best --out mine-int8 --precision int8 --calibrate photographs/
      ngcg index region.tif --model mine-int8 --precision int8 --index region-int8
    """
    from ngcg_cli.encoder.export import export as run

    images = None
    if calibrate is not None:
        if precision != "int8":
            raise UsageError("--calibrate is for --precision int8")
        from ngcg_cli.datasets.loose import read_images

        images = read_images(calibrate.expanduser(), _CALIBRATE)
    report = run(model, out.expanduser(), precision, images)
    if as_json:
        typer.echo(json.dumps(report.as_json()))
    logger.info(
        "%s: %.1f MB; least cosine to torch %.7f of texts, %.7f of images",
        report.out,
        report.bytes / 1e6,
        report.text_cosine,
        report.image_cosine,
    )
