"""Batches on threads of their own: the same vectors, in order, and errors that come through."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ngcg_cli.encoder.checkpoint import load_encoder
from ngcg_cli.encoder.encoder import Encoder
from ngcg_cli.encoder.streams import encode_batches

Images = list[np.ndarray]


@pytest.fixture(scope="module")
def encoder(fake_backbone: Path) -> Encoder:
    return load_encoder(str(fake_backbone), "cpu")


@pytest.fixture(scope="module")
def images() -> Images:
    return list(np.random.default_rng(0).integers(0, 256, (22, 40, 40, 3), np.uint8))


def batches(images: Images, size: int = 4) -> Iterator[tuple[int, Images]]:
    for start in range(0, len(images), size):
        yield start, images[start : start + size]


@pytest.mark.parametrize("streams", [1, 2, 5])
def test_order_and_values(encoder: Encoder, images: Images, streams: int) -> None:
    got = list(encode_batches(encoder.encode_batch, batches(images), streams))
    assert [start for start, _ in got] == list(range(0, 22, 4))
    whole = encoder.encode_images(images)
    np.testing.assert_allclose(np.concatenate([v for _, v in got]), whole, atol=1e-5)


def test_the_callers_threads_stay_as_they_are(encoder: Encoder, images: Images) -> None:
    threads = torch.get_num_threads()
    assert encoder.engine.streams() == threads
    list(encode_batches(encoder.encode_batch, batches(images), 2, encoder.engine.enter_stream))
    assert torch.get_num_threads() == threads


def test_no_more_batches_are_asked_for_than_are_in_work(encoder: Encoder, images: Images) -> None:
    asked = []

    def counted() -> Iterator[tuple[int, Images]]:
        for batch in batches(images, 1):
            asked.append(batch[0])
            assert threading.current_thread() is threading.main_thread()
            yield batch

    embedded = encode_batches(encoder.encode_batch, counted(), 2)
    for done, _ in enumerate(embedded):
        assert len(asked) <= done + 3
    embedded.close()


def test_an_error_of_the_model_comes_through(
    encoder: Encoder, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> np.ndarray:
        raise MemoryError("no room")

    monkeypatch.setattr(encoder, "encode_batch", refuse)
    with pytest.raises(MemoryError, match="no room"):
        list(encode_batches(encoder.encode_batch, batches(images), 2))


def test_a_model_in_training_embeds_as_one_that_is_not(encoder: Encoder, images: Images) -> None:
    modes = []
    hook = encoder.module.vision.register_forward_hook(lambda m, *_: modes.append(m.training))
    encoder.module.train()
    try:
        encoder.encode_images(images, 4)
        assert encoder.module.training
    finally:
        encoder.module.eval()
        hook.remove()
    assert modes
    assert not any(modes)
