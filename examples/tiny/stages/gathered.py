"""All that the recipe learns from, from the data folder and the vocabularies, with its caches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from examples.tiny.keyed import code, contents, keyed, stages, texts_digest
from examples.tiny.recipe import Recipe
from examples.tiny.stages import counted as counting
from examples.tiny.stages.contrasts import Facts, read_facts, write
from examples.tiny.stages.corpus import Part, more_captions, photographs, pieces, unlabelled
from examples.tiny.stages.glosses import synsets
from examples.tiny.stages.heads import Lexicon
from examples.tiny.stages.mapped import mapped
from examples.tiny.stages.scenes import lexicon
from examples.tiny.stages.teachers import READER, read
from examples.tiny.stages.vocabulary import phrased, phrases, things
from examples.tiny.stages.words import kept, sentences, vectors
from examples.town.tiles import Tile, make_tile
from ngcg_cli.errors import UsageError


@dataclass(frozen=True)
class Images:
    """Images, uint8 (N, 150, 150, 3), and the keyed folder that caches of theirs lie in."""

    pixels: np.ndarray
    folder: Path


@dataclass(frozen=True)
class Read:
    """Sentences and the text teacher's features of them, float32 (N, 384)."""

    texts: list[str]
    features: np.ndarray


@dataclass(frozen=True)
class Gathered:
    """What there is.

    Attributes:
        train: photographs with captions; `own` has the numbers of each one's among `captions`.
        photographs: the same, with RSICD's captions alone.
        val: photographs to measure on.
        others: photographs without captions; `roads`: pieces of larger ones.
        tiles: drawn ones, with `facts` of each.
        counted: drawn ones of things in number, with `counted_facts` of each; of the later courses.
        lexical: the scenes' lexicon, whose sentences are `told`.
        words: the corpus, the vocabulary's phrases, and captions of other sets.
    """

    train: Images
    photographs: Part
    val: Part
    others: Images
    roads: Images
    tiles: Images
    facts: list[Facts]
    counted: Images
    counted_facts: list[Facts]
    captions: Read
    own: list[tuple[int, ...]]
    lexical: Lexicon
    told: Read
    words: tuple[Read, Read, Read]


#: The vocabularies' folders.
SOURCES = ("id-tagging-schema", "wordnet")


def gather(data: Path, out: Path, recipe: Recipe) -> Gathered:
    """Read, draw and let the text teacher read everything, or take it from OUT.

    Args:
        data: the folder that `examples/tiny/README.md` describes.
        out: for caches; OUT/sources holds the vocabularies.
        recipe: the constants.

    Raises:
        UsageError: a file is missing.
    """
    archive, held_out = data / "rsicd150/train.tar", data / "rsicd150/val.tar"
    rsscn7 = data / "overhead-unlabelled/rsscn7-150.tar"
    large = data / "overhead-unlabelled/aerial-roads.tar"
    _check(
        [archive, held_out, data / "rsicd150/rsitmd-captions.jsonl", rsscn7, large,
         data / "texts/overhead-captions.txt", *(out / "sources" / name for name in SOURCES)]
    )  # fmt: skip
    (train, folder), (val, _) = unpacked(archive, out), unpacked(held_out, out)
    more = more_captions(data / "rsicd150/rsitmd-captions.jsonl", "train")
    spoken = [
        tuple(dict.fromkeys(" ".join(text.split()) for text in (*texts, *more.get(name, ()))))
        for texts, name in zip(train.captions, train.names, strict=True)
    ]
    captions = sorted({text for texts in spoken for text in texts})
    number = {text: n for n, text in enumerate(captions)}

    others = keyed(out / "others", archive=contents(rsscn7))
    roads = keyed(out / "roads", archive=contents(large), pieces=recipe.pieces)
    drawn, facts = town(out, range(recipe.tile_seed, recipe.tile_seed + recipe.tiles))
    numbers, counted_facts = in_number(
        out, range(counting.FIRST_SEED, counting.FIRST_SEED + recipe.counted)
    )

    lexical = _lexicon(out / "sources", train.scenes)
    return Gathered(
        Images(train.images, folder),
        train,
        val,
        Images(unlabelled(rsscn7, others), others),
        Images(pieces(large, roads, recipe.pieces), roads),
        drawn,
        facts,
        numbers,
        counted_facts,
        kept_reading(captions, out / "captions.npy"),
        [tuple(number[text] for text in texts) for texts in spoken],
        lexical,
        kept_reading(lexical.sentences, out / "lexicon.npy"),
        _words(data, out),
    )


