"""All constants of the recipe of `tiny`, in one place; the defaults are those of a whole run.

Four courses follow each other. In the first the vision tower stays as ImageNet left it and its
patch tokens are cached; in the second the tower learns, too, and sees each image in a new view at
each step; in the third nothing but teachers and drawn things teach, sentences above all; in the
fourth only drawn things teach, tiles that are all new above all, and all else is held where it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ngcg_cli.training.course import LoopSettings


@dataclass(frozen=True)
class Sizes:
    """How much of everything a step has.

    Attributes:
        photographs: with captions, one caption each.
        unlabelled: photographs without, and mixed ones.
        tiles: drawn ones; `pairs` of statements that exclude each other, `statements` that are
            true of one of them.
        pasted: photographs with drawn things in them, a statement each.
        lexicon: sentences that are true of whole scenes.
        words: sentences with nothing but the teachers' vectors.
        bank: captions that a photograph's nearness to them is compared with.
        counts: how much oftener than of another kind a pair is about a count, and how much more
            it weighs.
    """

    photographs: int = 128
    unlabelled: int = 32
    tiles: int = 64
    pairs: int = 48
    statements: int = 32
    pasted: int = 0
    lexicon: int = 48
    words: int = 64
    bank: int = 4096
    counts: float = 1.0


@dataclass(frozen=True)
class Course:
    """A course of the student's training.

    Attributes:
        loop: steps, rates and the like.
        sizes: of each step.
        weights: of the terms of the loss (`distil.py`); what is not named is not computed.
        temperature: of all softmaxes.
        word_shares: of the corpus, the vocabulary, other sets' captions, the spliced ones and the
            photographs' own captions among a step's words; the first course has the corpus alone.
        frozen: blocks of the tower, from the pixels on, that stay as they are; None: all of it.
        tower_rate: the tower's learning rate as a share of the others'.
        renewed: how far what is known of photographs and captions, against which *own* is
            computed, moves each time towards what the student says of them; 0: it stays what the
            teachers said.
        held: such a share of the photographs is shown as it is, and the panel alone says where
            photographs (as they are) and sentences are to lie: the student, as it was, where no
            other model is beside it. 0: all come in views, and readers say it, too.
        fresh: so many tiles of the town, and of things in number, are drawn for this course alone;
            none: it sees those of the courses before. Of pairs of numbers on tiles that had been
            seen, a student told 89 % apart, and 70 % on others.
        averaged: what it leaves is the mean of its last weights and of those it began from.
    """

    loop: LoopSettings
    sizes: Sizes
    weights: Mapping[str, float]
    temperature: float = 0.05
    word_shares: tuple[float, float, float, float, float] = (1.0, 0.0, 0.0, 0.0, 0.0)
    frozen: int | None = None
    tower_rate: float = 1.0
    renewed: float = 0.0
    held: float = 0.0
    fresh: tuple[int, int] = (0, 0)
    averaged: bool = False


@dataclass(frozen=True)
class Heads:
    """Training of the small heads over frozen teachers.

    Attributes:
        pairs: over the large tower or the student's own, epochs, seed; one entry a pair of heads.
        readers: epochs and seed of each head that reads into the space of a trained student.
        noise: length of the noise that is added to a sentence's unit vector.
        blur: the same of a student's vectors of images, which single photographs must not own.
        lexicon: sentences of the scenes' lexicon in each batch, `lexicon_weight` of their term.
    """

    pairs: tuple[tuple[bool, int, int], ...] = (
        (False, 20, 1), (True, 16, 1), (False, 20, 2), (True, 16, 2))  # fmt: skip
    readers: tuple[tuple[int, int], ...] = ((14, 0), (14, 1), (14, 2))
    batch: int = 1024
    rate: float = 1e-3
    temperature: float = 0.07
    noise: float = 0.25
    lexicon: int = 256
    lexicon_weight: float = 0.7
    reader_temperature: float = 0.06
    reader_noise: float = 0.3
    reader_lexicon: int = 384
    blur: float = 0.5


_FIRST = {"image": 1.0, "text": 1.0, "map_image": 0.5, "map_text": 0.5, "contrast": 0.5,
          "lexicon": 0.25, "codes": 0.5, "differ": 1.0, "hard": 0.4, "drawn": 0.3}  # fmt: skip
_SECOND = {"image": 0.4, "text": 1.0, "map_image": 0.4, "map_text": 0.4, "own_image": 0.4,
           "own_text": 0.4, "contrast": 0.5, "lexicon": 0.35, "codes": 0.5, "differ": 1.0,
           "hard": 0.5, "drawn": 0.3, "pasted": 0.25}  # fmt: skip
# Teachers, the lexicon and drawn things alone: the captions' own photographs are known well.
_THIRD = {"image": 1.0, "text": 1.0, "map_image": 0.5, "map_text": 1.0, "lexicon": 0.2,
          "codes": 0.5, "differ": 1.0, "hard": 0.5, "drawn": 0.3, "pasted": 0.25}  # fmt: skip


# Drawn things alone teach; all else only holds the student where it is.
_FOURTH = {"image": 3.0, "text": 3.0, "map_image": 1.0, "map_text": 1.0, "codes": 0.5,
           "differ": 1.0, "hard": 0.5, "drawn": 0.3, "pasted": 0.1}  # fmt: skip

# The second course's; those after it differ in little.
_LOOP = LoopSettings(
    steps=640, lr=3e-4, schedule="cosine", warmup=0.05, floor=0.02, weight_decay=0.05,
    ema=0.985, precision="bfloat16", log_every=5, save_every=40, validate_every=160,
)  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """A whole run.

    Attributes:
        tiles: drawn tiles, of seeds from `tile_seed` on.
        counted: drawn tiles of things in number (`counted.py`).
        pasted: photographs to paste drawn things into.
        mixed: photographs cut together from two (`mixed.py`).
        pieces: cut from each of the large photographs without captions.
        views: how often the first course's tower sees each photograph: as it is, and as turned
            crops. After two views the student knew those by heart and ranked photographs in others
            much worse.
        other_views: the same of photographs without captions.
        least: crops keep at least this share of the side, in the first course.
        large: the second teacher's pixels a side: of the 150 that there are, no more can be
            made out.
        embedding_norm: of a token's embedding at the start: what Llama's own random ones of this
            width have.
        position: of the channels that tell a token's place: about ten times what is seen in it.
        spliced: sentences made of captions (`spliced.py`).
    """

    seed: int = 0
    tiles: int = 14_000
    tile_seed: int = 2_000_000
    counted: int = 6_000
    pasted: int = 5_000
    mixed: int = 12_000
    spliced: int = 100_000
    pieces: int = 4
    views: int = 6
    other_views: int = 2
    least: float = 0.6
    large: int = 288
    embedding_norm: float = 0.32
    position: float = 10.0
    heads: Heads = field(default_factory=Heads)
    first: Course = field(
        default_factory=lambda: Course(
            LoopSettings(
                steps=1000, lr=1e-3, schedule="cosine", warmup=0.04, floor=0.01, weight_decay=0.05,
                ema=0.99, precision="bfloat16", log_every=10, save_every=50, validate_every=200,
            ),
            Sizes(),
            _FIRST,
        )
    )  # fmt: skip
    second: Course = field(
        default_factory=lambda: Course(
            _LOOP,
            Sizes(photographs=100, unlabelled=40, tiles=48, pasted=20, lexicon=64, words=136,
                  bank=20_000, counts=4.0),
            _SECOND,
            word_shares=(0.42, 0.2, 0.14, 0.24, 0.0),
            frozen=3,
            tower_rate=0.15,
            renewed=0.5,
        )
    )  # fmt: skip
    third: Course = field(
        default_factory=lambda: Course(
            replace(_LOOP, steps=440, lr=2.5e-4, validate_every=110),
            Sizes(photographs=64, unlabelled=64, tiles=48, pasted=16, lexicon=64, words=448,
                  bank=20_000, counts=6.0),
            _THIRD,
            word_shares=(0.28, 0.14, 0.08, 0.36, 0.14),
            frozen=3,
            tower_rate=0.15,
        )
    )  # fmt: skip
    fourth: Course = field(
        default_factory=lambda: Course(
            replace(_LOOP, steps=400, lr=2.5e-4, validate_every=100),
            Sizes(photographs=64, unlabelled=64, tiles=96, pairs=72, statements=40, pasted=8,
                  lexicon=32, words=320, bank=20_000, counts=8.0),
            _FOURTH,
            word_shares=(0.0, 0.2, 0.1, 0.4, 0.3),
            frozen=3,
            tower_rate=0.3,
            held=0.6,
            fresh=(36_000, 24_000),
            averaged=True,
        )
    )  # fmt: skip
