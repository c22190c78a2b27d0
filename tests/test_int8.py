"""Exports in int8: close to float32, and the same on processors with and without VNNI."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from samples import Ngcg, write_raster

from ngcg_cli.datasets.loose import read_images
from ngcg_cli.encoder.loading import open_encoder
from ngcg_cli.encoder.quantise import drawn_images, safe_scales
from ngcg_cli.errors import DataError, ModelError, UsageError

STAGES = ((3, 1, 1, 8, 1), (3, 2, 2, 8, 2), (5, 2, 2, 12, 1), (5, 2, 2, 16, 1), (3, 2, 2, 16, 1))
TEXTS = ["boats", "many planes are parked next to a long building in an airport", "", "a pond"]


def _largest_pair(weights: np.ndarray) -> int:
    """What two int8 weights of an output channel (the first axis) add up to at most."""
    rows = weights.reshape(len(weights), -1).astype(int)
    return max(int(np.sort(sign.clip(0))[:, -2:].sum(1).max()) for sign in (rows, -rows))


def test_no_pair_of_weights_can_saturate() -> None:
    """255 * 128 fits into 16 bits; so x86 without VNNI loses nothing."""
    rng = np.random.default_rng(0)
    kernel = rng.standard_normal((64, 24, 3, 3)).astype(np.float32)
    kernel[3, 5, 1, 1] = 40  # alone: it may use the whole range
    kernel[4, :2] = 30
    kernel[5] = 0
    scales = safe_scales(kernel)
    weights = np.rint(kernel / scales.reshape(-1, 1, 1, 1))
    assert _largest_pair(weights) <= 128
    assert np.abs(weights).max() == weights[3, 5, 1, 1] > 110
    rows = np.abs(weights).reshape(64, -1).max(1)
    assert np.all(np.delete(rows, 5) >= 63), "and no more range is given up than is due"


def test_drawn_images_are_alike_every_time_and_differ() -> None:
    images = drawn_images(64, count=4)
    np.testing.assert_array_equal(images, drawn_images(64, count=4))
    assert images.std(axis=(1, 2)).min() > 1
    assert len({image.tobytes() for image in images}) == 4


def test_images_to_calibrate_on_come_from_a_folder_or_a_tar(tmp_path: Path) -> None:
    folder = tmp_path / "images" / "deep"
    folder.mkdir(parents=True)
    for number in range(10):
        Image.new("RGB", (5, 4), (number, 0, 0)).save(folder / f"{number}.png")
    (folder / "notes.txt").write_text("not an image")
    with tarfile.open(tmp_path / "images.tar", "w") as tar:
        tar.add(tmp_path / "images", "images")
        link = tarfile.TarInfo("images/link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    for path in (tmp_path / "images", tmp_path / "images.tar"):
        assert [image[0, 0, 0] for image in read_images(path, 5)] == [0, 2, 4, 6, 8]
        assert len(read_images(path, 99)) == 10
    with pytest.raises(DataError, match="neither a folder nor a tar"):
        read_images(tmp_path / "nowhere", 5)
    with pytest.raises(DataError, match="tar file"):
        read_images(folder / "notes.txt", 5)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no image"):
        read_images(tmp_path / "empty", 5)
    with tarfile.open(tmp_path / "broken.tar", "w") as tar:
        entry = tarfile.TarInfo("broken.png")
        entry.size = 9
        tar.addfile(entry, io.BytesIO(b"\x89PNG\r\n\x1a\n\0"))
    with pytest.raises(DataError, match=r"broken\.png"):
        read_images(tmp_path / "broken.tar", 5)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, tokenizer_dir: Path) -> Path:
    """Random weights in the bundled model's classes."""
    import torch

    from ngcg_cli.encoder.checkpoint import save_checkpoint
    from ngcg_cli.encoder.convnet import ConvInternVLConfig, ConvTowerConfig
    from ngcg_cli.encoder.encoder import build_encoder

    text = {
        "model_type": "llama",
        "vocab_size": 400,
        "hidden_size": 64,
        "intermediate_size": 192,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
    }
    torch.manual_seed(5)
    kind: Any = ConvInternVLConfig
    tower = ConvTowerConfig(STAGES, 8, 24, detail_stage=3, image_size=64)
    config = kind(vision_config=tower, text_config=text, vision_feature_select_strategy="full")
    encoder = build_encoder(config, tokenizer_dir)
    for parameter in encoder.module.base.vision_tower.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    out: Path = save_checkpoint(encoder, tmp_path_factory.mktemp("conv") / "model")
    return out


