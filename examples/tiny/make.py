"""The recipe of `tiny`, from the data folder to the shipped weights, in one command.

    bash examples/tiny/make.sh DATA runs/tiny

DATA holds `rsicd150/train.tar` and `rsicd150/val.tar`. Every stage leaves its result in OUT and is
not done again; the training resumes where it stopped.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

from examples.tiny.corpus import Part, drawn, photographs
from examples.tiny.distil import BATCH, Batches, Lesson, Student, make_step
from examples.tiny.heads import train_heads
from examples.tiny.teachers import Head, components, read, see
from examples.tiny.tokenizer import SPECIAL, VOCABULARY, train_tokenizer
from ngcg_cli.datasets.pairs import Pair
from ngcg_cli.encoder.backbones import BACKBONES
from ngcg_cli.encoder.checkpoint import load_encoder, save_checkpoint
from ngcg_cli.encoder.encoder import Encoder, build_encoder
from ngcg_cli.evaluation.retrieval import recall
from ngcg_cli.training.loop import LoopSettings, fit

PARTS = ("train", "drawn")
#: The heads see so many drawn tiles; the student learns those from their captions alone.
HEADS_DRAWN = 2000


@dataclass(frozen=True)
class Recipe:
    """The sizes of a run; the defaults are those of the shipped weights."""

    steps: int = 730
    drawn: int = 8000
    lr: float = 1e-3
    seed: int = 0


def main(
    data: Annotated[Path, typer.Option(help="Folder with rsicd150/train.tar and val.tar.")],
    out: Annotated[Path, typer.Option(help="Folder for caches, run and result.")],
    steps: Annotated[int, typer.Option(help="Training steps of 160 images.")] = Recipe.steps,
    drawn_tiles: Annotated[int, typer.Option("--drawn", help="Drawn tiles.")] = Recipe.drawn,
    seed: Annotated[int, typer.Option()] = Recipe.seed,
    threads: Annotated[int, typer.Option(help="torch's threads.")] = 2,
) -> None:
    """Make `tiny`: OUT/run/last is the checkpoint, OUT/tiny its 16-bit form that ships."""
    torch.set_num_threads(threads)
    recipe = Recipe(steps=steps, drawn=drawn_tiles, seed=seed)
    out.mkdir(parents=True, exist_ok=True)
    parts = {
        "train": photographs(data / "rsicd150/train.tar", out / "train"),
        "drawn": drawn(recipe.drawn, 0, out / "drawn"),
        "val": photographs(data / "rsicd150/val.tar", out / "val"),
    }
    sentences = sorted({c for name in PARTS for own in parts[name].captions for c in own})
    train_tokenizer(sentences, out / "tokenizer")
    batches, map_scale, encoder = _lessons(parts, sentences, out, recipe)
    student = Student(encoder)
    settings = LoopSettings(
        steps=recipe.steps,
        lr=recipe.lr,
        schedule="cosine",
        warmup=0.05,
        floor=0.01,
        weight_decay=0.05,
        ema=0.995,
        seed=recipe.seed,
        log_every=10,
        save_every=50,
        validate_every=100,
    )
    fit(
        student,
        batches,
        make_step(map_scale),
        settings,
        out / "run",
        validate=lambda module, step: _validate(encoder, parts["val"]),
        save=lambda module, folder, figures: _save(encoder, folder, figures),
        resume=True,
        identity={"drawn": recipe.drawn, "batch": BATCH},
    )
    # The last weights, not the best on val: val is measured, never chosen by.
    figures = json.loads((out / "run/last/ngcg.json").read_text())["metrics"]
    final = load_encoder(str(out / "run/last"))
    final.name, final.origin = "tiny", None  # made from random weights: it has no base
    save_checkpoint(final, out / "tiny", {"metrics": figures}, dtype=torch.float16)
    typer.echo(json.dumps(figures))


def _lessons(
    parts: dict[str, Part], sentences: list[str], out: Path, recipe: Recipe
) -> tuple[Batches, float, Encoder]:
    """What the teachers say of every part, ready to be drawn batches from."""
    mean, axes = components(parts["train"], out / "components.npy")
    maps, pooled = see(parts["train"], mean, axes, out / "train")
    _, pooled_val = see(parts["val"], mean, axes, out / "val")
    some = Part(parts["drawn"].images[:HEADS_DRAWN], parts["drawn"].captions[:HEADS_DRAWN])
    _, pooled_drawn = see(some, mean, axes, out / "drawn")
    texts = read(sentences, out / "sentences.npy")
    number = {sentence: at for at, sentence in enumerate(sentences)}
    numbers = {
        name: [tuple(number[c] for c in own) for own in parts[name].captions] for name in PARTS
    }
    look, say = train_heads(
        np.concatenate([pooled, pooled_drawn]),
        texts,
        [list(own) for own in numbers["train"] + numbers["drawn"][:HEADS_DRAWN]],
        out / "heads.safetensors",
        recipe.seed,
    )
    _tell_teachers(parts["val"], pooled_val, look, say, out)
    with torch.inference_mode():
        text_vectors = say(torch.from_numpy(texts)).numpy()
        vectors = look(torch.from_numpy(pooled)).numpy()
    torch.manual_seed(recipe.seed)
    encoder = build_encoder(
        student_config(), out / "tokenizer", name="tiny", backbone=BACKBONES["tiny"]
    )
    photographs_lesson = Lesson(np.array(parts["train"].images), numbers["train"], maps, vectors)
    drawn_lesson = Lesson(np.array(parts["drawn"].images), numbers["drawn"])
    scale = float((maps[:1000].astype(np.float32) ** 2).mean())
    batches = Batches(
        photographs_lesson, drawn_lesson, sentences, text_vectors, encoder, recipe.seed
    )
    return batches, scale, encoder


def student_config() -> Any:
    """SmolVLM's architecture, small: 8 vision layers of 192, 4 language layers of 256."""
    from transformers import SmolVLMConfig

    # transformers' annotations leave out the arguments that every config takes.
    config: Any = SmolVLMConfig
    return config(
        image_token_id=SPECIAL.index("<image>"),
        pad_token_id=0,
        scale_factor=2,
        vision_config={
            "hidden_size": 192,
            "intermediate_size": 768,
            "num_hidden_layers": 8,
            "num_attention_heads": 3,
            "image_size": 128,
            "patch_size": 16,
        },
        text_config={
            "model_type": "llama",
            "vocab_size": VOCABULARY,
            "hidden_size": 256,
            "intermediate_size": 1024,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "num_key_value_heads": 4,
            "max_position_embeddings": 512,
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 1,
        },
    )


