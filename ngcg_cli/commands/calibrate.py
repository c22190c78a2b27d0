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
        Path,
        typer.Argument(
            metavar="DATA",
            help="Captions with images that the model was not trained on, as `ngcg eval` takes "
            'them; rows with the same "place" are right answers to each other.',
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
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Where to write; as confidence.safetensors in the model's folder it goes with it.",
            show_default="the user's own data",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="What is drawn and hidden.")] = 0,
    model: ModelOption = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Give a model's hits a confidence: the chance that each is right.

    Every caption is asked while half of the places are hidden. From what comes out, a score is
    turned into a chance by comparing it with other imagery and other sentences. The figures are of
    places that were not fitted on: AUROC tells how well the first hit's confidence separates
    questions whose place is there from those whose place is hidden; ECE is the expected
    calibration error.

    \b
    Example:
      ngcg calibrate val.jsonl --background train.jsonl --model runs/mine
    """
    from ngcg_cli.journeys.calibration import calibrate_model
    from ngcg_cli.journeys.model import load_model

    encoder = load_model(model, device, precision=precision)
    where, calibration = calibrate_model(
        encoder,
        data.expanduser(),
        background.expanduser(),
        None if out is None else out.expanduser(),
        seed,
    )
    facts = calibration.facts
    logger.info(
        "%s: AUROC %.3f (the bare cosine's: %.3f), ECE %.3f",
        *(where, facts["auroc"], facts["auroc_cosine"], facts["ece"]),
    )
    if as_json:
        typer.echo(json.dumps({"confidence": str(where), **facts}, ensure_ascii=False))
