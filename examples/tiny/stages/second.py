"""The second course: the student's eyes are opened, on new views of every image.

Its teachers are the student itself, as the first course left it, for images; and heads over the
text teacher that read into the space of its images, for words. For captions, whose photographs it
knows, both.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from examples.tiny.keyed import code as sources
from examples.tiny.keyed import keyed, stages, texts_digest
from examples.tiny.measures.paraphrases import held_out
from examples.tiny.recipe import Recipe
from examples.tiny.stages.codes import Code
from examples.tiny.stages.contrasts import said
from examples.tiny.stages.distil import Lesson
from examples.tiny.stages.eyes import open_eyes
from examples.tiny.stages.first import Prepared
from examples.tiny.stages.gathered import Gathered, Images
from examples.tiny.stages.heads import read_by, train_reader
from examples.tiny.stages.lessons import Batches, Pasted, Photographs, Pixels, Said, Tiles
from examples.tiny.stages.pasted import write as paste
from examples.tiny.stages.vocabulary import Alter, things
from examples.town.captions import Speaker
from ngcg_cli.encoder.checkpoint import load_encoder
from ngcg_cli.encoder.encoder import Encoder

#: Views in which the student's own vectors of a photograph are taken: as it is, and turned crops.
_VIEWS = 3
#: These crops keep at least so many of 150 px.
_LEAST = 100


def prepare(
    gathered: Gathered, start: str, out: Path, recipe: Recipe, device: str = "cpu"
) -> Prepared:
    """All that is learned from, and the student `start` (a name or folder) with open eyes.

    It, and what its lesson keeps, are on `device`.
    """
    course = recipe.second
    encoder = load_encoder(start, device, precision="float32")
    known = encoder.fingerprint
    train, captions, told = gathered.train, gathered.captions, gathered.told
    views = [_shown(encoder, train, known, view) for view in range(_VIEWS)]
    heads = recipe.heads
    made_of = {
        "student": known,
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
    # A caption lies where both the readers and the student have it.
    own = encoder.encode_texts(captions.texts, batch_size=256)
    spoken = _unit(read_by(readers, captions.features) + own)
    seen = _unit(np.sum(views, axis=0))
    others = np.concatenate([gathered.others.pixels, gathered.roads.pixels])
    seen_of_others = [_shown(encoder, part, known, 0) for part in (gathered.others, gathered.roads)]

    facts = gathered.facts + gathered.counted_facts
    drawn = np.concatenate([gathered.tiles.pixels, gathered.counted.pixels])
    code = Code(facts)
    drawers = stages("contrasts", "counted", "pasted", "seasons", "ways")
    drawn_by = sources("examples/town/*.py", *drawers)
    folder = keyed(out / "pasted", on=[gathered.others.folder, gathered.roads.folder],
                   count=recipe.pasted, code=drawn_by)  # fmt: skip
    glued, keys = paste(folder, others, recipe.pasted)
    words = gathered.words
    shares = [np.full(len(part.texts), share / len(part.texts))
              for part, share in zip(words, recipe.word_shares, strict=True)]  # fmt: skip
    batches = Batches(
        Photographs(Pixels(train.pixels), seen, gathered.own),
        Photographs(Pixels(others), np.concatenate(seen_of_others)),
        Tiles(Pixels(drawn, whole=True), facts, code),
        Said(captions.texts, spoken),
        gathered.lexical,
        read_by(readers, told.features),
        Said(
            [text for part in words for text in part.texts],
            read_by(readers, np.concatenate([part.features for part in words])),
            np.concatenate(shares),
        ),
        encoder,
        course.sizes,
        Pasted(Pixels(glued, whole=True), keys),
        Alter([query for query, _ in held_out()], things()),
    )
    encoder.module.requires_grad_(True)
    assert course.frozen is not None
    open_eyes(encoder.module.vision, course.frozen)
    lesson = Lesson(encoder.module, code, seen, spoken, gathered.own, course)
    lesson.know_codes(_differences(encoder, code))
    lesson.to(encoder.device)
    return Prepared(batches, encoder, lesson)


def _shown(encoder: Encoder, images: Images, known: str, view: int) -> np.ndarray:
    """The student's unit vectors (N, 256) of images as they are, or of turned crops."""
    path = keyed(images.folder / f"student-{view}.npy", student=known, least=_LEAST)
    if not path.exists():
        rng = np.random.default_rng(view)
        parts = []
        for start in range(0, len(images.pixels), 128):
            some = [np.array(image) for image in images.pixels[start : start + 128]]
            parts.append(encoder.encode_images([_turned(i, rng) for i in some] if view else some))
        part = path.with_suffix(".part.npy")
        np.save(part, np.concatenate(parts))
        part.rename(path)
    return np.load(path, allow_pickle=False)


def _turned(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    whole = len(image)
    side = int(rng.integers(_LEAST, whole + 1))
    top, left = (int(v) for v in rng.integers(0, whole - side + 1, 2))
    crop = np.rot90(image[top : top + side, left : left + side], int(rng.integers(4)))
    return np.ascontiguousarray(crop[:, ::-1] if rng.integers(2) else crop)


def _differences(encoder: Encoder, code: Code) -> torch.Tensor:
    """(P, 256): what the student says of the pairs' first statements less the second ones."""
    speaker = Speaker(np.random.default_rng(0))
    texts = [said(pair.swap(second=False), speaker) for pair in code.pairs]
    first, second = (encoder.encode_texts([text[n] for text in texts if text]) for n in (0, 1))
    return torch.from_numpy(first - second)


def _unit(vectors: np.ndarray) -> np.ndarray:
    out: np.ndarray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return out.astype(np.float32)
