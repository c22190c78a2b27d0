"""Where is a model behind its teachers: in what it sees, or in what it reads?

    python -m examples.tiny.measures.sides DATA OUT tiny --beside MODEL --beside MODEL

Val is ranked with the first model's photographs or those of all models as one (`panel.py`), and
likewise with its sentences or theirs. OUT keeps what each model says. The panel's turn is found on
val itself, which flatters it a little. All models speak without their balance (`balanced.py`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import torch
import typer

from examples.tiny.make import ranked
from examples.tiny.script import script
from examples.tiny.stages.gathered import Images, unpacked
from examples.tiny.stages.panel import Panel
from ngcg_cli.encoder.checkpoint import load_encoder
from ngcg_cli.errors import UsageError


def main(
    data: Annotated[Path, typer.Argument(help="Folder with rsicd150/val.tar.")],
    out: Annotated[Path, typer.Argument(help="Folder for caches.")],
    model: Annotated[str, typer.Argument(help="The student: a name or folder.")],
    beside: Annotated[list[str] | None, typer.Option(help="Another model; repeatable.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="torch's threads.")] = 2,
) -> None:
    """Print a line of JSON for each pairing."""
    torch.set_num_threads(threads)
    if not beside:
        raise UsageError("one model has no panel", hint="add --beside MODEL")
    models = [load_encoder(name, "cpu", precision="float32") for name in (model, *beside)]
    val, folder = unpacked(data / "rsicd150/val.tar", out)
    images, texts = Images(val.images, folder), [text for own in val.captions for text in own]
    sides = {"student": Panel(models[:1]), "panel": Panel(models)}
    for panel in sides.values():
        panel.agree(images, texts, folder)
    for sees in sides:
        for reads in sides:
            figures = ranked(val, sides[sees].look(images), sides[reads].say(texts, folder))
            typer.echo(json.dumps({"photographs": sees, "sentences": reads, **figures}))


if __name__ == "__main__":
    script(main)
