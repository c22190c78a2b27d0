"""Exports: any encoder as graphs that run without torch, and that agree with torch."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from samples import Ngcg
from small_models import write_smolvlm

from ngcg_cli.encoder.checkpoint import load_encoder, save_checkpoint
from ngcg_cli.encoder.encoder import Encoder, build_encoder
from ngcg_cli.encoder.export import export
from ngcg_cli.encoder.loading import open_encoder
from ngcg_cli.encoder.lora import add_lora
from ngcg_cli.encoder.weights import digest_weights
from ngcg_cli.errors import ModelError, UsageError

pytestmark = pytest.mark.slow  # tracing a model takes seconds, however small it is

TEXTS = ["boats", "many planes are parked next to a long building in an airport", "", "a pond"]


def _images() -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    return [rng.integers(0, 256, shape, np.uint8) for shape in ((32, 32, 3), (70, 41, 3)) * 3]


def _vectors(encoder: Encoder) -> np.ndarray:
    return np.concatenate([encoder.encode_texts(TEXTS), encoder.encode_images(_images())])


def _moved(encoder: Encoder) -> Encoder:
    """With weights that are not those it was made with, so that a forgotten one shows."""
    torch.manual_seed(3)
    with torch.no_grad():
        for weight in encoder.module.parameters():
            if weight.requires_grad:
                weight.add_(0.05 * torch.randn_like(weight))
    return encoder


@pytest.fixture(scope="module")
def adapted(tmp_path_factory: pytest.TempPathFactory, fake_backbone: Path) -> Path:
    """A LoRA checkpoint with a learned query."""
    encoder = load_encoder(fake_backbone, "cpu", pooling="query", trainable=True)
    add_lora(encoder.module)
    return save_checkpoint(_moved(encoder), tmp_path_factory.mktemp("lora") / "run")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, adapted: Path) -> Path:
    out = tmp_path_factory.mktemp("export") / "out"
    export(str(adapted), out)
    return out


def test_an_adapter_is_merged_and_its_learned_query_comes_along(
    adapted: Path, exported: Path
) -> None:
    wanted, got = load_encoder(adapted, "cpu"), open_encoder(exported, "cpu")
    assert (wanted.engine.kind, got.engine.kind) == ("torch", "onnx")
    np.testing.assert_allclose(_vectors(got), _vectors(wanted), atol=1e-4)
    assert got.fingerprint == wanted.fingerprint, "an index of one is an index of the other"


def test_batches_and_padding_do_not_matter(exported: Path) -> None:
    encoder = open_encoder(exported, "cpu")
    whole = _vectors(encoder)
    alone = [encoder.encode_texts([text])[0] for text in TEXTS]
    alone += [encoder.encode_images([image])[0] for image in _images()]
    np.testing.assert_allclose(np.stack(alone), whole, atol=1e-5)


def test_an_export_is_a_checkpoint_too(adapted: Path, exported: Path) -> None:
    """So a GPU, or further training, can have it."""
    wanted = load_encoder(adapted, "cpu")
    np.testing.assert_allclose(_vectors(load_encoder(exported, "cpu")), _vectors(wanted), atol=1e-5)
    rounded = open_encoder(exported, "cpu", precision="bfloat16")
    assert rounded.engine.kind == "torch"
    for encoder in (load_encoder(exported, "cpu"), rounded):
        assert encoder.fingerprint == wanted.fingerprint, "in torch it is the same model still"


def test_training_goes_on_from_an_export(exported: Path, tmp_path: Path) -> None:
    encoder = load_encoder(exported, "cpu", trainable=True)
    add_lora(encoder.module)
    further = save_checkpoint(_moved(encoder), tmp_path / "further")
    held = digest_weights([exported / "model.safetensors", exported / "pooling.safetensors"])
    base = json.loads((further / "ngcg.json").read_text())["base"]
    assert base["weights"] == held, "the adapter is bound to the weights it was trained on"
    np.testing.assert_allclose(_vectors(load_encoder(further, "cpu")), _vectors(encoder), atol=1e-5)


def test_what_cannot_be_written_is_one_line_and_leaves_nothing(
    adapted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_args: Any, **_more: Any) -> None:
        raise SafetensorError("No space left on device (os error 28)")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(ModelError, match=r"out: cannot be written .*No space left"):
        export(str(adapted), tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_a_calibration_goes_with_the_export(adapted: Path, tmp_path: Path) -> None:
    calibrated = shutil.copytree(adapted, tmp_path / "calibrated")
    (calibrated / "confidence.safetensors").write_bytes(b"figures")
    export(str(calibrated), tmp_path / "out")
    assert (tmp_path / "out" / "confidence.safetensors").read_bytes() == b"figures"


def test_weights_are_stored_once_and_nothing_tells_where_it_was_made(exported: Path) -> None:
    graphs = [exported / "text.onnx", exported / "image.onnx"]
    weights = (exported / "model.safetensors").stat().st_size
    assert sum(path.stat().st_size for path in graphs) < weights / 2
    for path in graphs:
        assert b".py" not in path.read_bytes()
        assert str(exported.parent).encode() not in path.read_bytes()


def test_weights_that_are_not_the_exports_are_not_used(
    exported: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    changed = shutil.copytree(exported, tmp_path / "changed")
    data = bytearray((changed / "model.safetensors").read_bytes())
    data[-2] ^= 0x40
    (changed / "model.safetensors").write_bytes(data)
    assert open_encoder(changed, "cpu").engine.kind == "torch"
    assert "made of other weights" in caplog.text
    with pytest.raises(ModelError, match="no export"):
        open_encoder(changed, "cpu", engine="onnx")


def test_a_damaged_graph_is_one_line(exported: Path, tmp_path: Path) -> None:
    damaged = shutil.copytree(exported, tmp_path / "damaged")
    (damaged / "text.onnx").write_bytes((damaged / "text.onnx").read_bytes()[:-9])
    with pytest.raises(ModelError, match="export is damaged"):
        open_encoder(damaged, "cpu").encode_texts(["boats"])
    stamp = json.loads((damaged / "ngcg.json").read_text())
    del stamp["export"]["rows"]
    (damaged / "ngcg.json").write_text(json.dumps(stamp))
    with pytest.raises(ModelError, match="says of its export is damaged"):
        open_encoder(damaged, "cpu")


@pytest.mark.parametrize(
    ("name", "told"),
    [("text.onnx", "text.onnx: is missing"), ("model.safetensors", "no .*safetensors weights")],
)
def test_a_missing_file_is_one_line(
    exported: Path, tmp_path: Path, name: str, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder = shutil.copytree(exported, tmp_path / "folder")
    (folder / name).unlink()
    with pytest.raises(ModelError, match=told):
        open_encoder(folder, "cpu").encode_texts(["boats"])
    assert not caplog.records


@pytest.mark.parametrize("pooling", ["eos", "mean"])
def test_internvl_and_float16(
    internvl_config: Any, tokenizer_dir: Path, tmp_path: Path, pooling: Any
) -> None:
    torch.manual_seed(0)
    encoder = build_encoder(internvl_config, tokenizer_dir, pooling=pooling)
    model = save_checkpoint(encoder, tmp_path / "model")
    half = pooling == "mean"
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").symlink_to("elsewhere")
    report = export(str(model), tmp_path / "out", "float16" if half else "float32")
    got = _vectors(open_encoder(tmp_path / "out", "cpu"))
    np.testing.assert_allclose(
        got, _vectors(load_encoder(model, "cpu")), atol=2e-3 if half else 1e-4
    )
    assert min(report.text_cosine, report.image_cosine) > 0.9999
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("model", "out")]
    assert sizes[1] < 0.6 * sizes[0] if half else sizes[1] == sizes[0]
    assert (tmp_path / "out").is_symlink()


def test_the_command_also_after_it_was_killed(ngcg: Ngcg, tmp_path: Path) -> None:
    write_smolvlm(tmp_path / "model")
    command = [sys.executable, "-m", "ngcg_cli", "export", "model", "--out", "out"]
    killed = subprocess.Popen(command, cwd=tmp_path)
    while not list(tmp_path.glob(".ngcg-*/out/model.safetensors")):
        assert killed.poll() is None
        time.sleep(0.02)
    killed.kill()
    killed.wait()
    assert len(os.listdir(tmp_path)) == 2, "something is left beside the model"
    done = ngcg("export", tmp_path / "model", "--out", tmp_path / "out", "--json")
    assert done.status == 0, done.err
    assert sorted(os.listdir(tmp_path)) == ["model", "out"]
    report = json.loads(done.out)
    assert report["out"] == str(tmp_path / "out")
    assert report["largest_difference"] < 1e-4
    again = ngcg("export", tmp_path / "model", "--out", tmp_path / "out")
    assert again.status == 2
    assert "is there already" in again.err
    with pytest.raises(UsageError, match="is there already"):
        export(str(tmp_path / "model"), tmp_path)
