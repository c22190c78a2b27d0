"""EmbeddingGemma 2: the vectors are those of transformers' own processor and model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from small_models import write_gemma

from ngcg_cli.encoder.checkpoint import load_encoder, save_checkpoint
from ngcg_cli.encoder.encoder import Encoder
from ngcg_cli.encoder.lora import add_lora
from ngcg_cli.errors import ModelError, UsageError

pytestmark = pytest.mark.slow  # small models of torch that train or talk: seconds in all

TEXTS = [
    "many planes are parked next to a long building",
    "boats",
    "",
    " some boats are in a harbour near a green meadow and two ponds" * 3,
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gemma")
    write_gemma(folder)
    return folder


@pytest.fixture(scope="module")
def encoder(model: Path) -> Encoder:
    return load_encoder(model, "cpu")


def _images() -> list[np.ndarray]:
    sizes = [(96, 96), (150, 150), (40, 40)]
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]


def _mean(hidden: torch.Tensor, mask: torch.Tensor) -> np.ndarray:
    weights = mask.float().unsqueeze(-1)
    mean = (hidden * weights).sum(1) / weights.sum(1)
    return torch.nn.functional.normalize(mean, dim=-1).numpy()


def test_texts_are_those_of_transformers(encoder: Encoder, model: Path) -> None:
    from transformers import EmbeddingGemma2Model, PreTrainedTokenizerFast

    own = EmbeddingGemma2Model.from_pretrained(model).eval()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(model, padding_side="left")
    asked = [f"task: search result | query: {text}" for text in TEXTS]
    words = tokenizer(asked, padding=True, return_tensors="pt")
    with torch.inference_mode():
        hidden = own(
            input_ids=words["input_ids"], attention_mask=words["attention_mask"]
        ).last_hidden_state
    theirs = _mean(hidden, words["attention_mask"])
    np.testing.assert_allclose(encoder.encode_texts(TEXTS), theirs, atol=1e-4)
    assert np.abs(theirs[0] - theirs[1]).max() > 1e-3


def test_images_are_those_of_transformers(encoder: Encoder, model: Path) -> None:
    from transformers import EmbeddingGemma2Model, PreTrainedTokenizerFast
    from transformers.models.gemma4.image_processing_pil_gemma4 import Gemma4ImageProcessorPil

    pixels = Gemma4ImageProcessorPil(patch_size=2)(_images(), return_tensors="pt")
    counts = pixels["num_soft_tokens_per_image"]
    assert set(map(int, counts)) == {encoder.backbone.image_tokens}
    chat = "<|image>" + "<|image|>" * encoder.backbone.image_tokens + "<image|>"
    words = PreTrainedTokenizerFast.from_pretrained(model)([chat] * 3, return_tensors="pt")
    own = EmbeddingGemma2Model.from_pretrained(model).eval()
    with torch.inference_mode():
        hidden = own(
            input_ids=words["input_ids"],
            pixel_values=pixels["pixel_values"],
            image_position_ids=pixels["image_position_ids"],
        ).last_hidden_state
    theirs = _mean(hidden, words["attention_mask"])
    np.testing.assert_allclose(encoder.encode_images(_images()), theirs, atol=1e-4)
    assert np.abs(theirs[0] - theirs[1]).max() > 1e-4


def test_batch_mates_do_not_change_a_vector(encoder: Encoder) -> None:
    together, alone = encoder.encode_texts(TEXTS), [encoder.encode_texts(text) for text in TEXTS]
    np.testing.assert_allclose(together, np.concatenate(alone), atol=1e-5)
    images = _images()
    together = encoder.encode_images(images)
    alone = [encoder.encode_images(image) for image in images]
    np.testing.assert_allclose(together, np.concatenate(alone), atol=1e-5)


def test_its_width_is_that_of_its_projection(encoder: Encoder) -> None:
    assert (encoder.dim, encoder.image_size, encoder.engine.pooling) == (64, 96, "mean")
    with pytest.raises(UsageError, match="was not trained for shorter vectors"):
        encoder.shortened(32)


def test_lora_adapts_both_towers_and_comes_back(model: Path, tmp_path: Path) -> None:
    encoder = load_encoder(model, "cpu", trainable=True)
    add_lora(encoder.module)
    texts = encoder.module.embed_texts(*encoder.tokens(TEXTS[:2]))
    images = encoder.module.embed_images(encoder.pixels(_images()[:2]))
    (texts * images).sum().backward()
    trained = {n: w for n, w in encoder.module.named_parameters() if w.requires_grad}
    for tower in ("language_model", "vision_tower"):
        assert {name for name in trained if tower in name}, tower
    assert [name for name, weight in trained.items() if weight.grad is None] == []
    with torch.no_grad():
        for name, weight in trained.items():
            if "lora_B" in name:
                weight.normal_(std=0.05)
    save_checkpoint(encoder, tmp_path / "out")
    encoder.module.eval()
    again = load_encoder(tmp_path / "out", "cpu")
    vectors = encoder.encode_texts(TEXTS)
    np.testing.assert_allclose(again.encode_texts(TEXTS), vectors, atol=2e-5)
    assert np.abs(load_encoder(model, "cpu").encode_texts(TEXTS) - vectors).max() > 1e-3


def test_another_pooling_is_refused(model: Path) -> None:
    with pytest.raises(ModelError, match="trained to be read by its mean"):
        load_encoder(model, "cpu", pooling="query")
