"""What a training run can be told: declared here, once.

The command line, its help, the checks, `ngcg.json` and the table in `docs/training.md` are made of
these fields; `options.py` tells type checkers what Python takes. Nothing heavy is imported here, so
that `ngcg train --help` is quick.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_type_hints

from ngcg_cli.choices import (
    AUGMENTATIONS,
    Augmentation,
    Batches,
    DataFormat,
    Direction,
    ImageType,
    Pooling,
    Schedule,
    TrainPrecisionChoice,
    Tuning,
)
from ngcg_cli.errors import UsageError

# Peak learning rates of the paper's reference run; only InternVL and SmolVLM are in it.
LEARNING_RATES = {
    "internvl": 3e-5,
    "smolvlm": 1e-4,
    "idefics3": 1e-4,
    "internvl_conv": 1e-4,
    "siglip": 1e-4,
    "qwen3_vl": 3e-5,
    "embedding_gemma2": 1e-4,
}


@dataclass(frozen=True)
class Told:
    """What a field means and may be.

    Attributes:
        help: for `--help`.
        source: where the default comes from. "Paper" is arXiv 2604.10721; "reference" is what its
            published code is set to, where the paper leaves it open.
        shown: the default in words, where the value does not say it.
        metavar: what stands for the value in `--help`.
        least, most: bounds, themselves allowed.
        above, below: bounds, themselves not allowed.
    """

    help: str
    source: str = "ours"
    shown: str | None = None
    metavar: str | None = None
    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None

    def allows(self, value: Any) -> bool:
        """Whether a number (or None, a default that is worked out later) is within the bounds."""
        return value is None or (
            (self.least is None or value >= self.least)
            and (self.most is None or value <= self.most)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )


class Setting(NamedTuple):
    """A field of a settings class: its name, bare type, default, and what is told of it."""

    name: str
    type: Any
    default: Any
    told: Told

    @property
    def option(self) -> str:
        """As it stands on the command line."""
        return f"--{self.name.replace('_', '-')}"


def settings_of(kind: type[Any]) -> Iterator[Setting]:
    """The declared settings of a class, in order."""
    hints = get_type_hints(kind, include_extras=True)
    for field in fields(kind):
        told = getattr(hints[field.name], "__metadata__", (None,))[0]
        if isinstance(told, Told):
            yield Setting(field.name, hints[field.name].__origin__, field.default, told)


@dataclass(frozen=True, kw_only=True)
class _Checked:
    def __post_init__(self) -> None:
        for setting in settings_of(type(self)):
            value = getattr(self, setting.name)
            if not setting.told.allows(value):
                raise UsageError(f"{setting.option} cannot be {value}")


@dataclass(frozen=True, kw_only=True)
class Lesson(_Checked):
    """What is trained on what."""

    data: Annotated[
        Path, Told("Captions as JSON Lines, a GeoText-1652 annotation file, or a CVG-Text folder.")
    ]
    out: Annotated[
        Path, Told("A new folder for the checkpoint; with --resume, the folder of the run.")
    ]
    model: Annotated[str, Told("The model to start from.")] = "tiny"
    teacher: Annotated[
        str | None,
        Told(
            "A larger model to imitate: what is near what in its vectors. Captions are optional "
            "then; where there are some, the usual loss is added.",
            metavar="NAME_OR_PATH",
        ),
    ] = None
    anchors: Annotated[
        Path | None,
        Told(
            "With --teacher: sentences, one per line, on which the student's texts are held to the "
            "teacher's where images have no captions; best such as will be asked.",
            metavar="FILE",
            shown="sentences of what is seen from above",
        ),
    ] = None
    data_format: Annotated[DataFormat, Told("The format of DATA; auto looks at the content.")] = (
        "auto"
    )
    images: Annotated[
        Path | None, Told("Where the images lie, when not beside DATA.", metavar="DIR")
    ] = None
    views: Annotated[
        Sequence[str],
        Told("Only images of these views, such as drone,satellite,ground.", metavar="VIEW,..."),
    ] = ()
    image_type: Annotated[ImageType, Told("Satellite tiles or OpenStreetMap tiles (CVG-Text).")] = (
        "sat"
    )
    val: Annotated[
        Path | None,
        Told(
            "A data set to validate on; the checkpoint with the best mean recall is kept.",
            metavar="DATA",
        ),
    ] = None
    tuning: Annotated[Tuning, Told("Train a LoRA adapter, or all weights.", "paper")] = "lora"
    rank: Annotated[int, Told("Rank of the adapter's matrices.", "paper", least=1)] = 16
    alpha: Annotated[
        int,
        Told(
            "The adapter's output is scaled by alpha / rank.",
            "paper: alpha / rank = 8 is its best",
            least=1,
        ),
    ] = 128
    dora: Annotated[
        bool, Told("DoRA: a weight's length and direction are learned apart.", "paper")
    ] = True
    dropout: Annotated[
        float,
        Told(
            "Share of the adapter's inputs that are dropped at random.", "paper", least=0, below=1
        ),
    ] = 0.1
    pooling: Annotated[
        Pooling | None,
        Told(
            "How tokens become one vector: the one at [EOS], their mean, or a learned query's "
            "attention.",
            "paper: eos is the best of three",
            shown="the model's own, else eos",
        ),
    ] = None
    temperature: Annotated[
        float,
        Told(
            "Temperature of the softmax in the loss: lower makes close negatives count more.",
            "paper (fixed); the default of the published code is 0.02",
            least=0.01,
            most=1,
        ),
    ] = 0.03
    learn_temperature: Annotated[
        bool,
        Told(
            "Let the temperature be learned, starting at --temperature.",
            "paper: a learned one does worse",
        ),
    ] = False
    direction: Annotated[
        Direction,
        Told(
            "Which side of a pair is the query in the loss: both in turn, or one of them.",
            "ours; reference text-to-image",
        ),
    ] = "symmetric"
    batches: Annotated[
        Batches,
        Told(
            "spread keeps pairs of one place apart, and out of each other's negatives; shuffle "
            "pays no heed to places.",
            "ours; reference shuffle",
        ),
    ] = "spread"
    epochs: Annotated[
        float,
        Told(
            "How many times the run goes through all captions.",
            "ours; reference 20 on GeoText-1652",
            metavar="N",
            above=0,
        ),
    ] = 10.0
    steps: Annotated[
        int | None,
        Told("Length of the run in steps, in place of --epochs.", metavar="N", least=1),
    ] = None
    batch_size: Annotated[
        int,
        Told(
            "Pairs in a step; each has the others as its negatives.",
            "ours; reference 10, because of its memory",
            metavar="N",
            least=2,
        ),
    ] = 64
    micro_batch: Annotated[
        int | None,
        Told(
            "Pairs in memory at once; the gradients stay those of the whole batch.",
            metavar="N",
            shown="the whole batch",
            least=1,
        ),
    ] = None
    lr: Annotated[
        float | None,
        Told(
            "Peak learning rate.",
            "reference; `tiny` ours",
            shown="3e-5 for InternVL, else 1e-4",
            above=0,
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class Course(_Checked):
    """How the rate and the weights move from step to step: the loop's own settings."""

    warmup: Annotated[
        float,
        Told(
            "Share of the steps in which the learning rate climbs to its peak.",
            "ours; reference 0.01 to 0.1",
            metavar="FRACTION",
            least=0,
            most=1,
        ),
    ] = 0.05
    schedule: Annotated[
        Schedule, Told("How the learning rate falls after its peak.", "reference")
    ] = "linear"
    floor: Annotated[
        float,
        Told(
            "The last learning rate as a share of the peak.",
            "reference",
            metavar="FRACTION",
            least=0,
            most=1,
        ),
    ] = 0.001
    weight_decay: Annotated[
        float,
        Told(
            "AdamW's weight decay; of matrices only.",
            "reference; the exemption of gains and biases is GPT-2's and CLIP's",
            least=0,
        ),
    ] = 0.01
    clip: Annotated[
        float,
        Told("Gradients with a larger norm are scaled to it; 0 for none.", "reference", least=0),
    ] = 1.0
    seed: Annotated[int, Told("The same seed gives the same run.")] = 0
    log_every: Annotated[
        int, Told("Write a line to metrics.jsonl every so many steps.", metavar="STEPS", least=1)
    ] = 10


