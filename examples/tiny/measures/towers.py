"""Which tower, and how many pixels, are worth their time? Heads over frozen ones, ranked on val.

    python -m examples.tiny.measures.towers DATA OUT --towers lite0:256,lite0:288,lite2:256

DATA and OUT are the recipe's, whose caches are taken. Each tower has ImageNet's weights; heads of
the first course's kind are trained over its last map, two seeds each. Time is the tower's own, in
CPU time against that of the first one named.
"""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

from examples.tiny.keyed import keyed, texts_digest
from examples.tiny.make import ranked
from examples.tiny.recipe import Heads, Recipe
from examples.tiny.script import script
from examples.tiny.stages.features import see_whole
from examples.tiny.stages.gathered import Gathered, gather
from examples.tiny.stages.heads import train_heads
from examples.tiny.stages.teachers import READER, read
from examples.tiny.stages.tower import imagenet_tower
from ngcg_cli.encoder.convnet import ConvTower
from ngcg_cli.errors import UsageError

_EPOCHS = 20
_SEEDS = (1, 2)
#: Rounds and images of the timing; the towers take turns.
_ROUNDS, _TIMED = 5, 16


def main(
    data: Annotated[Path, typer.Argument(help="The recipe's data.")],
    out: Annotated[Path, typer.Argument(help="A run's folder, for caches.")],
    towers: Annotated[str, typer.Option(help="NAME:SIDE, ...: lite0 or lite2.")] = (
        "lite0:256,lite0:288,lite0:320,lite2:256,lite2:288"
    ),
    threads: Annotated[int, typer.Option(min=1, help="torch's threads.")] = 1,
) -> None:
    """Print a line of JSON for each tower."""
    torch.set_num_threads(threads)
    if not all(re.fullmatch(r"lite[02]:[1-9]\d*", each) for each in towers.split(",")):
        raise UsageError(f"--towers {towers!r}: NAME:SIDE, ...; a NAME is lite0 or lite2")
    asked = [(name, int(side)) for name, side in (each.split(":") for each in towers.split(","))]
    gathered = gather(data, out, Recipe())
    texts = [text for own in gathered.val.captions for text in own]
    said = read(texts, keyed(out / "val-texts.npy", texts=texts_digest(texts), reader=READER))
    times = _times(asked)
    for (name, side), cost in zip(asked, times, strict=True):
        figures = [_measure(gathered, said, out, name, side, seed) for seed in _SEEDS]
        mean = {key: round(float(np.mean([f[key] for f in figures])), 2) for key in figures[0]}
        line = {"tower": name, "side": side, "time": round(cost / times[0], 2), **mean}
        typer.echo(json.dumps(line))


def _measure(
    gathered: Gathered, said: np.ndarray, out: Path, name: str, side: int, seed: int
) -> dict[str, float]:
    tower = imagenet_tower(large=name == "lite2")
    seen = {}
    for part, images, known in (
        ("train", gathered.train.pixels, gathered.train.folder.name),
        ("val", gathered.val.images, texts_digest(gathered.val.names)),
    ):
        path = keyed(out / f"{part}-whole.npy", tower=name, side=side, images=known)
        seen[part] = see_whole(tower, images, path, side)
    heads = Heads()
    taught = texts_digest([gathered.captions.texts, gathered.told.texts, gathered.own])
    path = keyed(out / "alone.safetensors", tower=name, side=side, seed=seed, heads=heads,
                 epochs=_EPOCHS, images=gathered.train.folder, texts=taught)  # fmt: skip
    see, say = train_heads(
        [seen["train"]],
        gathered.captions.features,
        gathered.own,
        gathered.lexical,
        gathered.told.features,
        path,
        epochs=_EPOCHS,
        seed=seed,
        settings=heads,
    )
    with torch.inference_mode():
        images, texts = see(torch.from_numpy(seen["val"])), say(torch.from_numpy(said))
    figures = ranked(gathered.val, images.numpy(), texts.numpy())
    return {key: figures[key] for key in ("text_to_image R@10", "image_to_text R@10", "mean")}


@torch.inference_mode()
def _times(asked: list[tuple[str, int]]) -> list[float]:
    """CPU seconds of each tower, the least of several rounds in turn."""
    made: list[tuple[ConvTower, torch.Tensor]] = [
        (imagenet_tower(large=name == "lite2"), torch.randn(_TIMED, 3, side, side))
        for name, side in asked
    ]
    found = np.full((_ROUNDS, len(made)), np.inf)
    for row in range(_ROUNDS):
        for column, (tower, pixels) in enumerate(made):
            began = time.process_time()
            tower.content(pixels)
            found[row, column] = time.process_time() - began
    least: list[float] = found[1:].min(0).tolist()  # the first round warms up
    return least


if __name__ == "__main__":
    script(main)
