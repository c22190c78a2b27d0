"""Qwen3-VL as an encoder: the vectors are those of transformers' own processor and model."""

from __future__ import annotations

import copy
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from hub_server import Repo, serving
from PIL import Image
from samples import Ngcg, write_raster
from small_models import write_qwen

from ngcg_cli.encoder.backbones import BACKBONES
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


def _hidden(model: Path) -> torch.Tensor:
    """What transformers' own model says of the texts, not yet of length 1."""
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
    return hidden[:, -1]


def test_texts_are_those_of_transformers(encoder: Encoder, model: Path) -> None:
    theirs = torch.nn.functional.normalize(_hidden(model), dim=-1).numpy()
    np.testing.assert_allclose(encoder.encode_texts(TEXTS), theirs, atol=1e-4)
    assert np.abs(theirs[0] - theirs[1]).max() > 1e-3


def test_fewer_dimensions_are_the_first_of_transformers(encoder: Encoder, model: Path) -> None:
    with pytest.raises(UsageError, match="was not trained for shorter vectors, it has 64"):
        encoder.shortened(16)  # a folder does not say what its weights were trained for
    declared = copy.copy(encoder)
    declared.backbone = dataclasses.replace(encoder.backbone, least_dim=8)
    with pytest.raises(UsageError, match="has 8 to 64 dimensions"):
        declared.shortened(4)
    shorter = declared.shortened(16)
    theirs = torch.nn.functional.normalize(_hidden(model)[:, :16], dim=-1).numpy()
    np.testing.assert_allclose(shorter.encode_texts(TEXTS), theirs, atol=1e-4)
    images = _images(encoder)
    whole = encoder.encode_images(images)[:, :16]
    whole /= np.linalg.norm(whole, axis=1, keepdims=True)
    np.testing.assert_allclose(shorter.encode_images(images), whole, atol=1e-6)
    np.testing.assert_allclose(shorter.encode_batch(images), whole, atol=1e-6)
    assert shorter.fingerprint != encoder.fingerprint == declared.shortened(64).fingerprint


@pytest.mark.slow
def test_an_index_remembers_its_dimensions(
    ngcg: Ngcg, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "qwen3-vl-embedding-2b"
    small = load_encoder(model, "cpu").backbone
    declared = dataclasses.replace(
        BACKBONES[name], image_size=small.image_size, image_tokens=small.image_tokens, least_dim=8
    )
    monkeypatch.setitem(BACKBONES, name, declared)
    with serving(monkeypatch, tmp_path / "cache") as hub:
        hub.repos[str(declared.hub_id)] = repo = Repo()
        repo.commit("main", {file.name: file.read_bytes() for file in model.iterdir()})
        raster = write_raster(tmp_path / "region.tif", 3)
        cut = ("--tile", "64px", "--overlap", "0", "--model", name)
        too_few = ngcg("index", raster, *cut, "--dim", "4")
        assert (too_few.status, Path("ngcg-index").exists()) == (2, False)
        made = ngcg("index", raster, *cut, "--dim", "16", "--json")
        assert made.rows[0]["dim"] == 16, made.err
        hits = ngcg("query", "boats", "-k", "2", "--model", name).rows
        assert [hit["rank"] for hit in hits] == [1, 2]
        again = ngcg("index", write_raster(tmp_path / "second.tif", 4), *cut, "--json")
        assert again.rows[0]["dim"] == 16, again.err
        other = ngcg("index", raster, "--dim", "32")
        assert (other.status, other.err.count("\n")) == (1, 1)
        assert "holds vectors of 16 dimensions, not of 32" in other.err
        encoder = load_encoder(name, "cpu").shortened(16)
        with rasterio.open(raster) as dataset:
            pixels = np.moveaxis(dataset.read(), 0, -1)
        tile = pixels[:64, :64]
        score = float(encoder.encode_images(tile)[0] @ encoder.encode_texts("boats")[0])
        scores = [hit["score"] for hit in ngcg("query", "boats", "--keep-overlaps").rows]
        assert min(abs(score - told) for told in scores) < 1e-4

        rows = [{"image": "a.png", "captions": ["a"]}, {"image": "b.png", "captions": ["b"]}]
        for row, square in zip(rows, (pixels[:64, :64], pixels[64:, 64:]), strict=True):
            Image.fromarray(square).save(tmp_path / str(row["image"]))
        (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        measured = ngcg("eval", "a.jsonl", "--model", name, "--dim", "16", "--json")
        assert (measured.status, measured.rows[0]["dim"]) == (0, 16), measured.err
        assert ngcg("eval", "a.jsonl", "--dim", "16").status == 2, "tiny was not trained for it"


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
