"""The bundled model's kind: a convolutional tower in InternVL's classes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ngcg_cli.encoder import convnet
from ngcg_cli.encoder.checkpoint import load_encoder, save_checkpoint
from ngcg_cli.encoder.convnet import ConvInternVLConfig, ConvTower, ConvTowerConfig
from ngcg_cli.encoder.encoder import Encoder, build_encoder

STAGES = ((3, 1, 1, 8, 1), (3, 2, 2, 8, 2), (5, 2, 2, 12, 1), (5, 2, 2, 16, 1), (3, 2, 2, 16, 1))
TEXTS = ["a red roof", "boats in the harbour"]


def _tower_config() -> ConvTowerConfig:
    return ConvTowerConfig(STAGES, 8, 24, detail_stage=3, image_size=64)


@pytest.fixture(scope="module")
def tower() -> ConvTower:
    torch.manual_seed(3)
    tower = ConvTower(_tower_config()).eval()
    for parameter in tower.parameters():  # so that ReLU6 and biases have something to do
        torch.nn.init.normal_(parameter, std=0.3)
    return tower


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tokenizer_dir: Path) -> Path:
    """A model directory of that kind, with random weights."""
    tokenizer = json.loads((tokenizer_dir / "tokenizer.json").read_text())
    size = len(tokenizer["model"]["vocab"]) + len(tokenizer["added_tokens"])
    text = {
        "model_type": "llama",
        "vocab_size": size,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
    }
    config: Any = ConvInternVLConfig
    torch.manual_seed(5)
    encoder = build_encoder(
        config(
            vision_config=_tower_config(), text_config=text, vision_feature_select_strategy="full"
        ),
        tokenizer_dir,
    )
    out: Path = save_checkpoint(encoder, tmp_path_factory.mktemp("conv") / "model")
    return out


def _pixels(count: int) -> torch.Tensor:
    return torch.randn(count, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def _images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (6, 70, 50, 3), dtype=np.uint8)


def _vectors(encoder: Encoder) -> np.ndarray:
    return np.concatenate([encoder.encode_texts(TEXTS), encoder.encode_images(_images())])


def test_a_checkpoint_can_be_read_by_whom_its_folder_is_for(folder: Path) -> None:
    """safetensors writes files for their owner alone, whatever the umask."""
    modes = {path.name: path.stat().st_mode for path in folder.iterdir()}
    assert modes["model.safetensors"] == modes["ngcg.json"]


def test_the_fused_way_gives_the_plain_ways_tokens(
    tower: ConvTower, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = _pixels(convnet.CHUNK + 1)
    with torch.inference_mode():
        fused = tower(pixels).last_hidden_state
        monkeypatch.setattr(convnet, "_fusible", lambda image: False)
        plain = tower(pixels).last_hidden_state
    assert fused.shape == (convnet.CHUNK + 1, 4, 24 + 4 * 16)
    torch.testing.assert_close(fused, plain, rtol=1e-4, atol=1e-4)


def test_tokens_run_row_by_row(tower: ConvTower) -> None:
    """What changes in a corner of the image changes that corner's token most."""
    pixels = torch.zeros(1, 3, 64, 64)
    marked = pixels.clone()
    marked[..., 8:24, 40:56] = 2.0  # upper right
    with torch.inference_mode():
        difference = tower(marked).last_hidden_state - tower(pixels).last_hidden_state
    assert int(difference.abs().sum(-1).argmax()) == 1


def test_gradients_flow_where_they_are_wanted_and_only_there(tower: ConvTower) -> None:
    tower.requires_grad_(True)
    tower(_pixels(2)).last_hidden_state.sum().backward()
    gradients = [parameter.grad for parameter in tower.parameters()]
    assert all(gradient is not None for gradient in gradients)
    tower.zero_grad(set_to_none=True)
    tower.requires_grad_(False)
    assert not tower(_pixels(2)).last_hidden_state.requires_grad


def test_a_saved_model_comes_back_through_the_common_way(folder: Path) -> None:
    encoder = load_encoder(folder, "cpu")
    assert isinstance(encoder.module.vision, ConvTower)
    assert (encoder.image_size, encoder.backbone.image_tokens) == (64, 1)
    vectors = _vectors(encoder)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(vectors, _vectors(load_encoder(folder, "cpu")), atol=1e-6)


def test_batch_mates_do_not_change_a_vector(folder: Path) -> None:
    encoder, images = load_encoder(folder, "cpu"), _images()
    whole = encoder.encode_images(images)
    for size in (1, 3, 5):
        np.testing.assert_allclose(encoder.encode_images(images, size), whole, atol=1e-5)


def test_sixteen_bits_through_the_tower_agree_with_float32(folder: Path) -> None:
    exact, rounded = (
        _vectors(load_encoder(folder, "cpu", precision=precision))
        for precision in ("float32", "bfloat16")
    )
    assert (exact * rounded).sum(1).min() > 0.99
