"""Dual encoders (SigLIP): the vectors are those of transformers' own processor and model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hub_cache import lay_out
from samples import Ngcg, write_raster
from small_models import letters, write_siglip

from ngcg_cli.encoder.backbones import backbone_from_settings
from ngcg_cli.encoder.checkpoint import load_encoder, save_checkpoint
from ngcg_cli.encoder.encoder import Encoder
from ngcg_cli.encoder.lora import add_lora
from ngcg_cli.encoder.tokenizer_file import tokenizer_bytes
from ngcg_cli.errors import ModelError

pytestmark = pytest.mark.slow  # small models of torch that train or talk: seconds in all

TEXTS = [
    "Many planes are parked, next to a LONG building!",
    "boats",
    "",
    "a red-roofed building beside a \ufb01eld",
    "some boats are in a harbour near a green meadow and two ponds " * 6,
]


@pytest.fixture(scope="module", params=[1, 2], ids=["siglip", "siglip2"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dual")
    write_siglip(folder, request.param)
    return folder


@pytest.fixture(scope="module")
def encoder(model: Path) -> Encoder:
    return load_encoder(model, "cpu")


def _images() -> list[np.ndarray]:
    sizes = [(32, 32), (50, 31), (20, 90)]
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]


def _theirs(model: Path, texts: list[str], images: list[np.ndarray]) -> list[np.ndarray]:
    from transformers import PreTrainedTokenizerFast, SiglipModel
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    own = SiglipModel.from_pretrained(model).eval()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(model)
    if tokenizer.pad_token == "<pad>":
        texts = [text.lower() for text in texts]  # as SigLIP 2 was trained
    words = tokenizer(
        texts, padding="max_length", max_length=64, truncation=True, return_tensors="pt"
    )
    pixels = SiglipImageProcessorPil.from_pretrained(model)(images, return_tensors="pt")
    with torch.inference_mode():
        both = (
            own.get_text_features(input_ids=words["input_ids"]),
            own.get_image_features(pixel_values=pixels["pixel_values"]),
        )
    return [torch.nn.functional.normalize(side.pooler_output, dim=-1).numpy() for side in both]


def test_vectors_are_those_of_transformers(encoder: Encoder, model: Path) -> None:
    texts, images = _theirs(model, TEXTS, _images())
    np.testing.assert_allclose(encoder.encode_texts(TEXTS), texts, atol=1e-5)
    np.testing.assert_allclose(encoder.encode_images(_images()), images, atol=1e-5)
    # Of random weights, too, the vectors differ from one another.
    assert (texts @ texts.T)[0, 1] < 0.99
    assert (images @ images.T)[0, 1] < 0.999


def test_batch_mates_do_not_change_a_vector(encoder: Encoder) -> None:
    together = encoder.encode_texts(TEXTS)
    alone = np.concatenate([encoder.encode_texts(text) for text in TEXTS])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    images = _images()
    alone = np.concatenate([encoder.encode_images(image) for image in images])
    np.testing.assert_allclose(encoder.encode_images(images), alone, atol=1e-5)


def test_case_does_not_matter(encoder: Encoder) -> None:
    upper, lower = encoder.encode_texts(["A Red ROOF", "a red roof"])
    np.testing.assert_array_equal(upper, lower)


def test_what_it_is_comes_from_its_own_files(encoder: Encoder, model: Path) -> None:
    declared = encoder.backbone
    assert (declared.image_size, declared.max_text_tokens, encoder.dim) == (32, 64, 48)
    written = json.loads((model / "preprocessor_config.json").read_text())
    assert declared.resample == {3: "bicubic", 2: "bilinear"}[written["resample"]]
    # An export knows of a model only what these settings say.
    again = backbone_from_settings("it", declared.settings(), model)
    assert again.settings() == declared.settings()


def test_lora_leaves_the_pooling_head_alone(model: Path, tmp_path: Path) -> None:
    encoder = load_encoder(model, "cpu", trainable=True)
    add_lora(encoder.module)
    trained = [name for name, weight in encoder.module.named_parameters() if weight.requires_grad]
    assert {name.split(".")[1] for name in trained} == {"text_model", "vision_model"}
    assert not [name for name in trained if ".head." in name]
    with torch.no_grad():
        for name, weight in encoder.module.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.05)
    save_checkpoint(encoder, tmp_path / "out")
    again = load_encoder(tmp_path / "out", "cpu")
    encoder.module.eval()
    before = encoder.encode_texts(TEXTS)
    np.testing.assert_allclose(again.encode_texts(TEXTS), before, atol=1e-5)
    plain = load_encoder(model, "cpu").encode_texts(TEXTS)
    assert np.abs(before - plain).max() > 1e-3


def test_every_adapted_weight_learns(model: Path) -> None:
    encoder = load_encoder(model, "cpu", trainable=True)
    add_lora(encoder.module)
    texts = encoder.module.embed_texts(*encoder.tokens(TEXTS[:2]))
    images = encoder.module.embed_images(encoder.pixels(_images()[:2]))
    (texts * images).sum().backward()
    idle = [
        name
        for name, weight in encoder.module.named_parameters()
        if weight.requires_grad and weight.grad is None
    ]
    assert idle == []


def test_pooling_is_its_own(model: Path) -> None:
    with pytest.raises(ModelError, match="pools each side itself"):
        load_encoder(model, "cpu", pooling="mean")


@pytest.mark.parametrize(
    ("vision", "told"),
    [
        ({"vision_use_head": False}, "no pooled output"),
        ({"hidden_size": 32}, "48 dimensions, its images 32"),
    ],
)
def test_towers_that_do_not_meet(vision: dict[str, Any], told: str, tmp_path: Path) -> None:
    write_siglip(tmp_path, 1, **vision)
    with pytest.raises(ModelError, match=told):
        load_encoder(tmp_path, "cpu")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"model_type": "siglip2"}, "model type 'siglip2' is not supported"),
        ({"text_config": {"model_type": "llama"}}, "text_config.model_type 'llama'"),
        ({"model_type": "internvl"}, "vision_config.model_type 'siglip_vision_model'"),
    ],
)
def test_another_class_is_refused(change: dict[str, Any], told: str, tmp_path: Path) -> None:
    write_siglip(tmp_path, 1)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(ModelError, match=told):
        load_encoder(tmp_path, "cpu")


def test_a_table_of_letters_cannot_blow_a_text_up(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"

    def written(*values: str) -> Path:
        steps = [
            {"type": "Precompiled", "precompiled_charsmap": letters("\ufb01", value)}
            for value in values
        ]
        normalizer = {"type": "Sequence", "normalizers": steps}
        path.write_text(json.dumps({"model": {"type": "BPE"}, "normalizer": normalizer}))
        return path

    tokenizer_bytes(written("x" * 33), None)  # as long as the published tables go
    with pytest.raises(ModelError, match="65 bytes in place of one"):
        tokenizer_bytes(written("x" * 65), None)
    with pytest.raises(ModelError, match="times longer"):
        tokenizer_bytes(written("x" * 33, "x" * 33), None)


def test_an_export_gives_the_same_vectors(encoder: Encoder, model: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    from ngcg_cli.encoder.export import export
    from ngcg_cli.encoder.loading import open_encoder

    export(str(model), tmp_path / "out")
    exported = open_encoder(tmp_path / "out", "cpu", engine="onnx")
    texts, images = encoder.encode_texts(TEXTS), encoder.encode_images(_images())
    np.testing.assert_allclose(exported.encode_texts(TEXTS), texts, atol=1e-4)
    np.testing.assert_allclose(exported.encode_images(_images()), images, atol=1e-4)


# --- the hub's cache --------------------------------------------------------------------------


def _cached(cache: Path, hub_id: str, version: int) -> Path:
    write_siglip(cache / "plain", version)
    return lay_out(cache, hub_id, cache / "plain")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    return tmp_path


def test_from_the_cache_to_hits(cache: Path, tmp_path: Path, ngcg: Ngcg) -> None:
    _cached(cache, "lcybuaa/Git-RSCLIP-base", 1)
    raster = write_raster(tmp_path / "region.tif", 3)
    index, tiles = tmp_path / "index", ("--tile", "32px", "--overlap", "0")
    made = ngcg("index", raster, "--index", index, "--model", "git-rsclip-base", *tiles)
    assert made.status == 0, made.err
    asked = ngcg("query", "boats", "--index", index, "-k", "3", "--format", "jsonl")
    assert [row["rank"] for row in asked.rows] == [1, 2, 3], asked.err
    # The best tile is the one whose vector is nearest to the sentence's, as the model itself says.
    encoder = load_encoder("git-rsclip-base", "cpu")
    import rasterio

    with rasterio.open(raster) as dataset:
        pixels = np.moveaxis(dataset.read(), 0, -1)
    cut = [pixels[y : y + 32, x : x + 32] for y in range(0, 128, 32) for x in range(0, 128, 32)]
    scores = encoder.encode_images(cut) @ encoder.encode_texts("boats")[0]
    assert asked.rows[0]["score"] == pytest.approx(float(scores.max()), abs=1e-4)


def test_a_half_downloaded_model(cache: Path) -> None:
    snapshot = _cached(cache, "some-org/some-model", 2)
    shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (snapshot / "model.safetensors").rename(snapshot / shards["a"])
    (snapshot / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    with pytest.raises(ModelError, match=r"1 of 2 weight files .*hf download some-org/some-model"):
        load_encoder("some-org/some-model", "cpu")
    (snapshot / shards["a"]).unlink()
    (snapshot / "model.safetensors.index.json").unlink()
    with pytest.raises(ModelError, match=r"no .*safetensors weights.*hf download"):
        load_encoder("some-org/some-model", "cpu")


def test_pickled_weights_are_not_opened(tmp_path: Path) -> None:
    write_siglip(tmp_path, 1)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"pickled ones \(pytorch_model.bin\) are never opened"):
        load_encoder(tmp_path, "cpu")


def test_a_gated_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub
    from huggingface_hub.errors import GatedRepoError

    def refuse(*_: object, **__: object) -> str:
        raise GatedRepoError.__new__(GatedRepoError)  # its own making takes a real answer

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(ModelError, match=r"accepted its terms\. .*some-org/closed, then: hf auth"):
        load_encoder("some-org/closed", "cpu")
