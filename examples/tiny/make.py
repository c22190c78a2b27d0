"""The recipe of `tiny`, from the data folder to the shipped weights, in one command.

    bash examples/tiny/make.sh DATA runs/tiny

`README.md` says what DATA holds; OUT/sources has the vocabularies that make.sh fetches. Every stage
leaves its result in OUT, under a name that tells what it was made of, and is not done again; the
training resumes where it stopped.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import numpy as np
import torch
import typer

from examples.tiny.keyed import code, keyed, texts_digest
from examples.tiny.recipe import Course, Recipe
from examples.tiny.script import script
from examples.tiny.stages import first, second
from examples.tiny.stages.averaged import mean
from examples.tiny.stages.balanced import balance
from examples.tiny.stages.corpus import Part
from examples.tiny.stages.distil import step
from examples.tiny.stages.first import Prepared
from examples.tiny.stages.gathered import Gathered, gather
from examples.tiny.stages.panel import Panel
from examples.tiny.stages.teachers import READER
from ngcg_cli.datasets.pairs import Pair
from ngcg_cli.encoder.checkpoint import load_encoder, save_checkpoint
from ngcg_cli.encoder.encoder import Encoder
from ngcg_cli.encoder.weights import pick_device
from ngcg_cli.errors import UsageError
from ngcg_cli.evaluation.retrieval import recall
from ngcg_cli.training.loop import Run

#: The courses after the first.
Later = Literal["second", "third", "fourth"]
LATER: tuple[Later, ...] = get_args(Later)
#: A part of the names of the tower's parameters.
TOWER = "vision_tower."
#: What a run's folder is named by, beside constants and data: change a stage, and it starts anew.
STAGES = "examples/tiny/stages/*.py"


def main(
    data: Annotated[Path, typer.Option(help="Folder of what is learned from: see README.md.")],
    out: Annotated[
        Path, typer.Option(help="Folder for caches, runs and result; make.sh fills its sources/.")
    ],
    start: Annotated[
        str | None, typer.Option(help="Leave the first course out: a model to go on from.")
    ] = None,
    beside: Annotated[
        list[str] | None,
        typer.Option(
            help="A model that the later courses learn from beside their start; repeatable."
        ),
    ] = None,
    tiles: Annotated[
        int,
        typer.Option(min=1, help="How many drawn tiles; a fourth course draws 4.3 times as many."),
    ] = Recipe.tiles,
    course: Annotated[
        Later,
        typer.Option(help="With --start: go on with this course, and those after it."),
    ] = "second",
    seed: Annotated[
        int,
        typer.Option(min=0, help="Decides the order in which things come, and the first weights."),
    ] = Recipe.seed,
    threads: Annotated[int, typer.Option(min=1, help="torch's threads.")] = 2,
    device: Annotated[
        str, typer.Option(help="Where the later courses compute: cpu, or cuda (untested).")
    ] = "cpu",
    float32: Annotated[
        bool, typer.Option("--float32", help="Compute in float32: for a CPU without bfloat16.")
    ] = False,
) -> None:
    """Make such a model as `tiny`: OUT/tiny, with 16-bit weights."""
    torch.set_num_threads(threads)
    recipe = _recipe(tiles, seed, float32)
    # Before the hours that come first: what is named must be there.
    pick_device(device)
    if course != "second" and start is None:
        raise UsageError(
            f"--course {course} goes on from trained weights", hint="add --start MODEL"
        )
    others = _fingerprints(beside or ())
    if start is not None:
        _fingerprints([start])
    # What the stages' code is now: the run has read it already.
    made_of: dict[str, Any] = {"code": code(STAGES)}
    out.mkdir(parents=True, exist_ok=True)
    gathered = gather(data, out, recipe)
    made_of |= {"data": _data(gathered)}
    if start is None:
        # What only the later courses know of does not decide the first one.
        later: dict[str, Any] = dict.fromkeys(LATER, recipe.first)
        known = replace(recipe, **later, mixed=0, spliced=0, pasted=0)
        run = keyed(out / "first", recipe=known, **made_of)
        _study(first.prepare(gathered, out, recipe), recipe.first, run, gathered.val)
        start = str(run / "last")
    for number in range(LATER.index(course), len(LATER)):
        name, this = LATER[number], getattr(recipe, LATER[number])
        # Nor do the later courses decide those before them.
        later = dict.fromkeys(LATER[number + 1 :], this)
        known = replace(recipe, **later)
        models = [*_fingerprints([start]), *others]
        run = keyed(out / name, recipe=known, models=models, **made_of)
        _study(
            second.prepare(gathered, start, beside or (), out, recipe, this, device),
            this,
            run,
            gathered.val,
        )
        start = str(_left(run, start, this))
    # The last weights, not the best on val: val is measured, never chosen by.
    final = load_encoder(start, "cpu", precision="float32")
    balance(final, gathered.photographs)
    figures = validate(final, gathered.val)
    final.name, final.origin = "tiny", None  # it is no one's further training: it has no base
    save_checkpoint(final, out / "tiny", {"metrics": figures}, dtype=torch.float16)
    typer.echo(json.dumps(figures))


def _recipe(tiles: int, seed: int, float32: bool) -> Recipe:
    whole = Recipe(tiles=tiles, seed=seed)
    scale = tiles / Recipe().tiles

    def settled(course: Course) -> Course:
        precision = "float32" if float32 else course.loop.precision
        towns, counted = (round(count * scale) for count in course.fresh)
        loop = replace(course.loop, seed=seed, precision=precision)
        return replace(course, loop=loop, fresh=(towns, counted))

    courses: dict[str, Any] = {n: settled(getattr(whole, n)) for n in ("first", *LATER)}
    return replace(whole, **courses)


def _fingerprints(models: Sequence[str]) -> list[str]:
    """Of named models, which must be such that a panel can have them."""
    return [model.fingerprint for model in Panel([load_encoder(n, "cpu") for n in models]).models]


def _data(gathered: Gathered) -> list[str]:
    """What names all that is learned from: a run that began with other data does not go on."""
    parts = (gathered.train, gathered.others, gathered.roads, gathered.tiles, gathered.counted)
    said = [gathered.captions, gathered.told, *gathered.words]
    true = [gathered.own, gathered.lexical.scenes.tolist(), READER]
    return [
        *(part.folder.name for part in parts),
        *(texts_digest(read.texts) for read in said),
        texts_digest(true),
    ]


def _study(ready: Prepared, course: Course, run: Path, val: Part) -> None:
    """Train the student for a course, from where it stopped: RUN/last is what is left."""
    encoder = ready.encoder
    Run(
        ready.lesson,
        ready.batches,
        step,
        course.loop,
        run,
        validate=lambda: validate(encoder, val),
        save=lambda folder, figures: save_checkpoint(encoder, folder, {"metrics": figures}),
        resume=True,
        rates={TOWER: course.tower_rate} if course.frozen is not None else {},
    ).go()


def _left(run: Path, start: str, course: Course) -> Path:
    """The folder of what a finished course leaves: its last weights, or their mean with `start`."""
    last = run / "last"
    if not course.averaged:
        return last
    made = mean([load_encoder(str(m), "cpu", precision="float32") for m in (last, start)])
    save_checkpoint(made, run / "mean", {})
    return run / "mean"


def validate(encoder: Encoder, val: Part) -> dict[str, float]:
    """The six recalls on val, in percent, and their mean."""
    images = encoder.encode_images(list(val.images))
    texts = encoder.encode_texts([text for own in val.captions for text in own], batch_size=256)
    return ranked(val, images, texts)


def ranked(val: Part, images: np.ndarray, texts: np.ndarray) -> dict[str, float]:
    """The same of unit vectors: (N, D) of val's images, (M, D) of all their captions in turn."""
    pairs = [Pair(Path(f"{row}.jpg"), own, f"{row}.jpg") for row, own in enumerate(val.captions)]
    figures = recall(pairs, images, texts).figures
    named = {
        f"{direction} {k}": value
        for direction in ("text_to_image", "image_to_text")
        for k, value in figures[direction].items()
    }
    return {**named, "mean": figures["mean"]}


if __name__ == "__main__":
    script(main)
