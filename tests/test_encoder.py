"""The encoder's two halves: tokens and pixels in, unit vectors out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ngcg_cli.encoder.backbones import BACKBONES, derive_backbone
from ngcg_cli.encoder.encoder import Encoder, build_encoder
from ngcg_cli.encoder.pixels import normalise, resize_images
from ngcg_cli.errors import ModelError

TEXTS = [
    "many planes are parked next to a long building in an airport",
    "boats",
    "a red-roofed building beside a roundabout",
    "",
    "two ponds near a green meadow and some boats in a harbour",
]
#: Other batch sizes and lengths pick other kernels; float32 rounding is all that may differ.
TOLERANCE = 1e-5


def _build(config: Any, tokenizer_dir: Path, **more: Any) -> Encoder:
    torch.manual_seed(3)
    encoder = build_encoder(config, tokenizer_dir, **more)
    # Transformers starts position embeddings (InternVL) and biases at zero: give them a say.
    with torch.no_grad():
        for parameter in encoder.module.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return encoder


@pytest.fixture(params=["smolvlm", "internvl"])
def config(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(f"{request.param}_config")


@pytest.fixture
def encoder(config: Any, tokenizer_dir: Path) -> Encoder:
    return _build(config, tokenizer_dir)


def _images(encoder: Encoder, count: int = 3) -> np.ndarray:
    side = encoder.image_size
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def _whole_model(encoder: Encoder, pixels: torch.Tensor) -> torch.Tensor:
    """What transformers' own forward makes of the same prompt and pixels, at [EOS]."""
    base, backbone = encoder.module.base, encoder.backbone
    prompt = backbone.image_prefix + backbone.image_token * backbone.image_tokens
    ids, mask = encoder.tokenizer.batch([prompt + backbone.image_suffix], 1000)
    pixels = pixels[None] if backbone.model_type != "internvl" else pixels
    hidden = base(input_ids=ids, attention_mask=mask, pixel_values=pixels[:1]).last_hidden_state
    return torch.nn.functional.normalize(hidden[:, -1], dim=-1)


def test_images_equal_transformers_own_forward(encoder: Encoder) -> None:
    pixels = encoder.pixels(_images(encoder, 1))
    with torch.inference_mode():
        ours = encoder.module.embed_images(pixels)
        theirs = _whole_model(encoder, pixels)
    torch.testing.assert_close(ours, theirs, atol=TOLERANCE, rtol=0)


def test_texts_equal_transformers_own_forward(encoder: Encoder) -> None:
    ids, mask = encoder.tokens(TEXTS[:1])
    with torch.inference_mode():
        hidden = encoder.module.base(input_ids=ids, attention_mask=mask).last_hidden_state
        theirs = torch.nn.functional.normalize(hidden[:, -1], dim=-1)
        torch.testing.assert_close(
            encoder.module.embed_texts(ids, mask), theirs, atol=TOLERANCE, rtol=0
        )


def test_vectors_are_unit_float32_in_input_order(encoder: Encoder) -> None:
    texts = encoder.encode_texts(TEXTS, batch_size=2)
    images = encoder.encode_images(_images(encoder), batch_size=2)
    for vectors, count in ((texts, len(TEXTS)), (images, 3)):
        assert vectors.shape == (count, encoder.dim)
        assert vectors.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    for row, text in enumerate(TEXTS):
        np.testing.assert_allclose(encoder.encode_texts([text])[0], texts[row], atol=TOLERANCE)
    assert np.abs(texts[0] - texts[2]).max() > 1e-2, "different texts, different vectors"
    assert encoder.encode_texts([]).shape == (0, encoder.dim)
    assert encoder.encode_images([]).shape == (0, encoder.dim)


