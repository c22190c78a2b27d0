"""Exports that a stranger made: one clear line, and nothing read that is not theirs."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from ngcg_cli.encoder.loading import open_encoder
from ngcg_cli.encoder.runtime import Graphs, OnnxEngine
from ngcg_cli.encoder.weights import bundled_folder
from ngcg_cli.errors import ModelError

IDS = np.ones((2, 3), np.int64)


def _engine(folder: Path, nodes: list[onnx.NodeProto], weights: list[TensorProto]) -> OnnxEngine:
    """An engine with a text graph of these nodes, its checksum right."""
    wide = helper.make_tensor_value_info
    inputs = [wide(name, TensorProto.INT64, ["b", "l"]) for name in ("input_ids", "attention_mask")]
    outputs = [wide("vectors", TensorProto.FLOAT, None)]
    graph = helper.make_graph(nodes, "stranger", inputs, outputs, weights)
    domains = {node.domain for node in nodes} - {""}
    opsets = [helper.make_opsetid("", 20), *(helper.make_opsetid(name, 1) for name in domains)]
    data = helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()
    (folder / "text.onnx").write_bytes(data)
    files = {"text": ("text.onnx", hashlib.sha256(data).hexdigest())}
    return OnnxEngine(Graphs(folder, files, "float32", 4, "eos"))


def _elsewhere(location: str, offset: int = 0, count: int = 8) -> TensorProto:
    """A (2, count / 2) weight whose numbers lie in another file."""
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2, count // 2])
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", offset), ("length", 4 * count)):
        tensor.external_data.add(key=key, value=str(value))
    return tensor


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    for path in (tmp_path / "secret.bin", folder / "model.safetensors"):
        path.write_bytes(np.arange(8, dtype=np.float32).tobytes())
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    return folder


def test_weights_inside_of_the_folder_are_read(folder: Path) -> None:
    """So that the refusals below are not those of a graph that never ran."""
    same = [helper.make_node("Identity", ["w"], ["vectors"])]
    engine = _engine(folder, same, [_elsewhere("model.safetensors")])
    np.testing.assert_array_equal(engine.texts(IDS, IDS), np.arange(8).reshape(2, 4))


@pytest.mark.parametrize(
    "location",
    ["../secret.bin", "sub/../../secret.bin", "{}/secret.bin", "link.bin", "/etc/passwd",
     "/dev/zero", "nowhere.bin", "", "*/_ORT_MEM_ADDR_/*"],
)  # fmt: skip
def test_weights_outside_of_the_folder_are_not_read(folder: Path, location: str) -> None:
    same = [helper.make_node("Identity", ["w"], ["vectors"])]
    engine = _engine(folder, same, [_elsewhere(location.format(folder.parent))])
    with pytest.raises(ModelError, match="cannot be loaded") as raised:
        engine.texts(IDS, IDS)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 500


@pytest.mark.parametrize(("offset", "count"), [(8, 8), (-4, 8), (0, 1 << 40), (1 << 60, 8)])
def test_weights_past_the_end_of_their_file_are_refused(
    folder: Path, offset: int, count: int
) -> None:
    same = [helper.make_node("Identity", ["w"], ["vectors"])]
    engine = _engine(folder, same, [_elsewhere("model.safetensors", offset, count)])
    with pytest.raises(ModelError, match="cannot be loaded"):
        engine.texts(IDS, IDS)


def test_operations_of_others_and_gigantic_shapes_are_one_line(folder: Path) -> None:
    custom = [helper.make_node("Evil", ["input_ids"], ["vectors"], domain="com.evil")]
    with pytest.raises(ModelError, match=r"cannot be loaded.*Evil"):
        _engine(folder, custom, []).texts(IDS, IDS)
    terabyte = helper.make_tensor("shape", TensorProto.INT64, [1], [1 << 38])
    huge = [
        helper.make_node("ConstantOfShape", ["shape"], ["zeros"]),
        helper.make_node("ReduceSum", ["zeros"], ["vectors"]),
    ]
    with pytest.raises(ModelError, match="exported graph cannot be") as raised:
        _engine(folder, huge, [terabyte]).texts(IDS, IDS)
    assert "\n" not in str(raised.value)


def test_what_is_no_vector_is_refused(folder: Path) -> None:
    to = {"float": TensorProto.FLOAT, "long": TensorProto.INT64}
    for kind in ("float", "long"):  # three wide, not four; or of another kind
        cast = [helper.make_node("Cast", ["input_ids"], ["vectors"], to=to[kind])]
        with pytest.raises(ModelError, match=r"no float32 vectors|cannot be loaded"):
            _engine(folder, cast, []).texts(IDS, IDS)
    (folder / "text.onnx").unlink()
    os.mkfifo(folder / "text.onnx")
    files = {"text": ("text.onnx", "0" * 64)}
    with pytest.raises(ModelError, match="no regular file"):
        OnnxEngine(Graphs(folder, files, "float32", 4, "eos")).texts(IDS, IDS)


@pytest.mark.parametrize(
    ("key", "value"),
    [("dim", 10**13), ("dim", 0), ("graphs", {"float32": {"text": {}}}), ("graphs", [1]),
     ("graphs", {"float32": {}}), ("rows", None), ("eos", "x")],
)  # fmt: skip
def test_what_an_export_says_of_itself_is_not_believed(
    tmp_path: Path, key: str, value: object
) -> None:
    from ngcg_cli.encoder.backbones import BACKBONES

    own = bundled_folder(BACKBONES["tiny"])
    assert own is not None
    model = tmp_path / "model"
    model.mkdir()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "ngcg.json"):
        shutil.copy(own / name, model / name)
    for name in ("model.safetensors", "text.onnx", "image.onnx"):
        (model / name).symlink_to(own / name)
    stamp = json.loads((model / "ngcg.json").read_text("utf-8"))
    stamp["export"][key] = value
    (model / "ngcg.json").write_text(json.dumps(stamp))
    with pytest.raises(ModelError, match=r"ngcg\.json.*says of its export is damaged"):
        open_encoder(model, "cpu")


def test_weights_that_are_links_as_in_the_hubs_cache_run_in_torch(tmp_path: Path) -> None:
    from ngcg_cli.encoder.backbones import BACKBONES

    own = bundled_folder(BACKBONES["tiny"])
    assert own is not None
    model = tmp_path / "model"
    shutil.copytree(own, model, ignore=shutil.ignore_patterns("*.safetensors"))
    (model / "model.safetensors").symlink_to(own / "model.safetensors")
    with pytest.raises(ModelError, match="has no export that can be used"):
        open_encoder(model, "cpu", engine="onnx")
    (model / "model.safetensors").unlink()
    shutil.copy(own / "model.safetensors", model)
    assert open_encoder(model, "cpu", engine="onnx").engine.kind == "onnx"
