"""The recipe of `tiny`, from the data folder to the shipped weights, in one command.

    bash examples/tiny/make.sh DATA runs/tiny

DATA holds `rsicd150/train.tar`, `rsicd150/val.tar` and `overhead-unlabelled/rsscn7-150.tar`;
OUT/sources the vocabularies that make.sh fetches. Every stage leaves its result in OUT and is not
done again; the training resumes where it stopped.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
import typer
from safetensors.torch import save_file
from tokenizers import Tokenizer

from examples.tiny.stages.codes import Code
from examples.tiny.stages.contrasts import read_facts, write
from examples.tiny.stages.corpus import Part, photographs, unlabelled
from examples.tiny.stages.distil import Lesson, step
from examples.tiny.stages.features import pooled, see, see_whole
from examples.tiny.stages.glosses import synsets
from examples.tiny.stages.heads import HEADS, WIDTH, Lexicon, Teachers, train_heads
from examples.tiny.stages.lessons import Batches, Photographs, Said, Tiles
from examples.tiny.stages.mapped import mapped
from examples.tiny.stages.scenes import lexicon
from examples.tiny.stages.teachers import read
from examples.tiny.stages.tokenizer import SPECIAL, VOCABULARY, train_tokenizer
from examples.tiny.stages.tower import imagenet_tower
from examples.tiny.stages.words import kept, sentences, vectors
from ngcg_cli.datasets.pairs import Pair
from ngcg_cli.encoder.backbones import BACKBONES
from ngcg_cli.encoder.checkpoint import load_encoder, save_checkpoint
from ngcg_cli.encoder.convnet import ConvInternVLConfig, ConvTower, ConvTowerConfig
from ngcg_cli.encoder.encoder import Encoder, build_encoder
from ngcg_cli.evaluation.retrieval import recall
from ngcg_cli.training.course import LoopSettings
from ngcg_cli.training.loop import fit

#: How often the student's tower sees each photograph: as it is, and as turned crops. After two
#: views the student knew those by heart and ranked photographs in others much worse.
VIEWS = 6
#: The same of photographs without captions.
OTHER_VIEWS = 2
#: The second teacher's pixels a side: of the 150 that there are, no more can be made out.
LARGE = 288
TILE_SEED = 2_000_000
#: Of a token's embedding at the start: what Llama's own random ones of this width have.
EMBEDDING_NORM = 0.32
#: Of the channels that tell a token's place: about ten times what is seen in it.
POSITION = 10.0


@dataclass(frozen=True)
class Recipe:
    """The sizes of a run; the defaults are those of the shipped weights."""

    steps: int = 1350
    tiles: int = 14_000
    lr: float = 1e-3
    seed: int = 0


class Texts(NamedTuple):
    """The text teacher's features, float32 (N, 384), of all that is said."""

    captions: np.ndarray
    lexicon: np.ndarray
    words: np.ndarray


def main(
    data: Annotated[Path, typer.Option(help="Folder with rsicd150 and overhead-unlabelled.")],
    out: Annotated[Path, typer.Option(help="Folder for caches, run and result.")],
    steps: Annotated[int, typer.Option(help="Training steps.")] = Recipe.steps,
    tiles: Annotated[int, typer.Option(help="Drawn tiles.")] = Recipe.tiles,
    seed: Annotated[int, typer.Option()] = Recipe.seed,
    threads: Annotated[int, typer.Option(help="torch's threads.")] = 2,
) -> None:
    """Make `tiny`: OUT/run/last is the checkpoint, OUT/tiny its 16-bit form that ships."""
    torch.set_num_threads(threads)
    recipe = Recipe(steps=steps, tiles=tiles, seed=seed)
    out.mkdir(parents=True, exist_ok=True)
    tower = imagenet_tower(position=POSITION)
    train = photographs(data / "rsicd150/train.tar", out / "train")
    val = photographs(data / "rsicd150/val.tar", out / "val")
    val_tokens = see(tower, val.images, out / "val/view-0.npy")
    others = unlabelled(data / "overhead-unlabelled/rsscn7-150.tar", out / "others")
    batches, encoder, lesson = _prepare(train, others, tower, out, recipe)
    # For `paraphrases --teacher`: what the student can hope for.
    _features(val.images, val_tokens, out / "val")
    settings = LoopSettings(
        steps=recipe.steps,
        lr=recipe.lr,
        schedule="cosine",
        warmup=0.04,
        floor=0.01,
        weight_decay=0.05,
        ema=0.99,
        seed=recipe.seed,
        log_every=10,
        save_every=50,
        validate_every=200,
    )
    fit(
        lesson,
        batches,
        step,
        settings,
        out / "run",
        validate=lambda module, step: _validate(encoder, val, val_tokens),
        save=lambda module, folder, figures: _save(encoder, folder, figures),
        resume=True,
        identity={"tiles": recipe.tiles},
    )
    # The last weights, not the best on val: val is measured, never chosen by.
    figures = json.loads((out / "run/last/ngcg.json").read_text())["metrics"]
    final = load_encoder(str(out / "run/last"))
    final.name, final.origin = "tiny", None  # it is no one's further training: it has no base
    save_checkpoint(final, out / "tiny", {"metrics": figures}, dtype=torch.float16)
    typer.echo(json.dumps(figures))


