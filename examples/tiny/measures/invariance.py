"""Does it matter how a thing is said: number, article, order, spelling, a noun or a sentence?

    python -m examples.tiny.measures.invariance tiny

Each thing is said in two ways that mean the same. A pair is won when each way is nearer to the
other one than to any way of saying anything else.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
import typer

from examples.tiny.script import script
from ngcg_cli.encoder.checkpoint import load_encoder

PAIRS: dict[str, tuple[tuple[str, str], ...]] = {
    "number": (
        ("a storage tank", "storage tanks"), ("a tennis court", "tennis courts"),
        ("a plane", "planes"), ("a boat", "boats"), ("a house", "houses"), ("a bridge", "bridges"),
        ("a church", "churches"), ("a railway", "railways"), ("a pond", "ponds"),
        ("a warehouse", "warehouses"), ("a swimming pool", "swimming pools"),
        ("a baseball field", "baseball fields"), ("a roundabout", "roundabouts"),
        ("a greenhouse", "greenhouses"), ("a car", "cars"), ("a mountain", "mountains"),
    ),
    "article": (
        ("a river", "river"), ("the airport", "airport"), ("a car park", "car park"),
        ("a stadium", "stadium"), ("the harbour", "harbour"), ("a desert", "desert"),
        ("a forest", "forest"), ("a school", "school"), ("a beach", "beach"),
        ("an industrial estate", "industrial estate"), ("a viaduct", "viaduct"),
        ("a meadow", "meadow"), ("the square", "square"), ("a resort", "resort"),
    ),
    "order": (
        ("houses beside a river", "a river beside houses"),
        ("planes and a terminal", "a terminal and planes"),
        ("trees and a pond", "a pond and trees"),
        ("a road near farmland", "farmland near a road"),
        ("boats and a pier", "a pier and boats"),
        ("a church next to a square", "a square next to a church"),
        ("sand and sea", "sea and sand"),
        ("a car park by a stadium", "a stadium by a car park"),
        ("tanks and a railway", "a railway and tanks"),
        ("a football pitch and a school", "a school and a football pitch"),
    ),
    "spelling": (
        ("a boat in the harbour", "a boat in the harbor"),
        ("a grey roof", "a gray roof"), ("a city centre", "a city center"),
        ("a ploughed field", "a plowed field"), ("an aeroplane", "an airplane"),
        ("a motorway", "a highway"), ("a car park", "a parking lot"),
        ("a railway station", "a railroad station"), ("a football pitch", "a soccer field"),
        ("a block of flats", "an apartment block"), ("a lorry park", "a truck park"),
        ("a petrol station", "a gas station"),
    ),
    "sentence": (
        ("airport", "there is an airport with several planes in the picture ."),
        ("beach", "this is a picture of a beach with white waves ."),
        ("bridge", "a long bridge is over the river ."),
        ("desert", "it is a large piece of yellow desert ."),
        ("forest", "many green trees are in a piece of forest ."),
        ("church", "the picture shows a church with some cars beside it ."),
        ("stadium", "a large stadium stands there with some buildings around ."),
        ("tennis court", "the aerial photo shows a tennis court ."),
        ("parking lot", "many cars are parked in a parking lot ."),
        ("pond", "there is a pond of green water here ."),
        ("storage tanks", "several white storage tanks stand on bare ground ."),
        ("mountain", "it is a range of mountains with some snow ."),
    ),
}  # fmt: skip


def measure(vectors: Sequence[np.ndarray]) -> dict[str, Any]:
    """Share of pairs won (percent), over all and by kind.

    Args:
        vectors: for each kind of PAIRS, in order, the unit vectors (2 N, dim) of its pairs' texts.
    """
    figures: dict[str, Any] = {}
    everything: list[bool] = []
    for (kind, pairs), rows in zip(PAIRS.items(), vectors, strict=True):
        near = rows @ rows.T
        np.fill_diagonal(near, -np.inf)
        best = near.argmax(1)
        won = [best[2 * n] == 2 * n + 1 and best[2 * n + 1] == 2 * n for n in range(len(pairs))]
        figures[kind] = round(100 * float(np.mean(won)), 1)
        everything += won
    return {"pairs": len(everything), "won": round(100 * float(np.mean(everything)), 1), **figures}


def main(model: Annotated[str, typer.Argument(help="Name or folder.")] = "tiny") -> None:
    """Print the share of pairs won, as JSON."""
    encoder = load_encoder(model)
    vectors = [
        encoder.encode_texts([text for pair in pairs for text in pair]) for pairs in PAIRS.values()
    ]
    typer.echo(json.dumps(measure(vectors), indent=2))


if __name__ == "__main__":
    script(main)
