"""An `EncoderModule` as two ONNX graphs whose weights lie in the safetensors files beside them."""

from __future__ import annotations

import hashlib
import json
import logging
import struct
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.numpy import save
from torch import Tensor, nn

from ngcg_cli.encoder.encoder import Encoder
from ngcg_cli.encoder.module import EncoderModule
from ngcg_cli.encoder.pixels import scale_and_shift
from ngcg_cli.encoder.stamp import POOLING
from ngcg_cli.encoder.weights import weight_files
from ngcg_cli.errors import NgcgError

if TYPE_CHECKING:
    import onnx_ir

OPSET = 20
#: File names of the graphs, by precision and side.
GRAPHS = {
    "float32": {"text": "text.onnx", "image": "image.onnx"},
    "int8": {"text": "text.int8.onnx", "image": "image.int8.onnx"},
}
#: What the graphs in int8 point into besides.
INT8 = "int8.safetensors"
_KINDS = {"F32": np.float32, "F16": np.float16, "I8": np.int8}
#: Constants up to so many bytes stay in the graph: tables of positions, norms, biases.
_SMALL = 8192


class _Texts(nn.Module):
    """Token ids, real ones in front, to unit vectors."""

    def __init__(self, module: EncoderModule) -> None:
        super().__init__()
        self.module = module

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.module.embed_ordered_texts(input_ids, attention_mask.bool())


