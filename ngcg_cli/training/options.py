"""The keywords of `ngcg.train`, as type checkers and editors read them.

Defaults, bounds and meanings are those of `TrainSettings`, and are not repeated. A test holds names
and types to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

from ngcg_cli.choices import (
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
from ngcg_cli.items import StrPath
from ngcg_cli.training.settings import TrainSettings, settings_of


class TrainOptions(TypedDict, total=False):
    """What `ngcg.train` takes besides data and folder: the options of `ngcg train`."""

    model: str
    teacher: str | None
    anchors: StrPath | None
    data_format: DataFormat
    images: StrPath | None
    views: str | Sequence[str]
    image_type: ImageType
    val: StrPath | None
    tuning: Tuning
    rank: int
    alpha: int
    dora: bool
    dropout: float
    pooling: Pooling | None
    temperature: float
    learn_temperature: bool
    direction: Direction
    batches: Batches
    epochs: float
    steps: int | None
    batch_size: int
    micro_batch: int | None
    lr: float | None
    warmup: float
    schedule: Schedule
    floor: float
    weight_decay: float
    clip: float
    seed: int
    log_every: int
    precision: TrainPrecisionChoice
    augment: Augmentation | Sequence[Augmentation]
    gradient_checkpointing: bool
    validate_every: int | None
    save_every: int | None
    workers: int | None
    resume: bool
    device: str


TrainOptions.__doc__ = f"{TrainOptions.__doc__}\n\nAttributes:\n" + "".join(
    f"    {setting.name}: {setting.told.help}\n"
    for setting in settings_of(TrainSettings)
    if setting.name in TrainOptions.__annotations__
)
