"""Words that no caption used: does a paraphrase of a scene find that scene?

    python -m examples.tiny.measures.paraphrases tiny rsicd150/val

`paraphrases.jsonl` was written before any text beyond the captions was trained on; nothing that
the text side learns from may hold one of its queries. A query is won when at least six of its
first ten hits among the photographs are of its scene.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from examples.tiny.script import script
from ngcg_cli.datasets.images import read_image
from ngcg_cli.datasets.json_lines import rows
from ngcg_cli.encoder.checkpoint import load_encoder
from ngcg_cli.errors import DataError
from ngcg_cli.evaluation.metrics import Bootstrap

HELD_OUT = Path(__file__).parents[1] / "data/paraphrases.jsonl"
FIRST, ENOUGH = 10, 6


def held_out() -> list[tuple[str, str]]:
    """(query, scene) of every held-out paraphrase."""
    return [(row["query"], row["scene"]) for _, row in rows(HELD_OUT)]


def won(images: np.ndarray, scenes: Sequence[str], texts: np.ndarray, wanted: Sequence[str]
        ) -> np.ndarray:  # fmt: skip
    """How many of each query's first ten hits are of its scene: (Q,) int.

    Args:
        images: (N, dim) unit vectors of the gallery, `scenes` their N scenes.
        texts: (Q, dim) unit vectors of the queries, `wanted` their Q scenes.
    """
    first = np.argsort(-(texts @ images.T), axis=1, kind="stable")[:, :FIRST]
    return (np.array(scenes)[first] == np.array(wanted)[:, None]).sum(1)


def measure(images: np.ndarray, scenes: Sequence[str], texts: np.ndarray) -> dict[str, Any]:
    """Figures (percent) of the held-out queries, over all and by scene.

    Args:
        images: (N, dim) unit vectors of the gallery, `scenes` their N scenes.
        texts: (Q, dim) unit vectors of the queries, in the order of `held_out`.
    """
    wanted = [scene for _, scene in held_out()]
    right = won(images, scenes, texts, wanted)
    ok = (right >= ENOUGH).astype(float)
    low, high = Bootstrap(len(ok)).mean(ok, np.arange(len(ok)))
    by_scene = {
        scene: {
            "queries": int(own.sum()),
            "share": _percent(ok[own]),
            "right_of_10": round(float(right[own].mean()), 2),
        }
        for scene in sorted(set(wanted))
        if (own := np.array(wanted) == scene).any()
    }
    return {
        "queries": len(ok),
        "share": _percent(ok),
        "ci": [round(100 * low, 2), round(100 * high, 2)],
        "right_of_10": round(float(right.mean()), 2),
        "scenes": by_scene,
    }


def _percent(values: np.ndarray) -> float:
    return round(100 * float(values.mean()), 2)


def gallery(data: Path) -> tuple[list[Path], list[str]]:
    """Image files and scenes of a folder with `captions.jsonl`, or of that file itself."""
    listing = data / "captions.jsonl" if data.is_dir() else data
    found = [(number, row) for number, row in rows(listing)]
    for number, row in found:
        if not {"image", "scene"} <= row.keys():
            raise DataError('no "image" or no "scene"', where=f"{listing}:{number}")
    return [listing.parent / row["image"] for _, row in found], [row["scene"] for _, row in found]


def main(
    model: Annotated[str, typer.Argument(help="Name or folder.")],
    data: Annotated[Path, typer.Argument(help="Folder with val's captions.jsonl and images/.")],
    verbose: Annotated[bool, typer.Option(help="Add the hits of each query.")] = False,
) -> None:
    """Print the share of paraphrases that find their scene, as JSON."""
    files, scenes = gallery(data)
    queries = held_out()
    encoder = load_encoder(model)
    images = encoder.encode_images([read_image(file) for file in files])
    texts = encoder.encode_texts([query for query, _ in queries])
    figures = measure(images, scenes, texts)
    if verbose:
        right = won(images, scenes, texts, [scene for _, scene in queries])
        figures["hits"] = {query: int(n) for (query, _), n in zip(queries, right, strict=True)}
    typer.echo(json.dumps(figures, indent=2))


if __name__ == "__main__":
    script(main)