class _Images(nn.Module):
    """uint8 RGB images of the model's size, (B, S, S, 3), to unit vectors."""

    scale: Tensor
    shift: Tensor

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.module = encoder.module
        scale, shift = scale_and_shift(encoder.backbone)
        self.register_buffer("scale", torch.from_numpy(scale).view(3, 1, 1))
        self.register_buffer("shift", torch.from_numpy(shift).view(3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        pixels = images.permute(0, 3, 1, 2).to(torch.float32) * self.scale + self.shift
        return self.module.embed_images(pixels)


def write_graphs(
    encoder: Encoder, folder: Path, calibration: Sequence[np.ndarray] | None = None
) -> None:
    """Write the graphs of `encoder` into the model directory that it was loaded from.

    Args:
        encoder: in torch, on the CPU, in float32, loaded from `folder`.
        folder: its `model.safetensors` (and `pooling.safetensors`) are what the graphs point into.
        calibration: (S, S, 3) uint8 images for graphs in int8 besides, and their weights; none
            writes no such graphs and removes those that are there.

    Raises:
        NgcgError: what exports is not installed.
    """
    side = encoder.image_size
    batch, length = torch.export.Dim("batch"), torch.export.Dim("length")
    ids, mask = encoder.tokens(["boats in a harbour", "a pond beside many trees and two houses"])
    text = _trace(
        _Texts(encoder.module),
        {"input_ids": ids, "attention_mask": mask},
        {"input_ids": {0: batch, 1: length}, "attention_mask": {0: batch, 1: length}},
    )
    image = _trace(
        _Images(encoder),
        {"images": torch.zeros(2, side, side, 3, dtype=torch.uint8)},
        {"images": {0: batch}},
    )
    for name in (*GRAPHS["int8"].values(), INT8):
        (folder / name).unlink(missing_ok=True)
    graphs = {"float32": {"text": text, "image": image}}
    if calibration is not None:
        from ngcg_cli.encoder.quantise import quantise

        graphs["int8"] = {"text": quantise(text), "image": quantise(image, calibration)}
        _write_int8(graphs["int8"].values(), folder / INT8)
    import onnx_ir

    stored = _Stored(folder)
    for precision, sides in graphs.items():
        for kind, model in sides.items():
            stored.replace_in(model)
            _anonymise(model)
            onnx_ir.save(model, folder / GRAPHS[precision][kind])


def _write_int8(models: Iterable[onnx_ir.Model], path: Path) -> None:
    """The large int8 constants of graphs in one file; what they share is there once."""
    tensors = {
        _digest(value.const_value.numpy()): value.const_value.numpy()
        for model in models
        for value in model.graph.initializers.values()
        if value.const_value is not None
        and value.const_value.dtype.name == "INT8"
        and value.const_value.nbytes > _SMALL
    }
    path.write_bytes(save(tensors))


def _trace(module: nn.Module, inputs: dict[str, Tensor], shapes: dict[str, Any]) -> onnx_ir.Model:
    try:
        import onnxscript  # noqa: F401 -- torch asks for it with a longer story
    except ImportError as error:
        raise NgcgError(
            "onnxscript is not installed", hint="Install it: pip install 'ngcg[export]'."
        ) from error
    with torch.no_grad(), _quiet():
        program = torch.onnx.export(
            module.eval(),
            kwargs=inputs,
            input_names=list(inputs),
            output_names=["vectors"],
            dynamic_shapes=shapes,
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    return program.model


@contextmanager
def _quiet() -> Iterator[None]:
    """torch's exporter warns of its own ways, such as a torchvision that is not needed."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


class _Stored:
    """The tensors of a model directory's safetensors files, found by their values.

    An exporter names and turns weights as it likes; their numbers tell which ones they are.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        #: Digest of values to (file, offset, length, dtype, shape, whether transposed).
        self._found: dict[str, tuple[str, int, int, str, tuple[int, ...], bool]] = {}
        more = [folder / name for name in (POOLING, INT8)]
        for path in [*weight_files(folder), *(path for path in more if path.is_file())]:
            self._read(path)

    def _read(self, path: Path) -> None:
        with path.open("rb") as file:
            (size,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(size))
            header.pop("__metadata__", None)
            for name, facts in header.items():
                kind = _KINDS.get(facts["dtype"])
                if kind is None:
                    continue
                begin, end = facts["data_offsets"]
                file.seek(8 + size + begin)
                values = np.frombuffer(file.read(end - begin), kind).reshape(facts["shape"])
                self._add(path.name, 8 + size + begin, values)
                if name.endswith("in_proj_weight"):  # attention's three, which a graph holds apart
                    third = len(values) // 3
                    for part in range(3):
                        offset = 8 + size + begin + part * (end - begin) // 3
                        self._add(path.name, offset, values[part * third : (part + 1) * third])

    def _add(self, file: str, offset: int, values: np.ndarray) -> None:
        if values.size * (1 if values.dtype == np.int8 else 4) <= _SMALL:
            return
        place = file, offset, values.nbytes, values.dtype.name, values.shape
        if values.ndim == 2:
            self._found[_digest(values.T)] = (*place, True)
        self._found[_digest(values)] = (*place, False)

    def replace_in(self, model: onnx_ir.Model) -> None:
        """Let every large constant of a graph that is a stored tensor be read from its file."""
        import onnx_ir

        graph = model.graph
        first = graph[0]
        for name, value in list(graph.initializers.items()):
            tensor = value.const_value
            if (
                tensor is None
                or tensor.nbytes <= _SMALL
                or tensor.dtype.name not in ("FLOAT", "INT8")
            ):
                continue
            found = self._found.get(_digest(tensor.numpy()))
            if found is None:
                continue
            file, offset, length, kind, shape, transposed = found
            dtype = onnx_ir.DataType.from_numpy(np.dtype(kind))
            stored = onnx_ir.ExternalTensor(
                file, offset, length, dtype, shape=onnx_ir.Shape(shape), name=f"{name}.stored",
                base_dir=self.folder,
            )  # fmt: skip
            held = onnx_ir.Value(
                name=stored.name,
                type=onnx_ir.TensorType(dtype),
                shape=onnx_ir.Shape(shape),
                const_value=stored,
            )
            made, nodes = held, []
            if kind == "float16":
                to = onnx_ir.AttrInt64("to", onnx_ir.DataType.FLOAT)
                nodes.append(onnx_ir.Node("", "Cast", [made], [to], num_outputs=1))
                made = nodes[-1].outputs[0]
            if transposed:
                turn = onnx_ir.AttrInt64s("perm", [1, 0])
                nodes.append(onnx_ir.Node("", "Transpose", [made], [turn], num_outputs=1))
                made = nodes[-1].outputs[0]
            for number, node in enumerate(nodes):
                node.outputs[0].name = f"{name}.made{number}"
            graph.insert_before(first, nodes)
            value.replace_all_uses_with(made)
            del graph.initializers[name]
            graph.initializers[stored.name] = held


def _digest(values: np.ndarray) -> str:
    """Of values in float32, in whatever kind of floats they are stored, or in int8."""
    kind = np.int8 if values.dtype == np.int8 else np.float32
    exact = np.ascontiguousarray(values, kind)
    digest = hashlib.sha256(f"{kind.__name__} {values.shape}".encode())
    digest.update(exact.data)
    return digest.hexdigest()


def _anonymise(model: onnx_ir.Model) -> None:
    """Without the exporter's notes, which tell the paths of this machine."""
    model.metadata_props.clear()
    model.graph.metadata_props.clear()
    model.doc_string = model.graph.doc_string = None
    for node in model.graph.all_nodes():
        node.metadata_props.clear()
        node.doc_string = None
        for value in node.outputs:
            value.metadata_props.clear()
    for value in [*model.graph.inputs, *model.graph.initializers.values()]:
        value.metadata_props.clear()
