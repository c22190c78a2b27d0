"""Does a model have hubs: are some photographs found for many sentences, and others for none?

    python -m examples.tiny.measures.hubs DATA OUT tiny --beside MODEL

Val is ranked with the model's bare vectors, and balanced by more and more of how near they lie to
the training photographs, or to their captions and the vocabulary (`balanced.py`). With `--beside`
several models answer as one (`panel.py`). OUT keeps what each model says.

*Spread*: the standard deviation of how often each photograph is among the first ten of val's
different sentences, as a share of the mean; and the same of sentences among the first ten of
photographs. *Never*: the percentage that is among no first ten.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

from examples.tiny.make import ranked
from examples.tiny.script import script
from examples.tiny.stages.balanced import SHARE, fitted, said
from examples.tiny.stages.gathered import Images, unpacked
from examples.tiny.stages.panel import Panel
from ngcg_cli.encoder.checkpoint import load_encoder

SHARES = (0.35, SHARE, 1.0)
_FIRST = 10


def hubness(gallery: np.ndarray, queries: np.ndarray) -> dict[str, float]:
    """How unevenly the first ten places are shared out: `spread` and `never`, as above.

    Args:
        gallery: (N, D) unit vectors, N above 10.
        queries: (M, D) likewise.
    """
    first = np.argpartition(-(queries @ gallery.T), _FIRST, axis=1)[:, :_FIRST]
    times = np.bincount(first.ravel(), minlength=len(gallery))
    return {
        "spread": round(float(times.std() / times.mean()), 3),
        "never": round(100 * float((times == 0).mean()), 1),
    }


def main(
    data: Annotated[Path, typer.Argument(help="Folder with rsicd150/train.tar and val.tar.")],
    out: Annotated[Path, typer.Argument(help="Folder for caches.")],
    model: Annotated[str, typer.Argument(help="A name or folder.")],
    beside: Annotated[list[str] | None, typer.Option(help="Another model; repeatable.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="torch's threads.")] = 2,
) -> None:
    """Print a line of JSON for the vectors as they are, and for each share that is taken off."""
    torch.set_num_threads(threads)
    panel = Panel([load_encoder(n, "cpu", precision="float32") for n in (model, *(beside or ()))])
    train, folder = unpacked(data / "rsicd150/train.tar", out)
    val, val_folder = unpacked(data / "rsicd150/val.tar", out)
    shown, told = Images(train.images, folder), said(train)
    panel.agree(shown, told, folder)
    known = panel.look(shown), panel.say(told, folder)
    photographs = panel.look(Images(val.images, val_folder))
    asked = [text for own in val.captions for text in own]
    sentences = panel.say(asked, val_folder)
    once = np.unique(asked, return_index=True)[1]

    def tell(share: float, photographs: np.ndarray, sentences: np.ndarray) -> None:
        figures = {
            **ranked(val, photographs, sentences),
            "photographs": hubness(photographs, sentences[once]),
            "sentences": hubness(sentences[once], photographs),
        }
        typer.echo(json.dumps({"taken_off": share, **figures}))

    tell(0.0, photographs, sentences)
    for share in SHARES:
        found = fitted(*known, share)
        tell(
            share,
            found.of_images(torch.from_numpy(photographs)).numpy(),
            found.of_sentences(torch.from_numpy(sentences)).numpy(),
        )


if __name__ == "__main__":
    script(main)