@dataclass(frozen=True, kw_only=True)
class TrainSettings(Course, Lesson):
    """A training run: a lesson, its course, and how the run is carried out."""

    precision: Annotated[
        TrainPrecisionChoice,
        Told(
            "What the model computes in.", "reference", shown="auto: bfloat16 on CUDA, else float32"
        ),
    ] = "auto"
    augment: Annotated[
        Sequence[Augmentation],
        Told(
            "Random changes of the images. Those whose caption names a direction are neither "
            "flipped nor turned.",
            "ours; none in the reference",
            shown=",".join(AUGMENTATIONS),
            metavar="NAME,...|none",
        ),
    ] = AUGMENTATIONS
    gradient_checkpointing: Annotated[
        bool, Told("Recompute activations to save memory; a step takes a third longer.")
    ] = False
    validate_every: Annotated[
        int | None,
        Told("How often to validate.", shown="once an epoch", metavar="STEPS", least=1),
    ] = None
    save_every: Annotated[
        int | None,
        Told(
            "How often to save what --resume goes on from.",
            shown="once an epoch, at most 500",
            metavar="STEPS",
            least=1,
        ),
    ] = None
    workers: Annotated[
        int | None,
        Told(
            "Processes that load images ahead of the model.",
            shown="half the cores, at most 8",
            metavar="N",
            least=0,
        ),
    ] = None
    resume: Annotated[bool, Told("Go on where the run in --out stopped.")] = False
    device: Annotated[str, Told("Where the model runs.")] = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, value in vars(self).items():
            if isinstance(value, Path):
                object.__setattr__(self, name, value.expanduser())
        object.__setattr__(self, "augment", in_order(self.augment))


def in_order(names: Sequence[str]) -> tuple[Augmentation, ...]:
    """The named augmentations in their fixed order; UsageError for an unknown one."""
    unknown = sorted(set(names) - set(AUGMENTATIONS))
    if unknown:
        raise UsageError(
            f"unknown augmentation {', '.join(unknown)}",
            where="--augment",
            hint=f"Known are {', '.join(AUGMENTATIONS)}, or none.",
        )
    return tuple(name for name in AUGMENTATIONS if name in names)
