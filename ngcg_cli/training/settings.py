"""What `ngcg train` can be told, with defaults and their sources."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ngcg_cli.datasets.pairs import DataFormat, ImageType
from ngcg_cli.encoder.module import Pooling
from ngcg_cli.errors import UsageError
from ngcg_cli.training.augment import AUGMENTATIONS, Augmentation, check
from ngcg_cli.training.course import Schedule, TrainPrecision
from ngcg_cli.training.loss import Direction

Tuning = Literal["lora", "full"]

# Peak learning rates of the paper's reference run.
LEARNING_RATES = {"internvl": 3e-5, "smolvlm": 1e-4, "idefics3": 1e-4, "internvl_conv": 1e-4}


@dataclass(frozen=True)
class TrainSettings:
    """A training run. "Paper" is arXiv 2604.10721 with its reference implementation.

    Attributes:
        data, out: the data set, and the folder that becomes the checkpoint.
        model: name or path of what is trained further.
        data_format, images, views, image_type: see `load_pairs`.
        val: a data set to validate on; the best checkpoint is the one with the best mean recall.
        tuning: LoRA (paper) or all weights.
        rank, alpha, dora, dropout: of LoRA. Paper: 16, 128 (alpha / rank = 8), on, 0.1.
        pooling: None keeps the model's own; paper: eos.
        temperature, learn_temperature: paper: 0.03, fixed.
        direction: symmetric, or one side's queries only.
        epochs: times through all captions. Paper: 20 on GeoText-1652; here 10.
        steps: stop the schedule at this many steps instead.
        batch_size: pairs whose others are the negatives, over all processes. Paper: 10, because
            of its memory; the gradient cache makes 64 cost none.
        micro_batch: pairs in memory at once; None takes the whole batch of a process.
        lr: None takes the paper's, 3e-5 for InternVL and 1e-4 for SmolVLM (and `tiny`).
        warmup: share of the steps. Paper: 0.01 to 0.1.
        schedule, floor: paper: linear to 0.001 of the peak.
        weight_decay, clip: paper: 0.01 and 1.0.
        precision: "auto" is bfloat16 on CUDA (paper), float32 elsewhere.
        augment: see `augmentations`; () switches them off.
        gradient_checkpointing: less memory, a third more time.
        validate_every, save_every: steps; None is once an epoch.
        workers: processes that make batches; None takes half the cores, 8 at most.
    """

    data: Path
    out: Path
    model: str = "tiny"
    data_format: DataFormat = "auto"
    images: Path | None = None
    views: Sequence[str] = ()
    image_type: ImageType = "sat"
    val: Path | None = None
    tuning: Tuning = "lora"
    rank: int = 16
    alpha: int = 128
    dora: bool = True
    dropout: float = 0.1
    pooling: Pooling | None = None
    temperature: float = 0.03
    learn_temperature: bool = False
    direction: Direction = "symmetric"
    epochs: float = 10
    steps: int | None = None
    batch_size: int = 64
    micro_batch: int | None = None
    lr: float | None = None
    warmup: float = 0.05
    schedule: Schedule = "linear"
    floor: float = 0.001
    weight_decay: float = 0.01
    clip: float = 1.0
    seed: int = 0
    precision: TrainPrecision | Literal["auto"] = "auto"
    augment: Sequence[Augmentation] = AUGMENTATIONS
    gradient_checkpointing: bool = False
    log_every: int = 10
    validate_every: int | None = None
    save_every: int | None = None
    workers: int | None = None
    resume: bool = False
    device: str = "auto"

    def __post_init__(self) -> None:
        check(self.augment)
        for name, fine in (
            ("epochs", self.epochs > 0),
            ("steps", self.steps is None or self.steps > 0),
            ("batch-size", self.batch_size > 1),
            ("micro-batch", self.micro_batch is None or self.micro_batch > 0),
            ("rank", self.rank > 0),
            ("alpha", self.alpha > 0),
            ("dropout", 0 <= self.dropout < 1),
        ):
            if not fine:
                value = getattr(self, name.replace("-", "_"))
                raise UsageError(f"--{name} cannot be {value}")