def _validate(encoder: Encoder, val: Part) -> dict[str, float]:
    return _recall(
        val,
        encoder.encode_images(np.array(val.images), batch_size=64),
        encoder.encode_texts([c for own in val.captions for c in own], batch_size=256),
    )


def _recall(val: Part, images: np.ndarray, captions: np.ndarray) -> dict[str, float]:
    pairs = [Pair(Path(f"{row}.jpg"), own, f"{row}.jpg") for row, own in enumerate(val.captions)]
    figures = recall(pairs, images, captions).figures
    named = {
        f"{direction} {k}": value
        for direction in ("text_to_image", "image_to_text")
        for k, value in figures[direction].items()
    }
    return {**named, "mean": figures["mean"]}


def _tell_teachers(val: Part, pooled: np.ndarray, look: Head, say: Head, out: Path) -> None:
    """What the teachers' heads reach on val: the student's mark."""
    captions = [c for own in val.captions for c in own]
    texts = read(captions, out / "val-sentences.npy")
    with torch.inference_mode():
        images, vectors = look(torch.from_numpy(pooled)), say(torch.from_numpy(texts))
    typer.echo(f"teachers on val: {json.dumps(_recall(val, images.numpy(), vectors.numpy()))}")


def _save(encoder: Encoder, folder: Path, figures: dict[str, float]) -> None:
    save_checkpoint(encoder, folder, {"metrics": figures})


if __name__ == "__main__":
    typer.run(main)
