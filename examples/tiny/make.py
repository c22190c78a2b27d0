"""The recipe of `tiny`, from the data folder to the shipped weights, in one command.

    bash examples/tiny/make.sh DATA runs/tiny

DATA holds `rsicd150/train.tar` and `rsicd150/val.tar`; OUT/sources the vocabularies that make.sh
fetches. Every stage leaves its result in OUT and is not done again; the training resumes where it
stopped.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from tokenizers import Tokenizer

from examples.tiny.contrasts import read_contrasts, taught, write
from examples.tiny.corpus import Part, drawn, photographs
from examples.tiny.distil import step
from examples.tiny.features import pooled, see
from examples.tiny.glosses import synsets
from examples.tiny.heads import WIDTH, Lexicon, train_heads
from examples.tiny.lessons import Batches, Contrasted, Drawn, Photographs, Said
from examples.tiny.mapped import mapped
from examples.tiny.scenes import lexicon
from examples.tiny.teachers import Head, read
from examples.tiny.tokenizer import SPECIAL, VOCABULARY, train_tokenizer
from examples.tiny.tower import imagenet_tower
from examples.tiny.words import kept, sentences, vectors
from ngcg_cli.datasets.pairs import Pair
from ngcg_cli.encoder.backbones import BACKBONES
from ngcg_cli.encoder.checkpoint import load_encoder, save_checkpoint
from ngcg_cli.encoder.convnet import ConvInternVLConfig, ConvTower, ConvTowerConfig
from ngcg_cli.encoder.encoder import Encoder, build_encoder
from ngcg_cli.evaluation.retrieval import recall
from ngcg_cli.training.course import LoopSettings
from ngcg_cli.training.loop import fit

#: How often the tower sees each photograph: as it is, and as a turned crop.
VIEWS = 2
CONTRAST_SEED = 2_000_000
#: Of a token's embedding at the start: what Llama's own random ones of this width have.
EMBEDDING_NORM = 0.32


@dataclass(frozen=True)
class Recipe:
    """The sizes of a run; the defaults are those of the shipped weights."""

    steps: int = 520
    drawn: int = 8000
    contrasts: int = 14_000
    words: int = 53_248
    lr: float = 1e-3
    seed: int = 0


def main(
    data: Annotated[Path, typer.Option(help="Folder with rsicd150/train.tar and val.tar.")],
    out: Annotated[Path, typer.Option(help="Folder for caches, run and result.")],
    steps: Annotated[int, typer.Option(help="Training steps.")] = Recipe.steps,
    drawn_tiles: Annotated[int, typer.Option("--drawn", help="Drawn tiles.")] = Recipe.drawn,
    contrasts: Annotated[
        int, typer.Option(help="Drawn tiles with false captions.")
    ] = Recipe.contrasts,
    words: Annotated[int, typer.Option(help="Sentences beyond the captions.")] = Recipe.words,
    seed: Annotated[int, typer.Option()] = Recipe.seed,
    threads: Annotated[int, typer.Option(help="torch's threads.")] = 2,
) -> None:
    """Make `tiny`: OUT/run/last is the checkpoint, OUT/tiny its 16-bit form that ships."""
    torch.set_num_threads(threads)
    recipe = Recipe(steps=steps, drawn=drawn_tiles, contrasts=contrasts, words=words, seed=seed)
    out.mkdir(parents=True, exist_ok=True)
    tower = imagenet_tower()
    train = photographs(data / "rsicd150/train.tar", out / "train")
    val = photographs(data / "rsicd150/val.tar", out / "val")
    batches, encoder = _prepare(train, tower, out, recipe)
    val_tokens = see(tower, val.images, out / "val/view-0.npy")
    pooled(val_tokens, out / "val/pooled-0.npy")  # for `paraphrases.py --teacher`
    settings = LoopSettings(
        steps=recipe.steps,
        lr=recipe.lr,
        schedule="cosine",
        warmup=0.05,
        floor=0.01,
        weight_decay=0.05,
        ema=0.98,
        seed=recipe.seed,
        log_every=10,
        save_every=50,
        validate_every=100,
    )
    fit(
        encoder.module,
        batches,
        step,
        settings,
        out / "run",
        validate=lambda module, step: _validate(encoder, val, val_tokens),
        save=lambda module, folder, figures: _save(encoder, folder, figures),
        resume=True,
        identity={"drawn": recipe.drawn, "contrasts": recipe.contrasts, "words": recipe.words},
    )
    # The last weights, not the best on val: val is measured, never chosen by.
    figures = json.loads((out / "run/last/ngcg.json").read_text())["metrics"]
    final = load_encoder(str(out / "run/last"))
    final.name, final.origin = "tiny", None  # it is no one's further training: it has no base
    save_checkpoint(final, out / "tiny", {"metrics": figures}, dtype=torch.float16)
    typer.echo(json.dumps(figures))


def _prepare(train: Part, tower: ConvTower, out: Path, recipe: Recipe) -> tuple[Batches, Encoder]:
    """All that is learned from, and the student at its start."""
    tiles = drawn(recipe.drawn, 0, out / "drawn")
    contrasted = out / "contrasts"
    write(contrasted, range(CONTRAST_SEED, CONTRAST_SEED + recipe.contrasts))
    contrast_images, pairs = read_contrasts(contrasted)
    # Some combinations of known words are kept out, to be measured on later.
    spoken = [tuple(text for text in own if taught(text)) for own in tiles.captions]
    captions = sorted({text for own in [*train.captions, *tiles.captions] for text in own})

    sources = out / "sources"
    corpus = sentences(sources / "id-tagging-schema", sources / "wordnet")
    sample = np.random.default_rng(0).permutation(len(corpus))[: recipe.words]
    said = [corpus[n] for n in sample]
    told = lexicon(synsets(sources / "wordnet"), mapped(sources / "id-tagging-schema"))
    scenes = sorted(told)
    rows = [(n, text) for n, scene in enumerate(scenes) for text in kept(told[scene])]
    lexical = Lexicon(
        [text for _, text in rows],
        np.array([n for n, _ in rows]),
        np.array([scenes.index(scene) for scene in train.scenes]),
    )
    train_tokenizer([*captions, *corpus, *lexical.sentences], out / "tokenizer")

    views = [see(tower, train.images, out / f"train/view-{n}.npy", n) for n in range(VIEWS)]
    means = [pooled(view, out / f"train/pooled-{n}.npy") for n, view in enumerate(views)]
    caption_texts = read(captions, out / "captions.npy")
    lexicon_texts = read(lexical.sentences, out / "lexicon.npy")
    number = {text: n for n, text in enumerate(captions)}
    own = [tuple(number[text] for text in texts) for texts in train.captions]
    look, say = train_heads(
        means, caption_texts, own, lexical, lexicon_texts, out / "heads.safetensors", recipe.seed
    )
    torch.manual_seed(recipe.seed)
    encoder = build_encoder(
        student_config(), out / "tokenizer", name="tiny", backbone=BACKBONES["tiny"]
    )
    encoder.module.vision.load_state_dict(tower.state_dict())
    encoder.module.vision.requires_grad_(False)
    _name_tokens(encoder, say, out)
    batches = Batches(
        Photographs(views, own, _asked(look, means[0])),
        Drawn(
            see(tower, tiles.images, out / "drawn/view-0.npy"),
            [tuple(number[text] for text in texts) for texts in spoken],
        ),
        Contrasted(see(tower, contrast_images, contrasted / "view-0.npy"), pairs),
        Said(captions, _asked(say, caption_texts)),
        lexical,
        _asked(say, lexicon_texts),
        Said(said, _asked(say, vectors(said, out / "words").astype(np.float32))),
        encoder,
    )
    return batches, encoder


@torch.no_grad()
def _name_tokens(encoder: Encoder, say: Head, out: Path) -> None:
    """Let each token's embedding start as what the text head says of its spelling.

    Most words are rare in the captions; so they start with a meaning instead of with noise.
    """
    tokenizer = Tokenizer.from_file(str(out / "tokenizer/tokenizer.json"))
    spelled = [tokenizer.decode([n]).strip() or "." for n in range(tokenizer.get_vocab_size())]
    means = say(torch.from_numpy(read(spelled, out / "tokens.npy")))
    embedding = encoder.module.language.get_input_embeddings().weight
    at = slice(len(SPECIAL), None)
    embedding[at] = EMBEDDING_NORM * means[at]


@torch.inference_mode()
def _asked(head: Head, features: np.ndarray) -> np.ndarray:
    """What a head says of features (N, F): unit vectors (N, 256)."""
    vectors: np.ndarray = head(torch.from_numpy(features)).numpy()
    return vectors


def student_config() -> Any:
    """InternVL's architecture, small: the convolutional tower, 4 language layers of 256."""
    # transformers' annotations leave out the arguments that every config takes.
    config: Any = ConvInternVLConfig
    return config(
        vision_config=ConvTowerConfig(),
        image_token_id=SPECIAL.index("<IMG_CONTEXT>"),
        image_seq_length=16,
        vision_feature_select_strategy="full",
        tie_word_embeddings=False,
        text_config={
            "model_type": "llama",
            "vocab_size": VOCABULARY,
            "hidden_size": WIDTH,
            "intermediate_size": 4 * WIDTH,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "num_key_value_heads": 4,
            "max_position_embeddings": 512,
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 1,
        },
    )


def _validate(encoder: Encoder, val: Part, tokens: np.ndarray) -> dict[str, float]:
    with torch.inference_mode():
        images = np.concatenate(
            [
                encoder.module.embed_vision_tokens(torch.from_numpy(some.astype(np.float32)))
                for some in np.array_split(tokens, max(1, len(tokens) // 100))
            ]
        )
    texts = encoder.encode_texts([text for own in val.captions for text in own], batch_size=256)
    pairs = [Pair(Path(f"{row}.jpg"), own, f"{row}.jpg") for row, own in enumerate(val.captions)]
    figures = recall(pairs, images, texts).figures
    named = {
        f"{direction} {k}": value
        for direction in ("text_to_image", "image_to_text")
        for k, value in figures[direction].items()
    }
    return {**named, "mean": figures["mean"]}


def _save(encoder: Encoder, folder: Path, figures: dict[str, float]) -> None:
    save_checkpoint(encoder, folder, {"metrics": figures})


if __name__ == "__main__":
    typer.run(main)
