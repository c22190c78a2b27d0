"""Questions on real rasters: is one of the first five tiles right?

    python -m examples.tiny.measures.places tiny FOLDER

`data/places.jsonl` holds questions about nine public rasters (0.1 to 1 m, places and sensors that
no training photograph is of), each with the windows (pixels: left, top, width, height) in which a
person sees what is asked for. FOLDER holds these rasters. All of them are cut into one set of
tiles, and a hit is right where its tile and such a window share half of the smaller of the two.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from examples.tiny.script import script
from ngcg_cli.app import run
from ngcg_cli.datasets.json_lines import rows
from ngcg_cli.encoder.checkpoint import load_encoder
from ngcg_cli.search.index import TileIndex

QUESTIONS = Path(__file__).parents[1] / "data/places.jsonl"
FIRST = 5
TILE = "60m"


class Box(NamedTuple):
    """A window of a raster, in pixels."""

    source: str
    left: float
    top: float
    width: float
    height: float


def questions() -> list[tuple[str, list[Box]]]:
    """Every question with its right windows."""
    return [(row["query"], [Box(*box) for box in row["right"]]) for _, row in rows(QUESTIONS)]


def fits(tile: Box, right: Sequence[Box]) -> bool:
    """Whether the tile and one of the windows share half of the smaller of the two."""
    for box in right:
        across = min(tile.left + tile.width, box.left + box.width) - max(tile.left, box.left)
        down = min(tile.top + tile.height, box.top + box.height) - max(tile.top, box.top)
        least = min(tile.width * tile.height, box.width * box.height)
        shared = max(0.0, across) * max(0.0, down)
        if tile.source == box.source and shared >= least / 2:
            return True
    return False


def measure(found: Sequence[Sequence[Box]]) -> dict[str, Any]:
    """How many questions have a right tile first and among the first five; each one's rank.

    Args:
        found: for each question, in the order of `questions`, its hits' windows, best first.
    """
    ranks: dict[str, int | None] = {}
    for (query, right), tiles in zip(questions(), found, strict=True):
        true = (rank for rank, tile in enumerate(tiles, 1) if fits(tile, right))
        ranks[query] = next(true, None)
    return {
        "questions": len(ranks),
        "first": sum(rank == 1 for rank in ranks.values()),
        "among_five": sum(rank is not None and rank <= FIRST for rank in ranks.values()),
        "ranks": ranks,
    }


def main(
    model: Annotated[str, typer.Argument(help="Name or folder.")],
    rasters: Annotated[Path, typer.Argument(help="Folder with the nine rasters.")],
    tile: Annotated[str, typer.Option(help="Side of a tile, as `ngcg index --tile`.")] = TILE,
) -> None:
    """Print how many questions are right, and the rank of each one's first right tile, as JSON."""
    asked = questions()
    files = sorted({str(rasters / box.source) for _, right in asked for box in right})
    with tempfile.TemporaryDirectory() as folder:
        place = str(Path(folder) / "index")
        status = run(["index", *files, "--index", place, "--model", model, "--tile", tile, "-q"])
        if status:
            raise typer.Exit(status)
        index = TileIndex.open(place)
        texts = load_encoder(model).encode_texts([query for query, _ in asked])
        hits = index.search(texts, top=index.tile_count)
    windows = [[Box(Path(hit.source).name, *hit.window) for hit in own] for own in hits]
    typer.echo(json.dumps({"tiles": index.tile_count, **measure(windows)}, indent=2))


if __name__ == "__main__":
    script(main)
