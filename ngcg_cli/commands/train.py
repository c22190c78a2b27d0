"""`ngcg train`: captions of images in, a checkpoint out."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Sequence
from typing import Annotated, Any, get_origin

import typer

from ngcg_cli.commands.options import DeviceOption, JsonOption, ModelOption
from ngcg_cli.plain import json_text
from ngcg_cli.training.settings import Setting, TrainSettings, settings_of


def train(*, as_json: bool, **settings: Any) -> None:
    """Teach a model your captions: a LoRA adapter, or all weights.

    Stopped with Ctrl-C, it saves; with --resume it goes on to the same weights. Started by
    torchrun, the processes share each batch.

    \b
    Example:
      ngcg train captions.jsonl --val held-out.jsonl --out my-region
      ngcg query "a jetty with two boats" --model my-region --index harbour-index
      ngcg train GeoText/train.json --model internvl3.5-1b --batch-size 1024 --micro-batch 8 \\
        --epochs 20 --out geotext
    """  # fmt: skip
    from ngcg_cli.output.progress import LiveProgress
    from ngcg_cli.training.train import is_first_process, train

    chosen = TrainSettings(**{k: v for k, v in settings.items() if v is not None})
    logger = logging.getLogger(__name__)
    with LiveProgress() as progress:
        result = train(chosen, progress)
    if not is_first_process():  # the others have done the same and say nothing
        return
    logger.info(
        "%s: done after %d steps; use it with --model %s", chosen.out, result.steps, chosen.out
    )
    if as_json:
        typer.echo(json_text(result.as_json()))
    if result.broken:
        logger.warning("%d images could not be read", len(result.broken))
        raise typer.Exit(3)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for part in text.split(",") if (name := part.strip()) and name != "none")


def _parameter(setting: Setting) -> inspect.Parameter:
    """The command's parameter that gives a setting."""
    name, kind, default, told = setting
    words: dict[str, Any] = {"help": told.help, "metavar": told.metavar}
    if name == "model":
        kind, default = ModelOption, None
    elif name == "device":
        kind = DeviceOption
    elif name == "data":
        words |= {"metavar": "DATA", "show_default": False}
        kind, default = Annotated[kind, typer.Argument(**words)], inspect.Parameter.empty
    else:
        if name == "out":
            words["metavar"], default = "DIR", inspect.Parameter.empty
        if told.shown:
            words["show_default"] = told.shown
        if get_origin(kind) is Sequence:
            kind, words["parser"] = tuple, _names
            default = ",".join(default) or None
        flag = setting.option + (f"/--no-{name}" if default is True else "")
        kind = Annotated[kind, typer.Option(flag, **words)]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)


train.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
    [
        *(_parameter(setting) for setting in settings_of(TrainSettings)),
        inspect.Parameter(
            "as_json", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=JsonOption
        ),
    ]
)
