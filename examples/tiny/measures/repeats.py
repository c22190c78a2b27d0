"""From image to text where captions repeat: what recall would be if equal captions counted once.

    python -m examples.tiny.measures.repeats tiny rsicd150/val

Many of RSICD's captions are true of many images and stand there again word for word. `ngcg eval`
ranks every copy, and a tie never helps: a caption of 16 other images fills the first ten places
sixteen times over. Beside that this prints Recall@K with ties in random order, as an ordinary sort
leaves them, and with each different sentence in the gallery once.
"""

from __future__ import annotations

import json
from math import comb
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from examples.tiny.script import script
from ngcg_cli.datasets.images import read_image
from ngcg_cli.datasets.json_lines import rows
from ngcg_cli.encoder.checkpoint import load_encoder

KS = (1, 5, 10)


def measure(scores: np.ndarray, own: np.ndarray, copies: np.ndarray) -> dict[str, list[float]]:
    """Recall@1, 5 and 10 from image to text, percent, by three ways to count.

    Args:
        scores: (I, S) of I images and S different sentences.
        own: (I, S) how often a sentence is among the image's own captions.
        copies: (S,) how often it is among the captions of all images.
    """
    ways: dict[str, list[list[float]]] = {"ties_last": [], "ties_random": [], "distinct": []}
    for score, mine in zip(scores, own, strict=True):
        best = score[mine > 0].max()
        above, level = score > best, score == best
        others = copies - mine
        ahead, tied, right = others[above].sum(), others[level].sum(), mine[level].sum()
        ways["ties_last"].append([float(ahead + tied < k) for k in KS])
        ways["ties_random"].append([_chance(int(k - ahead), int(tied), int(right)) for k in KS])
        ways["distinct"].append([float(above.sum() < k) for k in KS])
    return {
        way: [round(100 * share, 2) for share in np.mean(found, axis=0).tolist()]
        for way, found in ways.items()
    }


def _chance(places: int, wrong: int, right: int) -> float:
    """That one of `right` captions is in the first `places` of them and `wrong` ones, shuffled."""
    if places <= 0:
        return 0.0
    return 1 - comb(wrong, places) / comb(wrong + right, min(places, wrong + right))


def main(
    model: Annotated[str, typer.Argument(help="Name or folder of the model.")],
    data: Annotated[Path, typer.Argument(help="Folder with captions.jsonl and images/.")],
) -> None:
    """Print the figures as JSON."""
    found: list[dict[str, Any]] = [row for _, row in rows(data / "captions.jsonl")]
    sentences = sorted({text for row in found for text in row["captions"]})
    number = {text: n for n, text in enumerate(sentences)}
    own = np.zeros((len(found), len(sentences)), np.int64)
    for image, row in enumerate(found):
        np.add.at(own[image], [number[text] for text in row["captions"]], 1)
    encoder = load_encoder(model)
    images = encoder.encode_images([read_image(data / row["image"]) for row in found])
    scores = images @ encoder.encode_texts(sentences).T
    figures = measure(scores, own, own.sum(axis=0))
    counts = {"captions": int(own.sum()), "different": len(sentences)}
    typer.echo(json.dumps({**counts, **figures}))


if __name__ == "__main__":
    script(main)
