"""Qwen3-VL as an encoder: the vectors are those of transformers' own processor and model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from small_models import write_qwen

from ngcg_cli.encoder.checkpoint import load_encoder
from ngcg_cli.encoder.encoder import Encoder
from ngcg_cli.errors import UsageError

TEXTS = ["many planes are parked next to a long building", "boats", "", "two ponds " * 8]
CHAT = "<|im_start|>system\n{}<|im_end|>\n<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("qwen")
    write_qwen(folder)
    return folder


@pytest.fixture(scope="module")
def encoder(model: Path) -> Encoder:
    return load_encoder(model, "cpu")


def _images(encoder: Encoder) -> np.ndarray:
    side = encoder.image_size
    return np.random.default_rng(0).integers(0, 256, (3, side, side, 3), dtype=np.uint8)


def test_texts_are_those_of_transformers(encoder: Encoder, model: Path) -> None:
    from transformers import PreTrainedTokenizerFast, Qwen3VLModel

    own = Qwen3VLModel.from_pretrained(model).eval()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(model, padding_side="left")
    asked = "Retrieve images or text relevant to the user's query."
    words = tokenizer(
        [CHAT.format(asked, text) for text in TEXTS], padding=True, return_tensors="pt"
    )
    with torch.inference_mode():
        hidden = own(
            input_ids=words["input_ids"], attention_mask=words["attention_mask"]
        ).last_hidden_state
    theirs = torch.nn.functional.normalize(hidden[:, -1], dim=-1).numpy()
    np.testing.assert_allclose(encoder.encode_texts(TEXTS), theirs, atol=1e-4)
    assert np.abs(theirs[0] - theirs[1]).max() > 1e-3


def test_images_are_those_of_transformers(encoder: Encoder, model: Path) -> None:
    from transformers import PreTrainedTokenizerFast, Qwen3VLModel
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    images = _images(encoder)
    processor = Qwen2VLImageProcessorPil(
        patch_size=4,
        merge_size=2,
        temporal_patch_size=2,
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
        size={"shortest_edge": 64, "longest_edge": 1 << 20},
    )
    pixels = processor(list(images), return_tensors="pt")
    count = int(pixels["image_grid_thw"][0].prod()) // 4
    assert count == encoder.backbone.image_tokens
    content = "<|vision_start|>" + "<|image_pad|>" * count + "<|vision_end|>"
    chat = CHAT.format("Represent the user's input.", content)
    own = Qwen3VLModel.from_pretrained(model).eval()
    ids = PreTrainedTokenizerFast.from_pretrained(model)([chat] * 3, return_tensors="pt")[
        "input_ids"
    ]
    with torch.inference_mode():
        hidden = own(
            input_ids=ids,
            pixel_values=pixels["pixel_values"],
            image_grid_thw=pixels["image_grid_thw"],
            mm_token_type_ids=(ids == own.config.image_token_id).int(),
        ).last_hidden_state
    theirs = torch.nn.functional.normalize(hidden[:, -1], dim=-1).numpy()
    np.testing.assert_allclose(encoder.encode_images(images), theirs, atol=1e-4)
    assert np.abs(theirs[0] - theirs[1]).max() > 1e-4


def test_batch_mates_do_not_change_a_vector(encoder: Encoder) -> None:
    images = _images(encoder)
    images[1] = 128  # a constant grey one, whose pixels are all but zero
    together, alone = encoder.encode_texts(TEXTS), [encoder.encode_texts(text) for text in TEXTS]
    np.testing.assert_allclose(together, np.concatenate(alone), atol=1e-5)
    together = encoder.encode_images(images)
    alone = [encoder.encode_images(image) for image in images]
    np.testing.assert_allclose(together, np.concatenate(alone), atol=1e-5)
    # Texts after images: what the model remembers of positions is not carried over.
    before = encoder.encode_texts(TEXTS)
    encoder.encode_images(images[:1])
    np.testing.assert_array_equal(encoder.encode_texts(TEXTS), before)


def test_a_long_text_keeps_the_end_of_its_chat(encoder: Encoder) -> None:
    ids, _ = encoder.tokens(["boats " * 2000, "boats"])
    assert ids.shape[1] == encoder.backbone.max_text_tokens
    short = encoder.tokens(["boats"])[0][0].tolist()
    tail = short[-4:]
    assert ids[0].tolist()[-4:] == tail


def test_it_says_that_it_has_no_export(model: Path, tmp_path: Path) -> None:
    from ngcg_cli.encoder.export import export

    with pytest.raises(UsageError, match="has no export"):
        export(str(model), tmp_path / "out")
    assert not (tmp_path / "out").exists()
