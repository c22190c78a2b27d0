"""The courses after the first: a trained student goes on, its eyes open.

In the second it sees new views of every image; in the third no true labels teach, and it reads far
more; in the fourth it learns from drawn tiles that are all new, and is held where it is in all
else. The teachers are a panel of the student itself, as it was, and of other trained models, for
images; and heads over the text teacher that read into the space of these, for words. For captions,
and for what is spliced from them, both. A student that is held has the panel alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from examples.tiny.keyed import code as sources
from examples.tiny.keyed import keyed, stages, texts_digest
from examples.tiny.measures.paraphrases import held_out
from examples.tiny.recipe import Course, Heads, Recipe
from examples.tiny.stages.codes import Code
from examples.tiny.stages.contrasts import Facts, said
from examples.tiny.stages.counted import FIRST_SEED
from examples.tiny.stages.distil import Lesson
from examples.tiny.stages.eyes import open_eyes
from examples.tiny.stages.first import Prepared
from examples.tiny.stages.gathered import (
    Gathered,
    Images,
    Read,
    in_number,
    kept_reading,
    town,
)
from examples.tiny.stages.heads import read_by, train_reader
from examples.tiny.stages.lessons import Batches, Pasted, Photographs, Pixels, Said, Tiles
from examples.tiny.stages.mixed import write as mix
from examples.tiny.stages.panel import LEAST, Panel, bare, unit
from examples.tiny.stages.pasted import write as paste
from examples.tiny.stages.spliced import spliced
from examples.tiny.stages.teachers import READER, Head
from examples.tiny.stages.vocabulary import Alter, things
from examples.town.captions import Speaker
from ngcg_cli.encoder.checkpoint import load_encoder
from ngcg_cli.encoder.encoder import Encoder

#: Views in which the panel's vectors of a photograph are taken: as it is, and a turned crop.
_VIEWS = 2


def prepare(
    gathered: Gathered,
    start: str,
    beside: Sequence[str],
    out: Path,
    recipe: Recipe,
    course: Course,
    device: str = "cpu",
) -> Prepared:
    """All that is learned from in `course`, and the student `start` (a name or folder).

    It, and what its lesson keeps, are on `device`. `beside`: the panel's other models.
    """
    encoder = bare(load_encoder(start, device, precision="float32"))
    panel = Panel([load_encoder(name, device, precision=course.loop.precision)
                   for name in (start, *beside)])  # fmt: skip
    train, captions, told = gathered.train, gathered.captions, gathered.told
    panel.agree(train, captions.texts, out)
    # A student that is held is told by the panel alone, of photographs as they are.
    views = [panel.look(train, view) for view in range(1 if course.held else _VIEWS)]
    readers = [] if course.held else _readers(gathered, panel, views, out, recipe.heads)

    def said_by(part: Read, *, voted: bool = False) -> np.ndarray:
        """Where sentences are to lie; `voted`: each of the panel's models has a vote, too."""
        if course.held:
            return panel.say(part.texts, out)
        vectors = read_by(readers, part.features)
        return unit(vectors + len(panel.models) * panel.say(part.texts, out)) if voted else vectors

    spoken = said_by(captions, voted=True)
    seen = unit(np.sum(views, axis=0))
    others = np.concatenate([gathered.others.pixels, gathered.roads.pixels])
    folder = keyed(out / "mixed", on=[train.folder, gathered.others.folder, gathered.roads.folder],
                   count=recipe.mixed, code=sources(*stages("mixed")))  # fmt: skip
    photos = np.concatenate([train.pixels, others])
    mixed = Images(mix(folder, photos, recipe.mixed), folder)
    uncaptioned = (gathered.others, gathered.roads, mixed)

    facts, tiles = drawn(gathered, out, recipe, course)
    code = Code(facts)
    drawers = stages("contrasts", "counted", "pasted", "seasons", "ways")
    drawn_by = sources("examples/town/*.py", *drawers)
    folder = keyed(out / "pasted", on=[gathered.others.folder, gathered.roads.folder],
                   count=recipe.pasted, code=drawn_by)  # fmt: skip
    glued, keys = paste(folder, others, recipe.pasted)
    more = spliced(captions.texts, gathered.own, gathered.lexical.images.tolist(), recipe.spliced)
    unread = Read(more, np.empty((0, 0), np.float32))  # the panel needs no features
    made = unread if course.held else kept_reading(more, out / "spliced.npy")
    parts = [*((part, False) for part in gathered.words), (made, True), (captions, True)]
    words = [(part.texts, said_by(part, voted=voted), share)
             for (part, voted), share in zip(parts, course.word_shares, strict=True)
             if share]  # fmt: skip
    batches = Batches(
        Photographs(Pixels([train.pixels], plain=course.held), seen, gathered.own),
        Photographs(
            Pixels([part.pixels for part in uncaptioned], plain=course.held),
            np.concatenate([panel.look(part) for part in uncaptioned]),
        ),
        Tiles(Pixels(tiles, whole=True), facts, code),
        Said(captions.texts, spoken),
        gathered.lexical,
        said_by(told),
        Said(
            [text for texts, _, _ in words for text in texts],
            np.concatenate([targets for _, targets, _ in words]),
            np.concatenate([np.full(len(texts), share / len(texts)) for texts, _, share in words]),
        ),
        encoder,
        course.sizes,
        Pasted(Pixels([glued], whole=True), keys),
        Alter([query for query, _ in held_out()], things()),
        recipe.seed,
    )
    encoder.module.requires_grad_(True)
    open_eyes(encoder.module.vision, course.frozen)
    lesson = Lesson(encoder.module, code, seen, spoken, gathered.own, course)
    lesson.know_codes(_differences(encoder, code))
    lesson.to(encoder.device)
    return Prepared(batches, encoder, lesson)