@pytest.fixture(scope="module")
def exported(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from ngcg_cli.encoder.export import export

    out = tmp_path_factory.mktemp("int8") / "out"
    report = export(str(model), out, "int8")
    assert report.precision == "int8"
    assert report.text_cosine < 1
    return out


@pytest.mark.slow
def test_an_export_in_int8_is_close_and_holds_float32_too(model: Path, exported: Path) -> None:
    images = drawn_images(80, count=6, seed=5)
    exact, small = open_encoder(exported, "cpu"), open_encoder(exported, "cpu", precision="int8")
    assert (exact.precision, small.precision) == ("float32", "int8")
    assert exact.fingerprint == small.fingerprint == open_encoder(model, "cpu").fingerprint
    for ours, theirs in (
        (exact.encode_texts(TEXTS), small.encode_texts(TEXTS)),
        (exact.encode_images(images), small.encode_images(images)),
    ):
        cosines = (ours * theirs).sum(1)
        assert cosines.min() > 0.9
        assert not np.allclose(ours, theirs, atol=1e-4), "int8 was not what computed"
    alone = np.stack([small.encode_images(image)[0] for image in images])
    np.testing.assert_allclose(alone, small.encode_images(images), atol=1e-5)


@pytest.mark.slow
def test_its_graphs_take_bytes_and_saturate_nowhere(exported: Path) -> None:
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(exported / "image.int8.onnx").graph
    held = {item.name: item for item in graph.initializer}
    made = {name: node for node in graph.node for name in node.output}
    seen = 0
    for node in graph.node:
        if node.op_type == "Conv":
            kernel = numpy_helper.to_array(held[made[node.input[1]].input[0]])
            assert kernel.dtype == np.int8
            depthwise = kernel.shape[1] == 1 and len(kernel) > 1
            assert depthwise or _largest_pair(kernel) <= 128
            seen += 1
        if node.op_type == "MatMulInteger":
            weights = numpy_helper.to_array(held[node.input[1]])
            assert np.abs(weights.astype(int)).max() <= 64
            seen += 1
    assert seen > 20
    fed = {
        made[name].op_type
        for node in graph.node
        for name in node.input
        if name in made and node.op_type == "Clip"
    }
    assert not fed & {"Conv", "DequantizeLinear"}, "ReLU6 is the range of what comes after it"
    (turned,) = (node for node in graph.node if "images" in node.input and node.op_type != "Shape")
    first = next(node for node in graph.node if turned.output[0] in node.input)
    assert first.op_type == "DequantizeLinear", "the picture's bytes are the first input"
    size = sum((exported / name).stat().st_size for name in ("image.int8.onnx", "text.int8.onnx"))
    assert size < (exported / "model.safetensors").stat().st_size


@pytest.mark.slow
def test_precision_is_part_of_an_index(exported: Path, ngcg: Ngcg, tmp_path: Path) -> None:
    write_raster(tmp_path / "a.tif", 1)
    write_raster(tmp_path / "b.tif", 2, west=590_000.0)
    cut = ["--tile", "64px", "--overlap", "0", "--index", "ix"]
    done = ngcg("index", "a.tif", *cut, "--model", exported, "--precision", "int8")
    assert done.status == 0, done.err
    assert json.loads(ngcg("info", "--index", "ix", "--json").out)["precision"] == "int8"
    mixed = ngcg("index", "b.tif", *cut, "--precision", "float32")
    assert mixed.status == 1
    assert "int8" in mixed.err
    assert "float32" in mixed.err
    added = ngcg("index", "b.tif", *cut)
    assert added.status == 0, added.err
    own = ngcg("query", "a pond", "--index", "ix", "-v")
    assert "computes in int8" in own.err
    other = ngcg("query", "a pond", "--index", "ix", "--precision", "float32")
    assert other.status == 0, other.err
    first, second = (outcome.rows[0]["score"] for outcome in (own, other))
    assert first != second
    assert first == pytest.approx(second, abs=0.1)


@pytest.mark.slow
def test_what_int8_needs_is_told(exported: Path, model: Path, tmp_path: Path, ngcg: Ngcg) -> None:
    from ngcg_cli.encoder.export import export

    with pytest.raises(UsageError, match="only an export runs"):
        open_encoder(model, "cpu", precision="int8")
    weights = exported / "int8.safetensors"
    whole = weights.read_bytes()
    try:
        weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(ModelError, match="export is damaged"):
            open_encoder(exported, "cpu", precision="int8").encode_texts(["a"])
        assert open_encoder(exported, "cpu").encode_texts(["a"]).shape == (1, 64)
    finally:
        weights.write_bytes(whole)
    few = [np.zeros((8, 8, 3), np.uint8)] * 3
    with pytest.raises(UsageError, match="3 images"):
        export(str(model), tmp_path / "few", "int8", few)
    told = ngcg("export", model, "--out", "x", "--calibrate", tmp_path)
    assert told.status == 2
    assert "--precision int8" in told.err


@pytest.mark.slow
def test_transformers_that_see_are_quantised_too(fake_backbone: Path, tmp_path: Path) -> None:
    """SmolVLM's classes: one convolution cuts the patches, the rest are matrix products."""
    from ngcg_cli.encoder.export import export

    report = export(str(fake_backbone), tmp_path / "out", "int8", list(drawn_images(40, count=12)))
    assert 0.95 < min(report.text_cosine, report.image_cosine) < 0.999999
    small = open_encoder(tmp_path / "out", "cpu", precision="int8")
    assert small.engine.kind == "onnx"
    alone = small.encode_texts(TEXTS[1:2])
    np.testing.assert_allclose(small.encode_texts(TEXTS)[1:2], alone, atol=1e-5)
    held = {path.name: path.stat().st_size for path in (tmp_path / "out").iterdir()}
    assert held["int8.safetensors"] < held["model.safetensors"] / 3
