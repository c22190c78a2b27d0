"""The mean of several runs' weights, a "soup" (arXiv 2203.05482): one model, as quick as each.

    python -m examples.tiny.soup runs/soup runs/one/tiny runs/two/tiny --data DATA

The runs began with the same weights and differ in their seeds, so their weights lie near each
other. Nothing is chosen by val: it is measured.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import torch
import typer

from examples.tiny.make import validate
from examples.tiny.script import script
from examples.tiny.stages.averaged import mean
from examples.tiny.stages.balanced import balance
from examples.tiny.stages.gathered import unpacked
from ngcg_cli.encoder.checkpoint import load_encoder, save_checkpoint
from ngcg_cli.errors import UsageError


def main(
    out: Annotated[Path, typer.Argument(help="Folder for the result.")],
    models: Annotated[list[Path], typer.Argument(help="Two models or more of one architecture.")],
    data: Annotated[
        Path,
        typer.Option(
            help="Folder with rsicd150/train.tar and val.tar, to balance by and to measure on."
        ),
    ],
    threads: Annotated[int, typer.Option(min=1, help="torch's threads.")] = 2,
) -> None:
    """Average the weights of MODELS, and balance; OUT is what ships, with 16-bit weights.

    The photographs of DATA are unpacked beside OUT.
    """
    if out.exists():
        raise UsageError(
            "is there already", where=out, hint="Name a new folder first, then models."
        )
    if len(models) < 2:
        raise UsageError("a mean takes two models or more")
    torch.set_num_threads(threads)
    made = mean([load_encoder(model, "cpu", precision="float32") for model in models])
    val, _ = unpacked(data / "rsicd150/val.tar", out.parent)
    train, _ = unpacked(data / "rsicd150/train.tar", out.parent)
    balance(made, train)
    figures = validate(made, val)
    made.name, made.origin = "tiny", None  # it is no one's further training: it has no base
    save_checkpoint(made, out, {"metrics": figures}, dtype=torch.float16)
    typer.echo(json.dumps(figures))


if __name__ == "__main__":
    script(main)