@pytest.mark.parametrize("pooling", ["eos", "mean", "query"])
def test_padding_side_and_batch_mates_do_not_change_a_vector(
    config: Any, tokenizer_dir: Path, pooling: Any
) -> None:
    encoder = _build(config, tokenizer_dir, pooling=pooling)
    ids, mask = encoder.tokens(TEXTS)
    lengths = mask.sum(1)
    assert lengths.min() < lengths.max()
    left_ids, left_mask = torch.full_like(ids, 3), torch.zeros_like(mask)
    for row, length in enumerate(lengths.tolist()):
        left_ids[row, -length:] = ids[row, :length]
        left_mask[row, -length:] = 1
    with torch.inference_mode():
        right = encoder.module.embed_texts(ids, mask)
        left = encoder.module.embed_texts(left_ids, left_mask)
        other_pads = encoder.module.embed_texts(torch.where(mask.bool(), ids, 9), mask)
        pixels = encoder.pixels(_images(encoder))
        together = encoder.module.embed_images(pixels)
        for row, length in enumerate(lengths.tolist()):
            alone = encoder.module.embed_texts(
                ids[row : row + 1, :length], mask[row : row + 1, :length]
            )
            torch.testing.assert_close(alone[0], right[row], atol=TOLERANCE, rtol=0)
        for row in range(len(pixels)):
            alone = encoder.module.embed_images(pixels[row : row + 1])
            torch.testing.assert_close(alone[0], together[row], atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(left, right, atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(other_pads, right, atol=TOLERANCE, rtol=0)


def test_poolings_differ_and_mean_is_the_mean(smolvlm_config: Any, tokenizer_dir: Path) -> None:
    encoders = {p: _build(smolvlm_config, tokenizer_dir, pooling=p) for p in ("eos", "mean")}
    ids, mask = encoders["mean"].tokens(TEXTS[:1])
    with torch.inference_mode():
        hidden = encoders["mean"].module.base(input_ids=ids).last_hidden_state
        mean = torch.nn.functional.normalize(hidden.mean(1), dim=-1)
        ours = encoders["mean"].module.embed_texts(ids, mask)
    torch.testing.assert_close(ours, mean, atol=TOLERANCE, rtol=0)
    other = encoders["eos"].encode_texts(TEXTS[:1])
    assert np.abs(other - ours.numpy()).max() > 1e-3
    with pytest.raises(ModelError, match="unknown pooling 'max'"):
        _build(smolvlm_config, tokenizer_dir, pooling="max")


@pytest.mark.parametrize("model_type", ["smolvlm", "idefics3"])
def test_constant_mid_grey_and_exact_zero_pixels_come_out_right(
    model_type: str, smolvlm_config: Any, tokenizer_dir: Path
) -> None:
    config = smolvlm_config
    if model_type == "idefics3":
        from transformers import Idefics3Config

        values = {k: getattr(config, k).to_dict() for k in ("vision_config", "text_config")}
        values["vision_config"].pop("model_type")
        config = Idefics3Config(**values, scale_factor=2, image_token_id=1)
    encoder = _build(config, tokenizer_dir)
    side = encoder.image_size
    zeros = torch.zeros(1, 3, side, side)
    nearly = torch.full((1, 3, side, side), 1e-7)
    busy = encoder.pixels(_images(encoder, 1))
    with torch.inference_mode():
        zero_vector = encoder.module.embed_images(zeros)
        # What "as if it were any other image" means: the limit of images that are not dropped.
        torch.testing.assert_close(
            zero_vector, _whole_model(encoder, nearly), atol=TOLERANCE, rtol=0
        )
        mixed = encoder.module.embed_images(torch.cat([busy, zeros, busy]))
        torch.testing.assert_close(mixed[1:2], zero_vector, atol=TOLERANCE, rtol=0)
        torch.testing.assert_close(
            mixed[0:1], encoder.module.embed_images(busy), atol=TOLERANCE, rtol=0
        )
    # 127 and 128 lie on either side of zero and next to each other.
    tiles = [np.full((50, 40, 3), grey, np.uint8) for grey in (127, 128)]
    vectors = encoder.encode_images(tiles)
    assert np.abs(vectors - zero_vector.numpy()).max() < 0.02


def test_eos_ends_both_sides_and_survives_truncation(encoder: Encoder) -> None:
    eos = encoder.tokenizer.eos_id
    long = " ".join(TEXTS * 60)
    ids, mask = encoder.tokens([long, "boats", ""])
    assert ids.shape == (3, 300)
    assert ids.dtype == mask.dtype == torch.long
    for row, count in zip(ids, mask.sum(1).tolist(), strict=True):
        assert row[count - 1] == eos
        assert eos not in row[: count - 1]
    assert mask.sum(1).tolist()[2] == 1, "an empty text is [EOS] alone"
    prefix, suffix = encoder.tokenizer.image_prompt(encoder.backbone)
    assert suffix[-1] == eos
    assert len(prefix) == (1 if encoder.backbone.model_type == "internvl" else 2)


def test_text_that_is_no_utf8_is_encoded(encoder: Encoder) -> None:
    assert np.isfinite(encoder.encode_texts(["caf\udce9 \x00"])).all()


def test_gradients_reach_both_towers_and_are_the_same_with_checkpointing(encoder: Encoder) -> None:
    pixels = encoder.pixels(_images(encoder))
    ids, mask = encoder.tokens(TEXTS[:3])
    grads = []
    for checkpointing in (False, True):
        encoder.module.train()
        encoder.module.gradient_checkpointing(checkpointing)
        encoder.module.zero_grad()
        scores = encoder.module.embed_texts(ids, mask) @ encoder.module.embed_images(pixels).T
        scores.diagonal().sum().backward()
        grads.append({n: p.grad for n, p in encoder.module.named_parameters()})
    towers = {name.split(".")[1] for name, grad in grads[0].items() if grad is not None}
    assert len(towers) == 3, towers
    for name, grad in grads[0].items():
        if grad is not None:
            torch.testing.assert_close(grads[1][name], grad, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("pooling", ["eos", "mean", "query"])
def test_bfloat16_autocast_trains_float32_vectors(
    config: Any, tokenizer_dir: Path, pooling: Any
) -> None:
    encoder = _build(config, tokenizer_dir, pooling=pooling)
    pixels, (ids, mask) = encoder.pixels(_images(encoder)), encoder.tokens(TEXTS[:3])
    exact = encoder.module.embed_images(pixels)
    with torch.autocast("cpu", torch.bfloat16):
        images, texts = encoder.module.embed_images(pixels), encoder.module.embed_texts(ids, mask)
    assert images.dtype == texts.dtype == torch.float32
    torch.testing.assert_close(images, exact, atol=0.05, rtol=0)
    (images @ texts.T).diagonal().sum().backward()
    grads = [p.grad for p in encoder.module.parameters() if p.grad is not None]
    assert grads
    assert all(torch.isfinite(grad).all() for grad in grads)


def test_vision_tokens_are_the_first_half_of_embed_images(encoder: Encoder) -> None:
    pixels = encoder.pixels(_images(encoder))
    with torch.inference_mode():
        tokens = encoder.module.vision_tokens(pixels)
        assert tokens.shape == (3, 16, 48)
        halves = encoder.module.embed_vision_tokens(tokens)
        assert torch.equal(halves, encoder.module.embed_images(pixels))


# --- pixels -----------------------------------------------------------------------------------


def _sizes() -> list[tuple[int, int]]:
    return [(150, 150), (128, 128), (700, 700), (97, 301), (640, 480), (5, 40), (512, 512)]


# Those of Qwen3-VL and EmbeddingGemma keep shapes; `test_encoder_whole.py` compares the patches of
# the one, `test_encoder_gemma.py` the vectors of the other.
@pytest.mark.parametrize(
    "name", [name for name in BACKBONES if not name.startswith(("qwen", "embeddinggemma"))]
)
def test_pixels_equal_the_backbones_own_image_processor(name: str) -> None:
    """Exact up to float32 rounding: 2e-6 where pixels span about -2.7 to 2.7."""
    from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil
    from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    backbone = BACKBONES[name]
    side = backbone.image_size
    rng = np.random.default_rng(5)
    images = [rng.integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w in _sizes()]
    common = {"image_mean": list(backbone.mean), "image_std": list(backbone.std)}
    if backbone.model_type.startswith("internvl"):
        processor = GotOcr2ImageProcessorPil(
            size={"height": side, "width": side}, resample=3, crop_to_patches=False, **common
        )
    elif backbone.model_type == "siglip":
        number = {"bilinear": 2, "bicubic": 3}[backbone.resample]
        processor = SiglipImageProcessorPil(
            size={"height": side, "width": side}, resample=number, **common
        )
    else:
        processor = Idefics3ImageProcessorPil(
            size={"longest_edge": side},
            max_image_size={"longest_edge": side},
            do_image_splitting=False,
            resample=1,
            **common,
        )
    for image in images:
        theirs = torch.as_tensor(processor([image], return_tensors="pt")["pixel_values"])
        ours = normalise(resize_images([image], backbone), backbone)
        torch.testing.assert_close(ours, theirs.reshape(ours.shape).float(), atol=2e-6, rtol=0)


def test_an_image_of_the_right_size_is_not_resampled(encoder: Encoder) -> None:
    images = _images(encoder)
    assert resize_images(images, encoder.backbone) is images
    assert np.array_equal(resize_images(list(images), encoder.backbone), images)


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3))]
)
def test_what_is_not_uint8_rgb_is_refused(encoder: Encoder, image: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expected uint8"):
        encoder.pixels([image])


# --- declarations -----------------------------------------------------------------------------


def test_a_declaration_follows_from_the_config(smolvlm_config: Any, internvl_config: Any) -> None:
    smol = derive_backbone(smolvlm_config, name="mine", preprocessor={"resample": 3})
    assert (smol.image_size, smol.image_tokens, smol.resample) == (32, 4, "bicubic")
    intern = derive_backbone(internvl_config, name="mine")
    assert (intern.image_size, intern.image_tokens, intern.resample) == (28, 4, "bicubic")
    again = smol.with_settings(smol.settings(), "ngcg.json")
    assert again == smol


def test_an_unsupported_model_type_is_named() -> None:
    from transformers import LlamaConfig

    with pytest.raises(ModelError, match=r"mine: model type 'llama' is not supported"):
        derive_backbone(LlamaConfig(), name="mine")


def test_a_tokenizer_that_does_not_fit_is_refused(smolvlm_config: Any, tokenizer_dir: Path) -> None:
    from transformers import SmolVLMConfig

    values = smolvlm_config.to_dict()
    values["text_config"]["vocab_size"] = 100
    with pytest.raises(
        ModelError, match=r"the tokenizer has [0-9]+ tokens, the model 100 embeddings"
    ):
        build_encoder(SmolVLMConfig(**values), tokenizer_dir)
    with pytest.raises(ModelError, match=r"tokenizer.json: is not there"):
        build_encoder(smolvlm_config, tokenizer_dir / "nowhere")
