"""`ngcg calibrate`: what a model's scores are worth."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Annotated

import typer

from ngcg_cli.commands.options import DeviceOption, JsonOption, ModelOption, PrecisionOption

logger = logging.getLogger(__name__)


def calibrate(
    data: Annotated[
        list[Path],
        typer.Argument(
            metavar="DATA...",
            help="Captions with images that the model was not trained on, as `ngcg eval` takes "
            'them; rows with the same "place" are right answers to each other. Or captions with '
            '"lon" and "lat", which are asked of --index. Several data sets weigh the same.',
            show_default=False,
        ),
    ],
    background: Annotated[
        Path,
        typer.Option(
            metavar="DATA",
            help="Captions with images of other imagery, which scores are compared with; up to "
            "1,024 of them are kept.",
            show_default=False,
        ),
    ],
    index: Annotated[
        str | None,
        typer.Option(
            "--index",
            metavar="DIR|milvus:...",
            help="Where captions without images are asked: a tile that holds their point is right.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Where to write; as confidence.safetensors in the model's folder it goes with it.",
            show_default="the user's own data",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Decides which places are hidden.")] = 0,
    model: ModelOption = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Give a model's hits a confidence: the chance that each is right.

    Every caption is asked, every second one while the images that are right are hidden. So are
    sentences about nothing that is seen from above. From what comes out, a score is turned into a
    chance by comparing it with other imagery and other sentences. The figures are of places that
    were not fitted on: AUROC tells how well the first hit's confidence separates questions whose
    place is there from those whose place is hidden; ECE is the expected calibration error.

    \b
    Example:
      ngcg calibrate val.jsonl --background train.jsonl --model runs/mine
      ngcg calibrate val.jsonl places.jsonl --index DIR --background train.jsonl
    """
    from ngcg_cli.journeys.calibration import calibrate_model
    from ngcg_cli.journeys.model import load_model
    from ngcg_cli.search import open_index

    asked = None if index is None else open_index(index)
    encoder = load_model(model, device, asked, precision=precision)
    where, calibration = calibrate_model(
        encoder,
        [file.expanduser() for file in data],
        background.expanduser(),
        asked,
        None if out is None else out.expanduser(),
        seed,
    )
    facts = calibration.facts
    for one in facts["of"]:
        logger.info(
            "%s: AUROC %.3f (the bare cosine's: %.3f), ECE %.3f",
            *(one["data"], one["auroc"], one["auroc_cosine"], one["ece"]),
        )
    if as_json:
        typer.echo(json.dumps({"confidence": str(where), **facts}, ensure_ascii=False))
