"""Recall of the same photographs when other people's captions ask for them.

    python -m examples.tiny.measures.other_captions tiny rsicd150/val rsicd150/rsitmd-captions.jsonl

All photographs of the folder are the gallery; only the captions of the second file ask.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from examples.tiny.measures.paraphrases import gallery
from examples.tiny.script import script
from examples.tiny.stages.corpus import more_captions
from ngcg_cli.datasets.images import read_image
from ngcg_cli.encoder.checkpoint import load_encoder

KS = (1, 5, 10)


def measure(images: np.ndarray, texts: np.ndarray, own: np.ndarray) -> dict[str, float]:
    """Recall (percent) of queries (Q, dim) among images (N, dim); `own` (Q,) has the right ones.

    A tie never helps, as in `ngcg eval`.
    """
    scores = texts @ images.T
    best = scores[np.arange(len(own)), own]
    ranks = (scores >= best[:, None]).sum(1)
    return {f"R@{k}": round(100 * float((ranks <= k).mean()), 2) for k in KS}


def main(
    model: Annotated[str, typer.Argument(help="Name or folder.")],
    data: Annotated[Path, typer.Argument(help="Folder with captions.jsonl and images/.")],
    captions: Annotated[Path, typer.Argument(help="JSON Lines: image, split, captions.")],
    split: Annotated[str, typer.Option(help="The captions' split that asks.")] = "val",
) -> None:
    """Print text-to-image recall, as JSON."""
    files, _ = gallery(data)
    row = {file.relative_to(data).as_posix(): n for n, file in enumerate(files)}
    found = more_captions(captions, split)
    asked = [(text, row[name]) for name, texts in found.items() for text in texts]
    encoder = load_encoder(model)
    images = encoder.encode_images([read_image(file) for file in files])
    texts = encoder.encode_texts([text for text, _ in asked])
    own = np.array([n for _, n in asked])
    typer.echo(json.dumps({"queries": len(asked), **measure(images, texts, own)}))


if __name__ == "__main__":
    script(main)
