"""The recipe of `tiny` on a handful of made-up images: what its batches hold, and one step."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from examples.tiny import lessons
from examples.tiny.distil import embed_by_length, step
from examples.tiny.features import pooled, see
from examples.tiny.heads import Lexicon, many_positives, multi_positive, train_heads
from examples.tiny.lessons import Batches, Contrasted, Drawn, Photographs, Said
from ngcg_cli.encoder.convnet import ConvTower, ConvTowerConfig
from ngcg_cli.encoder.encoder import Encoder, build_encoder

SMALL = ((3, 1, 1, 8, 1), (3, 2, 2, 8, 1), (3, 2, 2, 8, 1), (3, 2, 2, 8, 1), (3, 2, 2, 8, 1))


@pytest.fixture(scope="module")
def encoder(tokenizer_dir: Path) -> Encoder:
    from examples.tiny.make import student_config

    config = student_config()
    config.vision_config = ConvTowerConfig(SMALL, 8, 16, detail_stage=3, image_size=256)
    torch.manual_seed(0)
    return build_encoder(config, tokenizer_dir)


@pytest.fixture
def batches(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> Batches:
    for name, size in (("PHOTOGRAPHS", 6), ("DRAWN", 4), ("LEXICON", 3), ("WORDS", 2)):
        monkeypatch.setattr(lessons, name, size)
    rng = np.random.default_rng(0)
    width = encoder.module.base.config.vision_config.hidden_size

    def tokens(count: int) -> np.ndarray:
        return rng.normal(size=(count, 64, width)).astype(np.float16)

    def unit(count: int) -> np.ndarray:
        rows = rng.normal(size=(count, encoder.dim)).astype(np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    captions = ["a red roof", "two boats", "a road", "trees beside a road"]
    lexicon = Lexicon(["pier", "grove", "wood"], np.array([0, 1, 1]), np.arange(8) % 2)
    return Batches(
        Photographs([tokens(8), tokens(8)], [(n % 4, (n + 1) % 4) for n in range(8)], unit(8)),
        Drawn(tokens(6), [(0,), (), (1, 2), (3,), (2,), ()]),
        Contrasted(tokens(5), [[("two boats", "three boats")], [], [], [("red", "blue")], []]),
        Said(captions, unit(4)),
        lexicon,
        unit(3),
        Said(["a word", "another", "third"], unit(3)),
        encoder,
    )


def test_kinds_of_batches_keep_their_shares() -> None:
    early = Counter(lessons._kind(i) for i in range(240))
    assert early == {"photographs": 160, "drawn": 40, "contrasted": 40}
    late = Counter(lessons._kind(i) for i in range(256, 256 + 80))
    assert late == {"photographs": 40, "drawn": 10, "contrasted": 30}


def test_a_batch_is_a_function_of_its_number(batches: Batches) -> None:
    for index in (0, 2, 5):
        first, again = batches(index), batches(index)
        assert first.keys() == again.keys()
        assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(batches(0)["tokens"], batches(1)["tokens"])


def test_every_image_comes_once_an_epoch_and_tiles_without_captions_never(
    batches: Batches,
) -> None:
    photographs = [batches(i)["keys"][:, 0] for i in (0, 1, 3, 4)]  # 24 rows of 8 images
    assert Counter(torch.cat(photographs).tolist()) == dict.fromkeys(range(8), 3)
    drawn = torch.cat([batches(i)["keys"][:, 0] for i in (2, 8)])
    assert set(drawn.tolist()) == {0, 2, 3, 4}


@pytest.mark.parametrize(
    ("index", "terms"),
    [
        (0, {"contrast", "text", "image", "lexicon"}),
        (2, {"contrast", "text"}),
        (5, {"contrast", "text", "hard"}),
    ],
)
def test_a_step_learns_from_the_terms_of_its_kind(
    batches: Batches, encoder: Encoder, index: int, terms: set[str]
) -> None:
    encoder.module.zero_grad()
    figures = step(encoder.module, batches(index))
    assert figures.keys() == {"loss", "pairs"} | terms
    assert np.isfinite(list(figures.values())).all()
    language = [p.grad for p in encoder.module.language.parameters() if p.requires_grad]
    assert all(gradient is not None and gradient.abs().sum() > 0 for gradient in language)
    assert all(p.grad is None for p in encoder.module.vision.parameters())


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
    changed = see(tower, images, tmp_path / "1.npy", view=1)
    assert not np.array_equal(plain, changed)
    np.testing.assert_array_equal(see(tower, images[::-1], tmp_path / "0.npy"), plain)


def test_heads_learn_and_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from examples.tiny import heads

    monkeypatch.setattr(heads, "BATCH", 16)
    monkeypatch.setattr(heads, "EPOCHS", 30)
    rng = np.random.default_rng(0)
    seen, said = (rng.normal(size=(8, 12)).astype(np.float32) for _ in range(2))
    lexicon = Lexicon(["x", "y"], np.array([0, 1]), np.arange(8) % 2)
    captions = [(n,) for n in range(8)]
    args = ([seen], said, captions, lexicon, said[:2], tmp_path / "heads.safetensors")
    look, say = train_heads(*args)
    with torch.inference_mode():
        images, texts = look(torch.from_numpy(seen)), say(torch.from_numpy(said))
    assert ((images @ texts.T).argmax(1) == torch.arange(8)).float().mean() > 0.7
    kept, _ = train_heads(*args)
    torch.testing.assert_close(kept(torch.from_numpy(seen)), images)


def test_pooled_features_are_the_last_maps_mean(tmp_path: Path) -> None:
    tokens = np.random.default_rng(0).normal(size=(2, 4, 1300)).astype(np.float16)
    want = tokens[..., :1280].astype(np.float32).mean(1)
    np.testing.assert_allclose(pooled(tokens, tmp_path / "p.npy"), want, atol=1e-6)