def unpacked(archive: Path, out: Path) -> tuple[Part, Path]:
    """A tar file's photographs with captions, and the folder in OUT that keeps them.

    Raises:
        UsageError: the file is missing.
    """
    _check([archive])
    folder = keyed(out / archive.stem, archive=contents(archive))
    return photographs(archive, folder), folder


def town(out: Path, seeds: range) -> tuple[Images, list[Facts]]:
    """Tiles of a drawn town, with the facts of each.

    Some combinations of known words are kept out of them, to be measured on later.
    """
    return _drawn(out / "tiles", seeds, make_tile, "contrasts")


def in_number(out: Path, seeds: range) -> tuple[Images, list[Facts]]:
    """Drawn tiles of things in number, with the facts of each."""
    return _drawn(out / "counted", seeds, counting.make_counted, "contrasts", "counted")


def _drawn(
    folder: Path, seeds: range, make: Callable[[int, int], Tile], *drawers: str
) -> tuple[Images, list[Facts]]:
    """The tiles of `seeds`, which `make` and these stages draw, kept in `folder`."""
    folder = keyed(folder, seeds=[seeds.start, seeds.stop],
                   code=code("examples/town/*.py", *stages(*drawers)))  # fmt: skip
    write(folder, seeds, make=make)
    pixels, facts = read_facts(folder)
    return Images(pixels, folder), facts


def _check(files: Sequence[Path]) -> None:
    missing = [str(file) for file in files if not file.exists()]
    if missing:
        raise UsageError(
            f"missing: {', '.join(missing)}",
            hint="examples/tiny/README.md says what DATA holds; make.sh fetches OUT/sources.",
        )


def _lexicon(sources: Path, scenes: Sequence[str]) -> Lexicon:
    """What else each scene is called, and the vocabulary's things that nearly always are in it."""
    told = lexicon(synsets(sources / "wordnet"), mapped(sources / "id-tagging-schema"))
    for thing in things():
        for scene in thing.scenes:
            told[scene] += [text for name in thing.names for text in phrased(name)]
    known = sorted(told)
    rows = [(n, text) for n, scene in enumerate(known) for text in kept(told[scene])]
    return Lexicon(
        [text for _, text in rows],
        np.array([n for n, _ in rows]),
        np.array([known.index(scene) for scene in scenes]),
    )


def _words(data: Path, out: Path) -> tuple[Read, Read, Read]:
    sources = out / "sources"
    corpus = sentences(sources / "id-tagging-schema", sources / "wordnet")
    cache = keyed(out / "words", texts=texts_digest(corpus), reader=READER)
    lines = (data / "texts/overhead-captions.txt").read_text().splitlines()
    spoken = [line.strip().rstrip(" .") for line in lines if line.strip()]
    return (
        Read(corpus, vectors(corpus, cache).astype(np.float32)),
        kept_reading(list(kept(phrases())), out / "vocabulary.npy"),
        kept_reading(list(kept(spoken)), out / "overhead.npy"),
    )


def kept_reading(texts: list[str], path: Path) -> Read:
    """The sentences with the text teacher's features, which are kept beside `path`'s name."""
    return Read(texts, read(texts, keyed(path, texts=texts_digest(texts), reader=READER)))
