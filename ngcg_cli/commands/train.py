"""`ngcg train`: captions of images in, a checkpoint out."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Annotated, Literal

import typer

from ngcg_cli.commands.options import DeviceOption, JsonOption, ModelOption

# The same words as the types below have; those live beside torch, too heavy for `--help`.
DataFormat = Literal["auto", "jsonl", "geotext", "cvg-text"]
Tuning = Literal["lora", "full"]
Pooling = Literal["eos", "mean", "query"]
Direction = Literal["symmetric", "text-to-image", "image-to-text"]
Schedule = Literal["linear", "cosine"]
Precision = Literal["auto", "float32", "bfloat16"]


def train(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            help="Captions as JSON Lines, a GeoText-1652 annotation file, or a CVG-Text folder.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="The folder that becomes the checkpoint.")
    ],
    model: ModelOption = None,
    data_format: Annotated[
        DataFormat, typer.Option("--data-format", help="auto looks at the content.")
    ] = "auto",
    images: Annotated[
        Path | None,
        typer.Option("--images", metavar="DIR", help="Where images lie, if not beside DATA."),
    ] = None,
    views: Annotated[
        str | None,
        typer.Option(
            "--views", metavar="VIEW,...", help="Only these views, such as drone,satellite,ground."
        ),
    ] = None,
    image_type: Annotated[
        Literal["sat", "osm"], typer.Option("--image-type", help="CVG-Text's tiles.")
    ] = "sat",
    val: Annotated[
        Path | None,
        typer.Option(
            "--val", metavar="DATA", help="Validate on this; the best by mean recall is kept."
        ),
    ] = None,
    tuning: Annotated[
        Tuning, typer.Option("--tuning", help="Train an adapter, or all weights.")
    ] = "lora",
    rank: Annotated[int, typer.Option("--rank", min=1, help="Rank of LoRA.")] = 16,
    alpha: Annotated[
        int, typer.Option("--alpha", min=1, help="LoRA's scaling is alpha / rank.")
    ] = 128,
    dora: Annotated[
        bool, typer.Option("--dora/--no-dora", help="Decompose weights into size and direction.")
    ] = True,
    dropout: Annotated[float, typer.Option("--dropout", help="Of the adapter.")] = 0.1,
    pooling: Annotated[
        Pooling | None,
        typer.Option(
            "--pooling",
            help="From tokens to one vector.",
            show_default="the model's own, else eos",
        ),
    ] = None,
    temperature: Annotated[
        float, typer.Option("--temperature", help="Of the softmax in the loss, 0.01 to 1.")
    ] = 0.03,
    learn_temperature: Annotated[
        bool, typer.Option("--learn-temperature", help="Learn it, from that value on.")
    ] = False,
    direction: Annotated[
        Direction, typer.Option("--direction", help="Which sides ask in the loss.")
    ] = "symmetric",
    epochs: Annotated[
        float, typer.Option("--epochs", metavar="N", help="Times through all captions.")
    ] = 10.0,
    steps: Annotated[
        int | None,
        typer.Option("--steps", metavar="N", help="The run's length in steps, not epochs."),
    ] = None,
    batch_size: Annotated[
        int,
        typer.Option(
            "--batch-size", metavar="N", help="Pairs a step: the others are the negatives."
        ),
    ] = 64,
    micro_batch: Annotated[
        int | None,
        typer.Option(
            "--micro-batch",
            metavar="N",
            help="Pairs in memory at once; the gradients stay those of the whole batch.",
            show_default="the whole batch",
        ),
    ] = None,
    lr: Annotated[
        float | None,
        typer.Option(
            "--lr", help="Peak learning rate.", show_default="3e-5 for InternVL, else 1e-4"
        ),
    ] = None,
    warmup: Annotated[
        float, typer.Option("--warmup", metavar="FRACTION", help="Share of steps that warm up.")
    ] = 0.05,
    schedule: Annotated[
        Schedule, typer.Option("--schedule", help="How the rate falls to 0.001 of its peak.")
    ] = "linear",
    weight_decay: Annotated[
        float, typer.Option("--weight-decay", help="AdamW's, on matrices only.")
    ] = 0.01,
    clip: Annotated[float, typer.Option("--clip", help="Largest gradient norm; 0 for none.")] = 1.0,
    seed: Annotated[int, typer.Option("--seed", help="The same seed gives the same run.")] = 0,
    precision: Annotated[
        Precision, typer.Option("--precision", help="auto is bfloat16 on CUDA, else float32.")
    ] = "auto",
    augment: Annotated[
        str,
        typer.Option(
            "--augment",
            metavar="NAME,...|none",
            help="Random changes of the images. Those whose caption names a direction are "
            "neither flipped nor turned.",
        ),
    ] = "flip,turn,colour,crop",
    gradient_checkpointing: Annotated[
        bool,
        typer.Option("--gradient-checkpointing", help="Less memory for a third more time."),
    ] = False,
    validate_every: Annotated[
        int | None,
        typer.Option(
            "--validate-every",
            metavar="STEPS",
            min=1,
            show_default="once an epoch",
            help="How often to validate.",
        ),
    ] = None,
    save_every: Annotated[
        int | None,
        typer.Option(
            "--save-every",
            metavar="STEPS",
            min=1,
            show_default="once an epoch, at most 500",
            help="How often to save what --resume goes on from.",
        ),
    ] = None,
    log_every: Annotated[
        int,
        typer.Option("--log-every", metavar="STEPS", min=1, help="Steps a line of metrics.jsonl."),
    ] = 10,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            metavar="N",
            min=0,
            show_default="half the cores, at most 8",
            help="Processes that load images ahead of the model.",
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where the run in --out stopped.")
    ] = False,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Teach a model your captions: a LoRA adapter, or all weights.

    Stopped with Ctrl-C, it saves; with --resume it goes on to the same weights. Started by
    torchrun, the processes share each batch.

    \b
    Example:
      ngcg train captions.jsonl --val held-out.jsonl --out my-region
      ngcg query "a jetty with two boats" --model my-region --index harbour-index
      ngcg train GeoText/train.json --model internvl3.5-1b --batch-size 1024 --micro-batch 8 \\
        --epochs 20 --out geotext
    """  # fmt: skip
    from ngcg_cli.training.augment import check
    from ngcg_cli.training.settings import TrainSettings
    from ngcg_cli.training.train import is_first_process, train

    settings = TrainSettings(
        data=data,
        out=out,
        model=model or "tiny",
        data_format=data_format,
        images=images,
        views=_names(views or ""),
        image_type=image_type,
        val=val,
        tuning=tuning,
        rank=rank,
        alpha=alpha,
        dora=dora,
        dropout=dropout,
        pooling=pooling,
        temperature=temperature,
        learn_temperature=learn_temperature,
        direction=direction,
        epochs=epochs,
        steps=steps,
        batch_size=batch_size,
        micro_batch=micro_batch,
        lr=lr,
        warmup=warmup,
        schedule=schedule,
        weight_decay=weight_decay,
        clip=clip,
        seed=seed,
        precision=precision,
        augment=() if augment == "none" else check(_names(augment)),
        gradient_checkpointing=gradient_checkpointing,
        log_every=log_every,
        validate_every=validate_every,
        save_every=save_every,
        workers=workers,
        resume=resume,
        device=device,
    )
    logger = logging.getLogger(__name__)
    result = train(settings, quiet=not logger.isEnabledFor(logging.INFO))
    if not is_first_process():  # the others have done the same and say nothing
        return
    logger.info("%s: done after %d steps; use it with --model %s", out, result.steps, out)
    if as_json:
        typer.echo(json.dumps(result.as_json(), ensure_ascii=False))
    if result.broken:
        logger.warning("%d images could not be read", len(result.broken))
        raise typer.Exit(3)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for name in (part.strip() for part in text.split(",")) if name)
