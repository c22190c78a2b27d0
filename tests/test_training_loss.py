"""InfoNCE with its masks, the gradient cache, the sampler, the augmentations."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ngcg_cli.datasets.pairs import Pair
from ngcg_cli.encoder.encoder import build_encoder
from ngcg_cli.errors import UsageError
from ngcg_cli.training import gradcache
from ngcg_cli.training.augment import AUGMENTATIONS, augment, names_direction
from ngcg_cli.training.loss import Temperature, info_nce, pair_keys
from ngcg_cli.training.sampler import SpreadBatches
from ngcg_cli.training.settings import in_order


def unit(rows: int, dim: int = 8, seed: int = 0) -> Tensor:
    return nn.functional.normalize(
        torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed)), dim=-1
    )


# --- loss ---------------------------------------------------------------------------------------


def by_hand(texts: Tensor, images: Tensor, scale: float, related: set[tuple[int, int]]) -> float:
    """Mean over texts of -log softmax, written as sums."""
    total = 0.0
    for i, text in enumerate(texts):
        scores = [scale * float(text @ image) for image in images]
        others = [math.exp(s) for j, s in enumerate(scores) if j == i or (i, j) not in related]
        total += math.log(sum(others)) - scores[i]
    return total / len(texts)


@pytest.mark.parametrize("direction", ["symmetric", "text-to-image", "image-to-text"])
def test_loss_equals_the_formula_with_related_pairs_left_out(direction: str) -> None:
    texts, images = unit(5, seed=1), unit(5, seed=2)
    pairs = [
        Pair(Path("a"), (), "a", place="x"),
        Pair(Path("b"), (), "b", place="x"),  # the same place as a
        Pair(Path("c"), (), "c"),
        Pair(Path("c"), (), "c"),  # the same image
        Pair(Path("d"), (), "d"),
    ]
    captions = ["one", "two", "A Harbour. ", "three", "a  harbour"]  # and an equal caption: 2, 4
    keys = torch.tensor([pair_keys(p, c) for p, c in zip(pairs, captions, strict=True)])
    related = {(0, 1), (1, 0), (2, 3), (3, 2), (2, 4), (4, 2)}
    forth = by_hand(texts, images, 30, related)
    back = by_hand(images, texts, 30, related)
    expected = {"symmetric": (forth + back) / 2, "text-to-image": forth, "image-to-text": back}
    value = info_nce(texts, images, 30, keys, direction)
    assert value.item() == pytest.approx(expected[direction], rel=1e-5)
    assert value < info_nce(texts, images, 30, None, direction)


def test_a_batch_of_one_place_has_no_negatives_and_no_nan() -> None:
    keys = torch.zeros(4, 3, dtype=torch.long)
    texts = unit(4).requires_grad_()
    loss = info_nce(texts, unit(4, seed=1), 33, keys)
    loss.backward()
    assert loss.item() == 0
    assert texts.grad.isfinite().all()


def test_temperature_is_fixed_or_learns_within_bounds() -> None:
    fixed = Temperature(0.03)
    assert fixed().item() == pytest.approx(1 / 0.03)
    assert not fixed().requires_grad
    learned = Temperature(0.03, learn=True)
    with torch.no_grad():
        learned.log_scale.fill_(9.0)
    scale = learned()
    assert scale.item() == pytest.approx(100)
    scale.backward()
    assert learned.log_scale.grad > 0, "a bound that ends gradients would hold it forever"
    with pytest.raises(UsageError, match="temperature of 0"):
        Temperature(0.0)


# --- gradient cache -----------------------------------------------------------------------------


def gradients(module: nn.Module) -> dict[str, Tensor]:
    found = {n: p.grad.clone() for n, p in module.named_parameters() if p.grad is not None}
    module.zero_grad()
    return found


@pytest.mark.parametrize("micro", [(2, 2), (3, 5), (1, 4), (12, 12)])
def test_cached_gradients_equal_the_plain_ones_with_dropout_on(
    micro: tuple[int, int], smolvlm_config: Any, tokenizer_dir: Path
) -> None:
    torch.manual_seed(3)
    smolvlm_config = type(smolvlm_config).from_dict(smolvlm_config.to_dict())
    smolvlm_config.text_config.attention_dropout = 0.2
    smolvlm_config.vision_config.attention_dropout = 0.2
    encoder = build_encoder(smolvlm_config, tokenizer_dir, pooling="mean")
    module, temperature = encoder.module.train(), Temperature(0.05, learn=True)
    both = nn.ModuleList([module, temperature])
    ids, mask = encoder.tokens([f"{n} planes near {n * n} boats" for n in range(12)])
    pixels = torch.randn(12, 3, 32, 32, generator=torch.Generator().manual_seed(4))
    texts = list(zip(ids.split(micro[0]), mask.split(micro[0]), strict=True))
    images = pixels.split(micro[1])

    def loss(text_vectors: Tensor, image_vectors: Tensor) -> Tensor:
        return info_nce(text_vectors, image_vectors, temperature())

    torch.manual_seed(8)
    plain = loss(
        torch.cat([module.embed_texts(*chunk) for chunk in texts]),
        torch.cat([module.embed_images(chunk) for chunk in images]),
    )
    plain.backward()
    expected = gradients(both)

    torch.manual_seed(8)
    cached = gradcache.backward(
        loss,
        gradcache.Side(lambda chunk: module.embed_texts(*chunk), texts),
        gradcache.Side(module.embed_images, images),
    )
    found = gradients(both)
    assert cached.item() == pytest.approx(plain.item(), abs=1e-6)
    assert found.keys() == expected.keys()
    assert "1.log_scale" in found
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-5, atol=1e-5)

    torch.manual_seed(9)  # the test can fail: other dropout, other gradients
    loss(
        torch.cat([module.embed_texts(*chunk) for chunk in texts]),
        torch.cat([module.embed_images(chunk) for chunk in images]),
    ).backward()
    others = gradients(both)
    assert max((others[n] - g).abs().max() for n, g in expected.items()) > 1e-3


def test_one_chunk_of_activations_is_alive_at_a_time() -> None:
    alive, most = 0, 0

    class Counted(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            nonlocal alive, most
            if torch.is_grad_enabled() or x.requires_grad:
                alive += len(x)
                most = max(most, alive)
            return x.clone()

        @staticmethod
        def backward(ctx: Any, gradient: Tensor) -> Tensor:
            nonlocal alive
            alive -= len(gradient)
            return gradient

    layer = nn.Linear(4, 4)

    def embed(x: Tensor) -> Tensor:
        out = layer(x)
        return Counted.apply(out) if torch.is_grad_enabled() else out

    chunks = torch.randn(64, 4).split(8)
    side = gradcache.Side(embed, chunks)
    gradcache.backward(lambda a, b: info_nce(a, b, 1.0), side, side)
    assert (alive, most) == (0, 8)


# --- sampler ------------------------------------------------------------------------------------


@settings(max_examples=80, deadline=None)
@given(
    counts=st.lists(st.integers(1, 12), min_size=1, max_size=30),
    batch_size=st.integers(1, 20),
    seed=st.integers(0, 5),
)
def test_places_are_spread_as_far_as_can_be(counts: list[int], batch_size: int, seed: int) -> None:
    places = [f"place {g}" for g, count in enumerate(counts) for _ in range(count)]
    batches = SpreadBatches(places, batch_size, seed)
    m = batches.batches_per_epoch
    assert m == max(1, len(places) // batch_size)
    for epoch in range(2):
        seen: list[int] = []
        for number in range(epoch * m, (epoch + 1) * m):
            items = batches[number]
            assert len(items) == min(batch_size, len(places))
            seen += items.tolist()
            for place, count in Counter(places[i] for i in items).items():
                assert count <= math.ceil(places.count(place) / m)
        assert len(set(seen)) == len(seen), "no item twice in an epoch"
        assert len(places) - len(seen) < max(batch_size, 1)


def test_batches_depend_on_seed_and_number_alone() -> None:
    places = list(range(100)) * 2
    one, two, other = (SpreadBatches(places, 16, seed) for seed in (1, 1, 2))
    order = [30, 3, 12, 0, 30]
    for number in order:
        assert np.array_equal(one[number], two[number])
    assert not np.array_equal(one[0], other[0])
    assert not np.array_equal(one[0], one[one.batches_per_epoch]), "another epoch, another deal"


def test_who_meets_whom_is_mixed() -> None:
    batches = SpreadBatches([n // 20 for n in range(2000)], 20, 0)
    partners = Counter(
        int(i) // 20 for number in range(100) for i in batches[number] if 0 in batches[number] // 20
    )
    del partners[0]
    assert len(partners) > 60, "a place meets most others within an epoch"


# --- augmentations ------------------------------------------------------------------------------

IMAGE = np.arange(60 * 40 * 3, dtype=np.uint32).reshape(60, 40, 3).astype(np.uint8)


def variants(caption: str, count: int = 64, **options: Any) -> list[np.ndarray]:
    return [augment(IMAGE, caption, np.random.default_rng(n), **options) for n in range(count)]


def test_flips_and_turns_are_the_eight_symmetries_of_the_square() -> None:
    expected = {
        np.rot90(side, turns).tobytes() for side in (IMAGE, IMAGE[:, ::-1]) for turns in range(4)
    }
    found = {v.tobytes() for v in variants("boats in a harbour", which=("flip", "turn"))}
    assert found == expected


def test_a_caption_that_names_directions_keeps_its_image_standing() -> None:
    for caption in ("a road on the left", "the Northern bank", "in the upper right corner"):
        assert names_direction(caption)
        assert {v.tobytes() for v in variants(caption, which=("flip", "turn"))} == {IMAGE.tobytes()}
    assert not names_direction("a leftover field beside brightly lit restaurants")


def test_ground_views_are_never_turned() -> None:
    assert {v.shape for v in variants("a hall", which=("flip", "turn"), view="ground")} == {
        IMAGE.shape
    }


def test_crops_keep_most_of_the_image_and_colours_stay_close() -> None:
    for variant in variants("a harbour", which=("crop",)):
        assert 0.55 <= variant.shape[0] * variant.shape[1] / (60 * 40) <= 1
        assert any(
            np.array_equal(variant, IMAGE[y : y + variant.shape[0], x : x + variant.shape[1]])
            for y in range(61 - variant.shape[0])
            for x in range(41 - variant.shape[1])
        )
    grey = np.full((8, 8, 3), 100, np.uint8)
    for n in range(32):
        changed = augment(grey, "x", np.random.default_rng(n), which=("colour",))
        assert changed.dtype == np.uint8
        assert 79 <= changed.min() <= changed.max() <= 121
        assert np.ptp(changed) == 0, "grey stays grey"


def test_augmentations_can_be_switched_off_one_by_one() -> None:
    assert variants("a harbour", count=3, which=())[2].tobytes() == IMAGE.tobytes()
    assert in_order(["turn", "flip"]) == ("flip", "turn")
    assert in_order([]) == ()
    with pytest.raises(UsageError, match=r"unknown augmentation blur.*flip, turn, colour, crop"):
        in_order(["blur", *AUGMENTATIONS])
