"""Graphs in int8, by ONNX Runtime's own quantiser.

Convolutions are quantised statically: the range of what passes between them is measured on images.
Matrix products, which are the language model, measure their own input as they run; both as ONNX
Runtime's guide advises (onnxruntime.ai/docs/performance/model-optimizations/quantization.html).
Weights have a scale for each output channel.

x86 processors without VNNI add products of uint8 and int8 up in pairs, in 16 bits, and cut off what
is larger. So no pair of weights may be that large: such processors give the same vectors then.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ngcg_cli.beside import workshop
from ngcg_cli.encoder.runtime import CHUNK

if TYPE_CHECKING:
    import onnx
    import onnx_ir

#: What a pair of weights may add up to: 255 times it still fits into 16 bits.
_PAIR = 128
_GREY = "the grey that the input is counted from"


def quantise(model: onnx_ir.Model, images: Sequence[np.ndarray] | None = None) -> onnx_ir.Model:
    """A copy of a graph in int8.

    Args:
        model: the graph in float32, with its weights.
        images: for an image graph (S, S, 3) uint8 images of the model's size, to measure ranges on.
    """
    import onnx
    import onnx_ir
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with workshop(Path(tempfile.gettempdir())) as folder, _quiet():
        plain, done = folder / "float32.onnx", folder / "int8.onnx"
        onnx_ir.save(model, plain, external_data="float32.data")
        proto = onnx.load(plain)
        if images is not None:
            proto = _quantise_convolutions(proto, images, folder)
        onnx.save(proto, plain, save_as_external_data=True, location="static.data")
        quantize_dynamic(
            plain,
            done,
            op_types_to_quantize=["MatMul"],
            nodes_to_exclude=_of_unit_vectors(proto),
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QInt8,
            use_external_data_format=True,
        )
        return onnx_ir.from_proto(onnx.load(done))


def _of_unit_vectors(proto: onnx.ModelProto) -> list[str]:
    """Names of the products after pooling (`Balance`): little to compute, and ranks hang on it."""
    later: set[str] = set()
    names = []
    for node in proto.graph.node:  # in the order in which they are computed
        if node.op_type == "ReduceL2" or not later.isdisjoint(node.input):
            later.update(node.output)
            if node.op_type == "MatMul":
                names.append(node.name)
    return names


def _quantise_convolutions(
    proto: onnx.ModelProto, images: Sequence[np.ndarray], folder: Path
) -> onnx.ModelProto:
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    weights = _weights(proto)
    convolutions = [
        node for node in proto.graph.node if node.op_type == "Conv" and node.input[1] in weights
    ]
    if not convolutions:
        return proto
    ranges = _count_from_grey(proto, convolutions)
    weights = _weights(proto)
    for node in convolutions:
        kernel = weights[node.input[1]]
        if not _is_depthwise(node, kernel):  # those are added up in 32 bits everywhere
            ranges[node.input[1]] = [
                {"quant_type": QuantType.QInt8, "axis": 0, "scale": scale, "zero_point": np.int8(0)}
                for scale in safe_scales(kernel)
            ]
    plain, done = folder / "folded.onnx", folder / "static.onnx"
    onnx.save(proto, plain, save_as_external_data=True, location="folded.data")
    quantize_static(
        plain,
        done,
        _Calibration(proto.graph.input[0].name, images),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        op_types_to_quantize=["Conv", "Clip", "Relu", "Add"],
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        nodes_to_quantize=_between(proto, convolutions),
        use_external_data_format=True,
        extra_options={"TensorQuantOverrides": ranges},
    )
    proto = onnx.load(done)
    _take_bytes(proto)
    return proto


def safe_scales(kernel: np.ndarray) -> np.ndarray:
    """The scale of each output channel, so that no two weights of a sign add up to over 128.

    Args:
        kernel: (C, ...) float32.

    Returns:
        (C,) float32; a weight divided by its channel's scale, rounded, is its int8.
    """
    rows = kernel.reshape(len(kernel), -1)
    most = np.abs(rows).max(axis=1) / 127
    for sign in (rows, -rows):
        largest = np.sort(sign.clip(0), axis=1)[:, -2:]
        # Each of the two may be rounded up by a half.
        most = np.maximum(most, largest.sum(axis=1) / (_PAIR - 1))
    return np.maximum(most, 1e-9).astype(np.float32)


def _is_depthwise(node: onnx.NodeProto, kernel: np.ndarray) -> bool:
    groups = next((item.i for item in node.attribute if item.name == "group"), 1)
    return groups == len(kernel) > 1 and kernel.shape[1] == 1


def _between(proto: onnx.ModelProto, convolutions: list[onnx.NodeProto]) -> list[str]:
    """Names of the convolutions, their activations, and the additions that only they feed."""
    names = {node.name for node in convolutions}
    inside = {node.output[0] for node in convolutions}
    for node in proto.graph.node:
        needed = node.input if node.op_type == "Add" else node.input[:1]
        if node.op_type in ("Add", "Clip", "Relu") and inside.issuperset(needed):
            inside.add(node.output[0])
            names.add(node.name)
    return sorted(names)


def _count_from_grey(
    proto: onnx.ModelProto, convolutions: list[onnx.NodeProto]
) -> dict[str, list[dict[str, Any]]]:
    """Moves the normalisation into the first convolution; returns the range of that one's input.

    What it reads is then the picture's bytes less a grey: a quantised tensor whose zero is that
    grey, so `_take_bytes` leaves the subtraction out. Only at padded borders is it not quite the
    same: they are that grey where they were the mean colour.
    """
    from onnx import numpy_helper

    graph = proto.graph
    weights = _weights(proto)
    made = {name: node for node in graph.node for name in node.output}
    for first in convolutions:
        add = made.get(first.input[0])
        multiply = made.get(add.input[0]) if add is not None and add.op_type == "Add" else None
        if add is None or multiply is None or multiply.op_type != "Mul":
            continue
        scale, shift = (weights.get(node.input[1]) for node in (multiply, add))
        kernel, bias = weights[first.input[1]], weights.get((*first.input, "", "")[2])
        channels = kernel.shape[1]
        if (
            scale is None
            or shift is None
            or bias is None
            or not scale.shape == shift.shape == (channels, 1, 1)
            or _reads(graph, multiply.output[0]) != 1
            or not _from_input(graph, made, multiply.input[0])
        ):
            continue
        grey = float(np.clip(np.rint((-shift / scale).mean()), 0, 255))
        rest = kernel * (shift + grey * scale)
        for name, values in (
            (first.input[1], kernel * scale),
            (first.input[2], bias + rest.sum((1, 2, 3))),
        ):
            held = next(tensor for tensor in graph.initializer if tensor.name == name)
            held.CopyFrom(numpy_helper.from_array(values.astype(np.float32), name))
        graph.initializer.append(numpy_helper.from_array(np.array(grey, np.float32), _GREY))
        multiply.op_type, multiply.input[1] = "Sub", _GREY
        first.input[0] = multiply.output[0]
        graph.node.remove(add)
        for tensor in list(graph.initializer):  # what is not read is warned of
            if tensor.name != _GREY and not _reads(graph, tensor.name):
                graph.initializer.remove(tensor)
        low, high = np.float32(-grey), np.float32(255 - grey)
        return {multiply.output[0]: [{"rmin": low, "rmax": high}]}
    return {}


def _take_bytes(proto: onnx.ModelProto) -> None:
    """Lets the first convolution read the picture's bytes, where they are its quantised input."""
    graph = proto.graph
    weights = _weights(proto)
    made = {name: node for node in graph.node for name in node.output}
    for quantised in graph.node:
        subtract = made.get(quantised.input[0]) if quantised.op_type == "QuantizeLinear" else None
        if subtract is None or subtract.op_type != "Sub" or subtract.input[1] != _GREY:
            continue
        scale, zero = (weights[name] for name in quantised.input[1:3])
        if scale != 1 or zero != weights[_GREY]:
            continue
        chain, name = [], subtract.input[0]
        while name in made:
            chain.append(made[name])
            name = chain[-1].input[0]
        for node in reversed(chain):
            if node.op_type == "Transpose":
                node.input[0], name = name, node.output[0]
            else:
                graph.node.remove(node)
        for node in graph.node:
            for place, read in enumerate(node.input):
                if read == quantised.output[0]:
                    node.input[place] = name
        # What is known of shapes and kinds there was of the float32 graph.
        del graph.value_info[:]
        graph.node.remove(subtract)
        graph.node.remove(quantised)
        return


