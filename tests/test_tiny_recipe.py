"""The recipe of `tiny` on a handful of made-up images: what its batches hold, and one step."""

from __future__ import annotations

import copy
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from examples.tiny.recipe import Heads, Recipe, Sizes
from examples.tiny.stages.codes import Code, Pair
from examples.tiny.stages.contrasts import Facts, Swap
from examples.tiny.stages.distil import Lesson, _own, embed_by_length, step
from examples.tiny.stages.eyes import open_eyes, tokens
from examples.tiny.stages.features import pooled, see, see_whole
from examples.tiny.stages.heads import (
    WIDTH,
    Lexicon,
    Teachers,
    many_positives,
    multi_positive,
    train_heads,
)
from examples.tiny.stages.lessons import Batches, Cached, Pasted, Photographs, Pixels, Said, Tiles
from examples.tiny.stages.teachers import Head
from ngcg_cli.encoder.convnet import Block, ConvTower, ConvTowerConfig
from ngcg_cli.encoder.encoder import Encoder, build_encoder

SMALL = ((3, 1, 1, 8, 1), (3, 2, 2, 8, 1), (3, 2, 2, 8, 1), (3, 2, 2, 8, 1), (3, 2, 2, 8, 1))
RED = Swap("has|house|red", "roof colour", "red", "blue")
LEFT = Swap("side|pool||house|red|left", "left or right", "left", "right")
TWO = Swap("count|boat||2", "count", "2", "3")
KEPT_OUT = Swap("has|warehouse|blue", "roof colour", "blue", "red")


#: What every wording of a statement holds, and no wording of the others.
WORDS = {
    "has|house|red": r"^(?!.*pool).*red",
    "has|house|blue": "blue",
    "count|boat||2": "two",
    "count|boat||3": "three",
    "side|pool||house|red|left": "pool.*(left|west)",
    "side|pool||house|red|right": "pool.*(right|east)",
}


def opposite(swap: Swap) -> Swap:
    return Swap(swap.false, swap.kind, swap.other, swap.value)


def facts(*swaps: Swap) -> Facts:
    return Facts([], frozenset(swap.key for swap in swaps), list(swaps))


@pytest.fixture(scope="module")
def encoder(tokenizer_dir: Path) -> Encoder:
    from examples.tiny.stages.first import student_config

    config = student_config()
    config.vision_config = ConvTowerConfig(
        SMALL, 8, 16, detail_stage=3, image_size=256, position=10.0
    )
    torch.manual_seed(0)
    return build_encoder(config, tokenizer_dir)