def _readers(
    gathered: Gathered, panel: Panel, views: Sequence[np.ndarray], out: Path, heads: Heads
) -> list[Head]:
    """Heads over the text teacher that read into the space of these views of the photographs."""
    made_of = {
        "panel": panel.known,
        "reader": READER,
        "code": sources(*stages("heads", "panel")),
        "views": [_VIEWS, LEAST],
        "heads": heads,
        "images": gathered.train.folder,
        "texts": texts_digest([gathered.captions.texts, gathered.told.texts, gathered.own]),
        "scenes": texts_digest(gathered.lexical.scenes.tolist()),
    }
    return [
        train_reader(
            views,
            gathered.captions.features,
            gathered.own,
            gathered.lexical,
            gathered.told.features,
            keyed(out / f"reader-{n}.safetensors", **made_of),
            epochs=epochs,
            seed=seed,
            settings=heads,
        )
        for n, (epochs, seed) in enumerate(heads.readers)
    ]


def drawn(
    gathered: Gathered, out: Path, recipe: Recipe, course: Course
) -> tuple[list[Facts], list[np.ndarray]]:
    """Facts and pixels of the course's drawn tiles: of its own, or those that were gathered."""
    towns, counted = course.fresh
    if not towns + counted:
        pixels = [gathered.tiles.pixels, gathered.counted.pixels]
        return gathered.facts + gathered.counted_facts, pixels
    # Seeds that no course before has seen.
    first = recipe.tile_seed + recipe.tiles
    tiles, facts = town(out, range(first, first + towns))
    first = FIRST_SEED + recipe.counted
    numbers, counted_facts = in_number(out, range(first, first + counted))
    return facts + counted_facts, [tiles.pixels, numbers.pixels]


def _differences(encoder: Encoder, code: Code) -> torch.Tensor:
    """(P, 256): what the student says of the pairs' first statements less the second ones."""
    speaker = Speaker(np.random.default_rng(0))
    texts = [said(pair.swap(second=False), speaker) for pair in code.pairs]
    first, second = (encoder.encode_texts([text[n] for text in texts if text]) for n in (0, 1))
    return torch.from_numpy(first - second)
