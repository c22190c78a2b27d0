"""The second course and the third: a trained student goes on, on new views of every image.

Its eyes are open in both; in the third no true labels teach, and it reads far more. The teachers
are a panel of the student itself, as it was, and of other trained models, for images; and heads
over the text teacher that read into the space of these, for words. For captions, and for what is
spliced from them, both.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from examples.tiny.keyed import code as sources
from examples.tiny.keyed import keyed, stages, texts_digest
from examples.tiny.measures.paraphrases import held_out
from examples.tiny.recipe import Course, Recipe
from examples.tiny.stages.codes import Code
from examples.tiny.stages.contrasts import said
from examples.tiny.stages.distil import Lesson
from examples.tiny.stages.eyes import open_eyes
from examples.tiny.stages.first import Prepared
from examples.tiny.stages.gathered import Gathered, Images
from examples.tiny.stages.heads import read_by, train_reader
from examples.tiny.stages.lessons import Batches, Pasted, Photographs, Pixels, Said, Tiles
from examples.tiny.stages.mixed import write as mix
from examples.tiny.stages.panel import LEAST, Panel, bare, unit
from examples.tiny.stages.pasted import write as paste
from examples.tiny.stages.spliced import spliced
from examples.tiny.stages.teachers import READER, read
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
    views = [panel.look(train, view) for view in range(_VIEWS)]
    heads = recipe.heads
    made_of = {
        "panel": panel.known,
        "reader": READER,
        "code": sources(*stages("heads", "panel")),
        "views": [_VIEWS, LEAST],
        "heads": heads,
        "images": train.folder,
        "texts": texts_digest([captions.texts, told.texts, gathered.own]),
        "scenes": texts_digest(gathered.lexical.scenes.tolist()),
    }
    readers = [
        train_reader(
            views,
            captions.features,
            gathered.own,
            gathered.lexical,
            told.features,
            keyed(out / f"reader-{n}.safetensors", **made_of),
            epochs=epochs,
            seed=seed,
            settings=heads,
        )
        for n, (epochs, seed) in enumerate(heads.readers)
    ]
    # A caption lies where the readers and the panel have it, each of whose models has a vote.
    votes = len(panel.models)
    spoken = unit(read_by(readers, captions.features) + votes * panel.say(captions.texts, out))
    seen = unit(np.sum(views, axis=0))
    others = np.concatenate([gathered.others.pixels, gathered.roads.pixels])
    folder = keyed(out / "mixed", on=[train.folder, gathered.others.folder, gathered.roads.folder],
                   count=recipe.mixed, code=sources(*stages("mixed")))  # fmt: skip
    photos = np.concatenate([train.pixels, others])
    mixed = Images(mix(folder, photos, recipe.mixed), folder)
    uncaptioned = (gathered.others, gathered.roads, mixed)

    facts = gathered.facts + gathered.counted_facts
    drawn = np.concatenate([gathered.tiles.pixels, gathered.counted.pixels])
    code = Code(facts)
    drawers = stages("contrasts", "counted", "pasted", "seasons", "ways")
    drawn_by = sources("examples/town/*.py", *drawers)
    folder = keyed(out / "pasted", on=[gathered.others.folder, gathered.roads.folder],
                   count=recipe.pasted, code=drawn_by)  # fmt: skip
    glued, keys = paste(folder, others, recipe.pasted)
    more = spliced(captions.texts, gathered.own, gathered.lexical.images.tolist(), recipe.spliced)
    made = read(more, keyed(out / "spliced.npy", texts=texts_digest(more), reader=READER))
    words = [
        *((part.texts, read_by(readers, part.features)) for part in gathered.words),
        (more, unit(read_by(readers, made) + votes * panel.say(more, out))),
        (captions.texts, spoken),
    ]
    shares = [np.full(len(texts), share / len(texts))
              for (texts, _), share in zip(words, course.word_shares, strict=True)]  # fmt: skip
    batches = Batches(
        Photographs(Pixels(train.pixels), seen, gathered.own),
        Photographs(
            Pixels(np.concatenate([part.pixels for part in uncaptioned])),
            np.concatenate([panel.look(part) for part in uncaptioned]),
        ),
        Tiles(Pixels(drawn, whole=True), facts, code),
        Said(captions.texts, spoken),
        gathered.lexical,
        read_by(readers, told.features),
        Said(
            [text for texts, _ in words for text in texts],
            np.concatenate([targets for _, targets in words]),
            np.concatenate(shares),
        ),
        encoder,
        course.sizes,
        Pasted(Pixels(glued, whole=True), keys),
        Alter([query for query, _ in held_out()], things()),
        recipe.seed,
    )
    encoder.module.requires_grad_(True)
    open_eyes(encoder.module.vision, course.frozen)
    lesson = Lesson(encoder.module, code, seen, spoken, gathered.own, course)
    lesson.know_codes(_differences(encoder, code))
    lesson.to(encoder.device)
    return Prepared(batches, encoder, lesson)


def _differences(encoder: Encoder, code: Code) -> torch.Tensor:
    """(P, 256): what the student says of the pairs' first statements less the second ones."""
    speaker = Speaker(np.random.default_rng(0))
    texts = [said(pair.swap(second=False), speaker) for pair in code.pairs]
    first, second = (encoder.encode_texts([text[n] for text in texts if text]) for n in (0, 1))
    return torch.from_numpy(first - second)