def _weights(proto: onnx.ModelProto) -> dict[str, np.ndarray]:
    from onnx import numpy_helper

    return {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}


def _from_input(graph: onnx.GraphProto, made: dict[str, onnx.NodeProto], name: str) -> bool:
    """Whether a value is the picture, turned or in another kind of number, and nothing else."""
    while name in made:
        node = made[name]
        if node.op_type not in ("Cast", "Transpose") or _reads(graph, name) != 1:
            return False
        name = node.input[0]
    return name == graph.input[0].name and _reads(graph, name) == 1


def _reads(graph: onnx.GraphProto, name: str) -> int:
    """How many nodes read a value; its shape alone does not count."""
    return sum(list(node.input).count(name) for node in graph.node if node.op_type != "Shape")


class _Calibration:
    """A `CalibrationDataReader`: a few images at a time."""

    def __init__(self, name: str, images: Sequence[np.ndarray]) -> None:
        self._name = name
        self._batches: Iterator[Sequence[np.ndarray]] = iter(
            [images[start : start + CHUNK] for start in range(0, len(images), CHUNK)]
        )

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next input, or None at the end."""
        batch = next(self._batches, None)
        return None if batch is None else {self._name: np.stack(batch)}


@contextmanager
def _quiet() -> Iterator[None]:
    """The quantiser tells the root logger what it would have done itself."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def drawn_images(side: int, count: int = 48, seed: int = 0) -> np.ndarray:
    """(count, side, side, 3) uint8 images with the statistics of photographs: "dead leaves".

    Patches of all sizes hide one another, few of them large (Lee, Mumford and Huang, "Occlusion
    models for natural images", 2001); grounds, contrasts and grain differ from image to image.
    """
    rng = np.random.default_rng(seed)
    rows, columns = np.ogrid[:side, :side]
    images = np.empty((count, side, side, 3), np.uint8)
    for image in images:
        ground, contrast = rng.uniform(20, 235, 3), rng.uniform(5, 60)
        picture = np.broadcast_to(ground, image.shape).astype(np.float32)
        for _ in range(80):
            radius = min(side / 2, side / 80 / np.sqrt(1 - rng.random()))
            row, column = rng.uniform(0, side, 2)
            if rng.random() < 0.5:
                patch = (rows - row) ** 2 + (columns - column) ** 2 < radius**2
            else:
                width = radius * rng.uniform(0.2, 1.5)
                patch = (abs(rows - row) < radius) & (abs(columns - column) < width)
            light = rng.standard_normal() + rng.standard_normal(3) / 3
            picture[patch] = ground + contrast * light
        picture += rng.uniform(0, 12) * rng.standard_normal((side, side, 1))
        image[:] = picture.clip(0, 255)
    return images