def _prepare(
    train: Part, others: np.ndarray, tower: ConvTower, out: Path, recipe: Recipe
) -> tuple[Batches, Encoder, Lesson]:
    """All that is learned from, and the student at its start."""
    # Some combinations of known words are kept out of the tiles, to be measured on later.
    write(out / "tiles", range(TILE_SEED, TILE_SEED + recipe.tiles))
    tile_images, facts = read_facts(out / "tiles")
    captions = sorted({text for own in train.captions for text in own})
    sources = out / "sources"
    corpus = sentences(sources / "id-tagging-schema", sources / "wordnet")
    told = lexicon(synsets(sources / "wordnet"), mapped(sources / "id-tagging-schema"))
    scenes = sorted(told)
    rows = [(n, text) for n, scene in enumerate(scenes) for text in kept(told[scene])]
    lexical = Lexicon(
        [text for _, text in rows],
        np.array([n for n, _ in rows]),
        np.array([scenes.index(scene) for scene in train.scenes]),
    )
    drawn = [text for fact in facts for text in fact.captions]
    train_tokenizer([*captions, *drawn, *corpus, *lexical.sentences], out / "tokenizer")

    views = [see(tower, train.images, out / f"train/view-{n}.npy", n) for n in range(VIEWS)]
    number = {text: n for n, text in enumerate(captions)}
    own = [tuple(number[text] for text in texts) for texts in train.captions]
    texts = Texts(
        read(captions, out / "captions.npy"),
        read(lexical.sentences, out / "lexicon.npy"),
        vectors(corpus, out / "words").astype(np.float32),
    )
    teachers, seen = _teachers(train, views, own, lexical, texts, out)
    other_views = [see(tower, others, out / f"others/view-{n}.npy", n) for n in range(OTHER_VIEWS)]
    seen_of_others = teachers.look(_features(others, other_views[0], out / "others"))
    said = Said(captions, teachers.say(texts.captions))

    torch.manual_seed(recipe.seed)
    encoder = build_encoder(
        student_config(), out / "tokenizer", name="tiny", backbone=BACKBONES["tiny"]
    )
    encoder.module.vision.load_state_dict(tower.state_dict())
    encoder.module.vision.requires_grad_(False)
    _name_tokens(encoder, teachers, out)
    code = Code(facts)
    batches = Batches(
        Photographs(views, seen, own),
        Photographs(other_views, seen_of_others),
        Tiles(see(tower, tile_images, out / "tiles/view-0.npy"), facts, code),
        said,
        lexical,
        teachers.say(texts.lexicon),
        Said(corpus, teachers.say(texts.words)),
        encoder,
    )
    return batches, encoder, Lesson(encoder.module, code, seen, said.targets)


def _teachers(
    train: Part,
    views: list[np.ndarray],
    own: list[tuple[int, ...]],
    lexical: Lexicon,
    texts: Texts,
    out: Path,
) -> tuple[Teachers, np.ndarray]:
    """The heads over two frozen towers as one teacher, and what it says of the photographs."""
    means = [pooled(view, out / f"train/pooled-{n}.npy") for n, view in enumerate(views)]
    features = _features(train.images, views[0], out / "train")
    heads = [
        train_heads(
            [features[n]] if is_large else means,
            texts.captions,
            own,
            lexical,
            texts.lexicon,
            out / f"heads-{n}.safetensors",
            epochs=epochs,
            seed=seed,
        )
        for n, (is_large, epochs, seed) in enumerate(HEADS)
    ]
    teachers = Teachers(heads)
    spoken = [texts.captions[::4], texts.lexicon, texts.words[::32]]
    shown = [teachers.look(features), *map(teachers.say, spoken)]
    save_file({"basis": teachers.turn(np.concatenate(shown))}, out / "basis.safetensors")
    return teachers, teachers.look(features)


def _features(images: np.ndarray, view: np.ndarray, folder: Path) -> list[np.ndarray]:
    """What each pair of heads looks at, float32 (N, 1280): images as they are, by its tower."""
    small = pooled(view, folder / "pooled-0.npy")
    large = see_whole(imagenet_tower(large=True), images, folder / "large.npy", LARGE)
    return [large if is_large else small for is_large, _, _ in HEADS]


@torch.no_grad()
def _name_tokens(encoder: Encoder, teachers: Teachers, out: Path) -> None:
    """Let each token's embedding start as what the teachers say of its spelling.

    Most words are rare in the captions; so they start with a meaning instead of with noise.
    """
    tokenizer = Tokenizer.from_file(str(out / "tokenizer/tokenizer.json"))
    spelled = [tokenizer.decode([n]).strip() or "." for n in range(tokenizer.get_vocab_size())]
    meant = torch.from_numpy(teachers.say(read(spelled, out / "tokens.npy")))
    embedding = encoder.module.language.get_input_embeddings().weight
    at = slice(len(SPECIAL), None)
    embedding[at] = EMBEDDING_NORM * meant[at]


def student_config() -> Any:
    """InternVL's architecture, small: the convolutional tower, 4 language layers of 256."""
    # transformers' annotations leave out the arguments that every config takes.
    config: Any = ConvInternVLConfig
    return config(
        vision_config=ConvTowerConfig(position=POSITION),
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
    tower: ConvTower = encoder.module.vision
    with torch.inference_mode():
        images = np.concatenate(
            [
                encoder.module.embed_vision_tokens(
                    tower.located(torch.from_numpy(some.astype(np.float32)))
                )
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
