"""The first course: a student from random weights, on the cached tokens of a frozen tower.

Its teachers are four pairs of heads over frozen towers and the text teacher, as one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from tokenizers import Tokenizer

from examples.tiny.keyed import code as sources
from examples.tiny.keyed import keyed, stages, texts_digest
from examples.tiny.recipe import Recipe
from examples.tiny.stages.codes import Code
from examples.tiny.stages.distil import Lesson
from examples.tiny.stages.features import INPUT, pooled, see, see_whole
from examples.tiny.stages.gathered import Gathered, Images
from examples.tiny.stages.heads import WIDTH, Teachers, train_heads
from examples.tiny.stages.lessons import Batches, Cached, Photographs, Said, Tiles
from examples.tiny.stages.teachers import READER, read
from examples.tiny.stages.tokenizer import SPECIAL, VOCABULARY, train_tokenizer
from examples.tiny.stages.tower import imagenet_tower
from ngcg_cli.encoder.backbones import BACKBONES
from ngcg_cli.encoder.convnet import ConvInternVLConfig, ConvTower, ConvTowerConfig
from ngcg_cli.encoder.encoder import Encoder, build_encoder


class Prepared(NamedTuple):
    """A course that can begin: its batches, the student, and what it is asked to match."""

    batches: Batches
    encoder: Encoder
    lesson: Lesson


def prepare(gathered: Gathered, out: Path, recipe: Recipe) -> Prepared:
    """All that is learned from, and the student at its start."""
    tower = imagenet_tower(position=recipe.position)
    captions, told, words = gathered.captions, gathered.told, gathered.words[0]
    drawn = [text for fact in gathered.facts for text in fact.captions]
    spoken = [*captions.texts, *drawn, *words.texts, *told.texts]
    spoken += [text for read in gathered.words[1:] for text in read.texts]
    tokenizer = keyed(out / "tokenizer", texts=texts_digest(spoken), size=VOCABULARY)
    train_tokenizer(spoken, tokenizer)

    views = _views(tower, gathered.train, recipe.views, recipe)
    teachers, seen = _teachers(gathered, views, out, recipe)
    other_views = _views(tower, gathered.others, recipe.other_views, recipe)
    small = _pooled(gathered.others, other_views[0], 0, recipe)
    large = _large(gathered.others, recipe)
    seen_of_others = teachers.look(_asked(small, large, recipe))

    torch.manual_seed(recipe.seed)
    encoder = build_encoder(
        student_config(recipe.position), tokenizer, name="tiny", backbone=BACKBONES["tiny"]
    )
    encoder.module.vision.load_state_dict(tower.state_dict())
    encoder.module.vision.requires_grad_(False)
    _name_tokens(encoder, teachers, tokenizer, recipe.embedding_norm)
    code = Code(gathered.facts)
    said = Said(captions.texts, teachers.say(captions.features))
    batches = Batches(
        Photographs(Cached(views), seen, gathered.own),
        Photographs(Cached(other_views), seen_of_others),
        Tiles(Cached(_views(tower, gathered.tiles, 1, recipe)), gathered.facts, code),
        said,
        gathered.lexical,
        teachers.say(told.features),
        Said(words.texts, teachers.say(words.features)),
        encoder,
        recipe.first.sizes,
        seed=recipe.seed,
    )
    lesson = Lesson(encoder.module, code, seen, said.targets, gathered.own, recipe.first)
    return Prepared(batches, encoder, lesson)


def _views(tower: ConvTower, images: Images, count: int, recipe: Recipe) -> list[np.ndarray]:
    """What the tower sees of images as they are and, beyond the first view, as turned crops."""
    out = []
    for view in range(count):
        least = recipe.least if view else 1.0
        path = keyed(images.folder / f"view-{view}.npy", tower="lite0", side=INPUT, least=least)
        out.append(see(tower, images.pixels, path, view, least))
    return out


def _pooled(images: Images, view: np.ndarray, number: int, recipe: Recipe) -> np.ndarray:
    least = recipe.least if number else 1.0
    path = keyed(images.folder / f"pooled-{number}.npy", tower="lite0", side=INPUT, least=least)
    return pooled(view, path)


def _large(images: Images, recipe: Recipe) -> np.ndarray:
    path = keyed(images.folder / "large.npy", tower="lite2", side=recipe.large)
    if path.exists():  # nothing to see with is built
        return np.load(path, allow_pickle=False)
    return see_whole(imagenet_tower(large=True), images.pixels, path, recipe.large)


def _asked(small: np.ndarray, large: np.ndarray, recipe: Recipe) -> list[np.ndarray]:
    """What each pair of heads looks at, float32 (N, 1280): images as they are, by its tower."""
    return [large if is_large else small for is_large, _, _ in recipe.heads.pairs]


def _teachers(
    gathered: Gathered, views: list[np.ndarray], out: Path, recipe: Recipe
) -> tuple[Teachers, np.ndarray]:
    """The heads over two frozen towers as one teacher, and what it says of the photographs."""
    train, captions, told = gathered.train, gathered.captions, gathered.told
    means = [_pooled(train, view, n, recipe) for n, view in enumerate(views)]
    large = _large(train, recipe)
    made_of = {
        "heads": recipe.heads,
        "reader": READER,
        "code": sources(*stages("heads")),
        "views": [recipe.views, recipe.least, recipe.large],
        "images": train.folder,
        "texts": texts_digest([captions.texts, told.texts, gathered.own]),
        "scenes": texts_digest(gathered.lexical.scenes.tolist()),
    }
    heads = [
        train_heads(
            [large] if is_large else means,
            captions.features,
            gathered.own,
            gathered.lexical,
            told.features,
            keyed(out / f"heads-{n}.safetensors", **made_of),
            epochs=epochs,
            seed=seed,
            settings=recipe.heads,
        )
        for n, (is_large, epochs, seed) in enumerate(recipe.heads.pairs)
    ]
    teachers = Teachers(heads)
    asked = _asked(means[0], large, recipe)
    spoken = [captions.features[::4], told.features, gathered.words[0].features[::32]]
    shown = [teachers.look(asked), *map(teachers.say, spoken)]
    teachers.turn(np.concatenate(shown))
    return teachers, teachers.look(asked)


@torch.no_grad()
def _name_tokens(encoder: Encoder, teachers: Teachers, folder: Path, norm: float) -> None:
    """Let each token's embedding start as what the teachers say of its spelling.

    Most words are rare in the captions; so they start with a meaning instead of with noise.
    """
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    spelled = [tokenizer.decode([n]).strip() or "." for n in range(tokenizer.get_vocab_size())]
    path = keyed(folder / "tokens.npy", texts=texts_digest(spelled), reader=READER)
    meant = torch.from_numpy(teachers.say(read(spelled, path)))
    embedding = encoder.module.language.get_input_embeddings().weight
    at = slice(len(SPECIAL), len(meant))
    embedding[at] = norm * meant[at]


def student_config(position: float = Recipe.position) -> Any:
    """InternVL's architecture, small: the convolutional tower, 4 language layers of 256."""
    # transformers' annotations leave out the arguments that every config takes.
    config: Any = ConvInternVLConfig
    return config(
        vision_config=ConvTowerConfig(position=position),
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
