"""How well `tiny` knows single things, on drawn tiles whose seeds no training has seen.

python -m examples.tiny.measures.held_out
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
import typer

from examples.tiny.script import script
from examples.tiny.stages.corpus import SIDE
from examples.town.statements import truths
from examples.town.tiles import make_tile
from ngcg_cli.encoder.checkpoint import load_encoder

FIRST_SEED = 10_000_000
#: A phrase, and how a statement begins that is true where it is.
PHRASES = {
    "a plane": "has|plane|",
    "boats in a harbour": "moored|",
    "a forest": "has|woods|",
    "a red-roofed building": "has|building|red",
    "a blue-roofed building": "has|building|blue",
    "a roundabout": "has|roundabout|",
    "a crossroads": "has|crossroads|",
    "a tennis court": "has|tennis|",
}


def main(
    model: Annotated[str, typer.Option(help="Name or folder.")] = "tiny",
    count: Annotated[int, typer.Option(help="Tiles to draw.")] = 400,
) -> None:
    """Print, for each phrase, how many tiles show it, and how many of the first ten hits do."""
    tiles = [make_tile(seed, SIDE) for seed in range(FIRST_SEED, FIRST_SEED + count)]
    true = [list(truths(tile.scene, tile.window)) for tile in tiles]
    encoder = load_encoder(model)
    images = encoder.encode_images([tile.image for tile in tiles])
    texts = encoder.encode_texts(list(PHRASES))
    for (phrase, start), text in zip(PHRASES.items(), texts, strict=True):
        shown = np.array([any(key.startswith(start) for key in keys) for keys in true])
        first = np.argsort(-(images @ text), kind="stable")[:10]
        typer.echo(f"{phrase}: shown by {shown.sum()} of {count}, {shown[first].sum()} of the ten")


if __name__ == "__main__":
    script(main)
