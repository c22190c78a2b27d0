"""Does a model tell red from blue, two from three, left from right?

    python -m examples.tiny.measures.attributes tiny --cache FOLDER

Drawn tiles of seeds that no training has seen, each with two captions that differ in one
attribute (`contrasts.py`). A pair is won when the true caption scores above the false one; within
a kind every value is true as often as it is false, so that no preference for a word helps.
`kept_out` are the pairs that name a combination which training leaves out (`contrasts.taught`).
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer

from examples.tiny.keyed import code, keyed, stages
from examples.tiny.script import script
from examples.tiny.stages.contrasts import KINDS, draw, taught
from examples.tiny.stages.corpus import SIDE
from ngcg_cli.encoder.checkpoint import load_encoder
from ngcg_cli.encoder.encoder import Encoder
from ngcg_cli.evaluation.metrics import Bootstrap

FIRST_SEED = 1_000_000
TILES = 1000
MOST = 160  # pairs of a kind


class Item(NamedTuple):
    """A pair: its tile's row among the images, and what `Contrast` tells."""

    tile: int
    kind: str
    true: str
    false: str
    values: tuple[str, str]


def items(
    cache: Path | None = None, tiles: int = TILES, first: int = FIRST_SEED, most: int = MOST
) -> tuple[np.ndarray, list[Item]]:
    """Images (N, 150, 150, 3) uint8 and the pairs on them; drawn once if `cache` is given."""
    if cache:
        drawn_by = code("examples/town/*.py", *stages("contrasts"))
        cache = keyed(cache / "pairs", tiles=tiles, first=first, most=most, code=drawn_by)
    if cache and (cache / "pairs.json").exists():
        rows = json.loads((cache / "pairs.json").read_text())
        images = np.load(cache / "images.npy", allow_pickle=False)
        return images, [
            Item(at, kind, true, false, (a, b)) for at, kind, true, false, (a, b) in rows
        ]
    drawn, found = [], []
    for row in range(tiles):
        image, contrasts = draw(first + row, SIDE)
        drawn.append(image)
        found += [Item(row, c.kind, c.true, c.false, c.values) for c in contrasts]
    images, chosen = np.stack(drawn), balanced(found, most)
    if cache:
        cache.mkdir(parents=True, exist_ok=True)
        np.save(cache / "images.npy", images)
        (cache / "pairs.json").write_text(json.dumps(chosen))
    return images, chosen


def balanced(found: Sequence[Item], most: int = MOST) -> list[Item]:
    """Up to `most` pairs of a kind, for each a -> b another b -> a, in the order of the tiles."""
    waiting: dict[tuple[str, tuple[str, str]], list[Item]] = defaultdict(list)
    couples: dict[str, list[Item]] = defaultdict(list)
    for item in found:
        mirror = waiting[item.kind, (item.values[1], item.values[0])]
        if mirror:
            couples[item.kind] += [mirror.pop(0), item]
        else:
            waiting[item.kind, item.values].append(item)
    return sorted(item for chosen in couples.values() for item in chosen[:most])


def measure(encoder: Encoder, images: np.ndarray, pairs: Sequence[Item]) -> dict[str, Any]:
    """Share of pairs won (percent) with 95 % intervals, over all, by kind and combination."""
    used = sorted({pair.tile for pair in pairs})
    place = {tile: at for at, tile in enumerate(used)}
    seen = encoder.encode_images([images[tile] for tile in used])
    owner = np.array([place[pair.tile] for pair in pairs])
    true = encoder.encode_texts([pair.true for pair in pairs])
    false = encoder.encode_texts([pair.false for pair in pairs])
    # A tie, such as a word the tokenizer drops, is not won.
    won = (((true - false) * seen[owner]).sum(1) > 0).astype(float)
    kinds = np.array([pair.kind for pair in pairs])
    out = np.array([not (taught(pair.true) and taught(pair.false)) for pair in pairs])
    everything = np.ones(len(pairs), bool)
    return {
        **_figure(won, owner, everything),
        "kinds": {kind: _figure(won, owner, kinds == kind) for kind in KINDS if kind in kinds},
        "kept_out": _figure(won, owner, out),
        "not_kept_out": _figure(won, owner, ~out),
    }


def _figure(won: np.ndarray, owner: np.ndarray, chosen: np.ndarray) -> dict[str, Any]:
    """Share and interval; tiles, not pairs, are resampled."""
    if not chosen.any():
        return {"pairs": 0, "share": None, "ci": None}
    _, tiles = np.unique(owner[chosen], return_inverse=True)
    low, high = Bootstrap(int(tiles.max()) + 1).mean(won[chosen], tiles)
    return {
        "pairs": int(chosen.sum()),
        "share": round(100 * float(won[chosen].mean()), 2),
        "ci": [round(100 * low, 2), round(100 * high, 2)],
    }


def main(
    model: Annotated[str, typer.Argument(help="Name or folder.")] = "tiny",
    cache: Annotated[Path | None, typer.Option(help="Folder to keep the drawn tiles in.")] = None,
    tiles: Annotated[int, typer.Option(help="Tiles to draw.")] = TILES,
    first: Annotated[int, typer.Option(help="The first one's seed.")] = FIRST_SEED,
    most: Annotated[int, typer.Option(help="Pairs of a kind.")] = MOST,
    verbose: Annotated[bool, typer.Option(help="Add the pairs.")] = False,
) -> None:
    """Print the share of drawn tiles whose true caption scores above the false one, as JSON."""
    images, pairs = items(cache, tiles, first, most)
    figures = measure(load_encoder(model), images, pairs)
    if verbose:
        figures["list"] = [pair._asdict() for pair in pairs]
    typer.echo(json.dumps(figures, indent=2))


if __name__ == "__main__":
    script(main)