@pytest.fixture
def batches(encoder: Encoder) -> Batches:
    sizes = Sizes(photographs=6, unlabelled=2, tiles=4, statements=3, lexicon=3, words=2)
    rng = np.random.default_rng(0)
    width = encoder.module.base.config.vision_config.content_size

    def tokens(count: int) -> np.ndarray:
        return rng.normal(size=(count, 64, width)).astype(np.float16)

    def unit(count: int) -> np.ndarray:
        rows = rng.normal(size=(count, encoder.dim)).astype(np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    captions = ["a red roof", "two boats", "a road", "trees beside a road"]
    lexicon = Lexicon(["pier", "grove", "wood"], np.array([0, 1, 1]), np.arange(8) % 2)
    known = [facts(RED, LEFT), facts(), facts(opposite(RED), TWO), facts(opposite(LEFT)),
             facts(KEPT_OUT), facts(opposite(TWO), LEFT)]  # fmt: skip
    return Batches(
        Photographs(
            Cached([tokens(8), tokens(8)]), unit(8), [(n % 4, (n + 1) % 4) for n in range(8)]
        ),
        Photographs(Cached([tokens(5)]), unit(5)),
        Tiles(Cached([tokens(6)]), known, Code(known)),
        Said(captions, unit(4)),
        lexicon,
        unit(3),
        Said(["a word", "another", "third"], unit(3)),
        encoder,
        sizes,
    )


def tile_tokens(batches: Batches, row: int) -> torch.Tensor:
    seen = batches.tiles.seen
    assert isinstance(seen, Cached)
    return torch.from_numpy(seen.views[0][row]).float()


def test_a_batch_is_a_function_of_its_number(batches: Batches) -> None:
    first, again = batches(3), batches(3)
    assert first.keys() == again.keys()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(batches(0)["images"], batches(1)["images"])


def test_every_image_comes_once_an_epoch_and_tiles_without_contrasts_never(
    batches: Batches,
) -> None:
    rows = [batches(i)["keys"][:, 0] for i in range(4)]  # 24 rows of 8 images
    assert Counter(torch.cat(rows).tolist()) == dict.fromkeys(range(8), 3)
    others = torch.cat([batches(i)["images"][6:8] for i in range(5)])  # 10 rows of 5 images
    assert Counter(map(tuple, others[:, 0].tolist())) == {
        tuple(image[0].astype(float)): 2 for image in batches.unlabelled.seen.views[0]
    }
    tiles = torch.cat([batches(i)["images"][8:] for i in range(2)])  # 8 rows of 4 tiles
    known = {n for n in range(6) for tile in tiles if torch.equal(tile, tile_tokens(batches, n))}
    assert known == {0, 2, 3, 5}


def test_a_batch_says_of_each_tile_which_sentence_is_true(
    batches: Batches, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts: list[str] = []
    tokens = encoder.tokens
    monkeypatch.setattr(encoder, "tokens", lambda said: (texts.extend(said), tokens(said))[1])
    batch = batches(0)
    code, count = batches.tiles.code, len(batch["pairs"])
    assert count == 3  # every pair that may be named
    told = texts[len(batch["said"]) :]
    first, second, statements = told[:count], told[count : 2 * count], told[2 * count :]
    assert len(statements) == 3
    true_of = batch["true"][:, 2 * count :]
    assert true_of.any(0).all()
    for row, tile in enumerate(batch["images"][8:]):
        (number,) = (n for n in range(6) if torch.equal(tile, tile_tokens(batches, n)))
        for column, pair in enumerate(batch["pairs"].tolist()):
            label = dict(code.labels[number]).get(pair, 0)
            assert batch["judged"][row, column] == label
            assert batch["true"][row, column] == (label > 0)
            assert batch["true"][row, count + column] == (label < 0)
        truths = batches.tiles.facts[number].truths
        for text, true in zip(statements, true_of[row], strict=True):
            assert bool(true) == any(re.search(WORDS[key], text) for key in truths), text
    for column, pair in enumerate(batch["pairs"].tolist()):
        kind, keys = code.pairs[pair].kind, code.pairs[pair][1:]
        for text, key in zip((first[column], second[column]), keys, strict=True):
            value = key.split("|")[2 if kind.endswith("colour") else -1]
            said = {"2": "two", "3": "three", "left": "left|west", "right": "right|east"}
            assert re.search(said.get(value, value), text), (key, text)


def test_codes_hold_what_sets_a_statement_off() -> None:
    coloured = Swap("side|pool||house|red|right", "left or right", "right", "left")
    code = Code([facts(RED, TWO), facts(opposite(RED), coloured, KEPT_OUT)])
    assert code.pairs == [Pair.of(RED), Pair.of(TWO), Pair.of(coloured)]
    red, blue = Pair.of(RED).second == RED.key, Pair.of(RED).first == RED.key
    assert code.labels[0] == [(0, 1 if blue else -1), (1, 1)]
    assert code.labels[1] == [(0, -1 if blue else 1), (2, -1)]
    assert red != blue
    assert sorted(code.coefficients[0].tolist()) == [-1, *[0] * (code.coefficients.shape[1] - 2), 1]
    # A pool left of a red house: the pool on the near end, the house (and the red one) on the far.
    assert sorted(filter(None, code.coefficients[2].tolist())) == [-1, 0.5, 1]
    # One value is as frequent as the other, or it stands alone: then it weighs nothing.
    np.testing.assert_allclose(code.weights, [[1, 1], [0, 2], [2, 0]])


def test_a_step_learns_from_all_its_terms(batches: Batches, encoder: Encoder) -> None:
    lesson = Lesson(
        encoder.module,
        batches.tiles.code,
        batches.photographs.targets,
        batches.captions.targets,
        batches.photographs.captions,
        Recipe().first,
    )
    encoder.module.zero_grad()
    figures = step(lesson, batches(0))
    assert figures.keys() == {"loss", "pairs"} | Recipe().first.weights.keys()
    assert np.isfinite(list(figures.values())).all()
    language = [p.grad for p in encoder.module.language.parameters() if p.requires_grad]
    assert all(gradient is not None and gradient.abs().sum() > 0 for gradient in language)
    assert lesson.codes.grad is not None
    assert lesson.codes.grad.abs().sum() > 0
    assert all(p.grad is None for p in encoder.module.vision.parameters())
    # Nothing but the student and its codes is kept.
    assert {name.split(".")[0] for name in lesson.state_dict()} == {"student", "codes"}


def test_a_step_with_open_eyes_teaches_the_tower(batches: Batches, encoder: Encoder) -> None:
    rng = np.random.default_rng(1)

    def pictures(count: int) -> np.ndarray:
        return rng.integers(0, 256, (count, 40, 40, 3), dtype=np.uint8)

    mixed = Pixels([pictures(5), pictures(3)], plain=0.5)
    batches.photographs = replace(batches.photographs, seen=mixed)
    batches.unlabelled = replace(batches.unlabelled, seen=Pixels([pictures(5)]))
    batches.tiles = replace(batches.tiles, seen=Pixels([pictures(6)], whole=True))
    batches.pasted = Pasted(Pixels([pictures(4)], whole=True), [["has|pool|"], ["has|tank|"]] * 2)
    batches.sizes = replace(batches.sizes, pasted=2)
    second = Recipe().second
    student = copy.deepcopy(encoder.module)
    student.requires_grad_(True)
    open_eyes(student.vision, 2)
    lesson = Lesson(
        student,
        batches.tiles.code,
        batches.photographs.targets,
        batches.captions.targets,
        batches.photographs.captions,
        replace(second, frozen=2, loop=replace(second.loop, precision="float32")),
    )
    pairs = len(batches.tiles.code.pairs)
    lesson.know_codes(torch.ones(pairs, WIDTH))
    figures = step(lesson, batches(0))
    assert figures.keys() == {"loss", "pairs"} | second.weights.keys()
    assert np.isfinite(list(figures.values())).all()
    blocks = [module for module in student.vision.modules() if isinstance(module, Block)]
    assert blocks[1].project.weight.grad is None
    assert blocks[2].project.weight.grad.abs().sum() > 0
    assert blocks[3].depthwise.bias.grad.abs().sum() > 0
    assert all(block.depthwise.weight.grad is None for block in blocks)


def test_a_caption_counts_as_often_as_it_was_written() -> None:
    rng = torch.Generator().manual_seed(0)
    ours, bank = (functional.normalize(torch.randn(n, 8, generator=rng), dim=-1) for n in (3, 4))
    times, numbers = torch.tensor([1, 3, 2, 1]), torch.arange(4)
    own = torch.tensor([[1], [0], [3]])
    found = _own(ours, bank, own, numbers, 0.1, times.float().log())
    copies = numbers.repeat_interleave(times)  # a bank that holds each as often
    shares = (ours @ bank[copies].T / 0.1).softmax(1)
    wanted = -torch.stack(
        [row[copies == n].sum().log() for row, n in zip(shares, own, strict=True)]
    )
    torch.testing.assert_close(found, wanted.mean())


def test_what_is_known_follows_the_student(batches: Batches, encoder: Encoder) -> None:
    course = replace(Recipe().second, frozen=None, renewed=0.5)
    lesson = Lesson(
        encoder.module,
        batches.tiles.code,
        batches.photographs.targets,
        batches.captions.targets,
        batches.photographs.captions,
        course,
    )
    # A stopped run goes on with them.
    assert {"photographs_now", "captions_now"} <= set(lesson.state_dict())
    other = functional.normalize(torch.ones(1, WIDTH), dim=-1)
    before = lesson.photographs_now.clone()
    lesson.renew(torch.tensor([[2, 1]]), other, other)
    near = (lesson.photographs_now @ other.T)[:, 0]
    assert near[2] > (before @ other.T)[2, 0] + 0.3
    torch.testing.assert_close(lesson.photographs_now.norm(dim=1), torch.ones(8))
    rest = torch.arange(8) != 2
    torch.testing.assert_close(lesson.photographs_now[rest], before[rest])
    torch.testing.assert_close(lesson.photographs[2], before[2])  # what the teachers said stays
    assert (lesson.captions_now[1] @ other[0]) > 0.5


def test_open_eyes_see_what_the_tower_sees_and_learn_what_it_would() -> None:
    torch.manual_seed(0)
    shapes = ((3, 1, 1, 8, 1), (3, 2, 2, 8, 2), (5, 2, 2, 8, 1), (5, 1, 2, 8, 1), (3, 2, 2, 8, 1),
              (5, 2, 2, 8, 1))  # fmt: skip
    tower = ConvTower(ConvTowerConfig(shapes, 8, 16, detail_stage=4, image_size=64))
    for parameter in tower.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    pixels = torch.randn(2, 3, 64, 64)
    aim = torch.randn(2, 4, tower.config.content_size)
    wanted = tower.content(pixels)
    (wanted * aim).sum().backward()
    grads = {name: p.grad for name, p in tower.named_parameters()}
    tower.zero_grad(set_to_none=True)
    open_eyes(tower, 2)
    found = tokens(tower, pixels, 2, torch.float32)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    (found * aim).sum().backward()
    learned = {name: p.grad for name, p in tower.named_parameters() if p.grad is not None}
    assert "stages.1.1.depthwise.bias" in learned
    assert not any("depthwise.weight" in name or "stem" in name for name in learned)
    for name, grad in learned.items():
        torch.testing.assert_close(grad, grads[name], rtol=1e-3, atol=1e-3)
    with pytest.raises(ValueError, match="detail"):
        tokens(tower, pixels, 7, torch.float32)


def test_texts_by_length_are_the_same_texts(encoder: Encoder) -> None:
    ids, mask = encoder.tokens(["a", "a red roof beside a long road", "two boats", "trees", "b c"])
    with torch.inference_mode():
        whole = encoder.module.embed_texts(ids, mask)
        torch.testing.assert_close(embed_by_length(encoder.module, ids, mask), whole)


def test_losses_prefer_what_is_true() -> None:
    true = torch.eye(3, dtype=torch.bool)
    for loss in (multi_positive, many_positives):
        assert loss(10 * true.float(), true) < 0.01 < loss(-10 * true.float(), true)
    # A row without a positive is left out; several positives share the answer.
    scores = torch.tensor([[9.0, 9.0, 0.0], [0.0, 0.0, 0.0]])
    wanted = torch.tensor([[True, True, False], [False, False, False]])
    columns = torch.nn.functional.cross_entropy(scores.T[:2], torch.tensor([0, 0]))
    rows = -torch.log_softmax(scores[0], 0)[:2].mean()
    torch.testing.assert_close(many_positives(scores, wanted), (rows + columns) / 2)


def test_tokens_are_computed_once_and_views_differ(tmp_path: Path) -> None:
    torch.manual_seed(1)
    tower = ConvTower(ConvTowerConfig(SMALL, 8, 16, detail_stage=3)).eval()
    for parameter in tower.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    images = np.random.default_rng(2).integers(0, 256, (3, 150, 150, 3), dtype=np.uint8)
    plain = see(tower, images, tmp_path / "0.npy")
    assert (plain.shape, plain.dtype) == ((3, 64, 16 + 4 * 8), np.float16)
    changed = see(tower, images, tmp_path / "1.npy", view=1, least=0.6)
    assert not np.array_equal(plain, changed)
    np.testing.assert_array_equal(see(tower, images[::-1], tmp_path / "0.npy"), plain)


def test_heads_learn_and_are_kept(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    seen, said = (rng.normal(size=(8, 12)).astype(np.float32) for _ in range(2))
    lexicon = Lexicon(["x", "y"], np.array([0, 1]), np.arange(8) % 2)
    captions = [(n,) for n in range(8)]
    args = ([seen], said, captions, lexicon, said[:2], tmp_path / "heads.safetensors")
    settings = Heads(batch=16)
    look, say = train_heads(*args, epochs=30, settings=settings)
    with torch.inference_mode():
        images, texts = look(torch.from_numpy(seen)), say(torch.from_numpy(said))
    assert ((images @ texts.T).argmax(1) == torch.arange(8)).float().mean() > 0.7
    kept, _ = train_heads(*args, epochs=30, settings=settings)
    torch.testing.assert_close(kept(torch.from_numpy(seen)), images)


def test_pooled_features_are_the_last_maps_mean(tmp_path: Path) -> None:
    tokens = np.random.default_rng(0).normal(size=(2, 4, 1300)).astype(np.float16)
    want = tokens[..., :1280].astype(np.float32).mean(1)
    np.testing.assert_allclose(pooled(tokens, tmp_path / "p.npy"), want, atol=1e-6)


def test_teachers_together_are_the_mean_of_their_cosines() -> None:
    torch.manual_seed(0)
    pairs = [(Head(6, 4, 8).eval(), Head(5, 4, 8).eval()) for _ in range(2)]
    teachers = Teachers(pairs)
    rng = np.random.default_rng(0)
    seen = [rng.normal(size=(9, 6)).astype(np.float32) for _ in pairs]
    said = rng.normal(size=(7, 5)).astype(np.float32)
    images, texts = teachers.look(seen), teachers.say(said)
    with torch.inference_mode():
        alone = [see(torch.from_numpy(own)) @ read(torch.from_numpy(said)).T
                 for (see, read), own in zip(pairs, seen, strict=True)]  # fmt: skip
    np.testing.assert_allclose(images @ texts.T, torch.stack(alone).mean(0), atol=1e-6)
    # Eight directions hold eight dimensions: the turn into more loses nothing.
    teachers.turn(np.concatenate([images, texts]))
    np.testing.assert_allclose(
        teachers.look(seen) @ teachers.say(said).T, images @ texts.T, atol=1e-5
    )


def test_a_whole_image_is_seen_as_its_maps_mean(tmp_path: Path) -> None:
    torch.manual_seed(1)
    tower = ConvTower(ConvTowerConfig(SMALL, 8, 1290, detail_stage=3)).eval()
    images = np.random.default_rng(2).integers(0, 256, (2, 150, 150, 3), dtype=np.uint8)
    tokens = see(tower, images, tmp_path / "tokens.npy")
    whole = see_whole(tower, images, tmp_path / "whole.npy", 256)
    np.testing.assert_allclose(whole, pooled(tokens, tmp_path / "p.npy"), atol=1e-3)


def test_a_token_tells_its_place_only_where_asked() -> None:
    pixels = torch.zeros(1, 3, 64, 64)
    plain = ConvTower(ConvTowerConfig(SMALL, 8, 16, detail_stage=3, image_size=64)).eval()
    placed = ConvTower(
        ConvTowerConfig(SMALL, 8, 16, detail_stage=3, image_size=64, position=3.0)
    ).eval()
    placed.load_state_dict(plain.state_dict())
    with torch.inference_mode():
        content = plain(pixels).last_hidden_state
        tokens = placed(pixels).last_hidden_state
    assert tokens.shape[-1] == placed.config.hidden_size == plain.config.hidden_size + 8
    torch.testing.assert_close(tokens[..., :-8], content)
    where = tokens[0, :, -8:]
    assert where.abs().max() <= 3
    # 2 x 2 tokens, row by row: the first four channels tell the column, the others the row.
    torch.testing.assert_close(where[0, :4], where[2, :4])
    torch.testing.assert_close(where[0, 4:], where[1, 4:])
    assert not torch.allclose(where[0, :4], where[1, :4])
    assert not torch.allclose(where[0, 4:], where[2, 4:])
