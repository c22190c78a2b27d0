"""The engine of exported models on a CPU: ONNX Runtime, without torch.

An export (`export.py`) is a model directory with two graphs beside its weights, one for texts and
one for images. The graphs hold no weights of their own: they point into the safetensors files.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ngcg_cli.encoder.backbones import Backbone
from ngcg_cli.encoder.engine import cpu_threads
from ngcg_cli.encoder.received import read_bounded
from ngcg_cli.encoder.weights import digest_weights
from ngcg_cli.errors import ModelError

Side = Literal["text", "image"]
#: Bytes of a graph without its weights; those of gigabyte models take some megabytes.
_GRAPH = 64 << 20
#: Images that go through the graph together: their activations stay in the cache.
CHUNK = 2


@dataclass(frozen=True)
class Graphs:
    """The files of an export in one precision.

    Attributes:
        folder: the model directory.
        files: for `text` and `image` the graph's file name and its hex SHA-256; in int8 also
            `weights`, the file that both point into, and its digest (`digest_weights`).
        precision: what the graphs compute in.
        dim: width of the vectors.
        pooling: see `EncoderModule`; it is part of the graphs.
    """

    folder: Path
    files: dict[str, tuple[str, str]]
    precision: str
    dim: int
    pooling: str

    def check(self, side: Side) -> Path:
        """The path of a side's graph, once its bytes are what the export wrote.

        Raises:
            ModelError: missing or damaged.
        """
        name, digest = self.files[side]
        path = self.folder / name
        if not path.exists():
            raise ModelError("is missing", where=path, hint="Export the model again.")
        whole = hashlib.sha256(read_bounded(path, _GRAPH)).hexdigest() == digest
        if whole and "weights" in self.files:
            name, digest = self.files["weights"]
            path = self.folder / name
            whole = digest_weights([path]) == digest
        if not whole:
            raise ModelError("the export is damaged", where=path, hint="Export the model again.")
        return self.folder / self.files[side][0]


class OnnxEngine:
    """Both graphs of an export; each is loaded when it is first needed. See `Engine`.

    In int8 every input goes through alone: matrix products find their scale in all that they are
    given, and a vector must not depend on what it was embedded with.
    """

    kind = "onnx"
    place = "cpu"

    def __init__(self, graphs: Graphs) -> None:
        self.graphs = graphs
        self.dim = graphs.dim
        self.pooling = graphs.pooling
        self.precision = graphs.precision
        # An export may be made anew, calibrated on other images.
        self.rounding = json.dumps(graphs.files, sort_keys=True) if self.precision == "int8" else ""
        self._sessions: dict[Side, Any] = {}
        self._lock = threading.Lock()

    def streams(self) -> int:
        """One for each of the process's threads: a run of a graph stays on the thread it is in."""
        return cpu_threads()

    def enter_stream(self, streams: int) -> None:
        """Nothing to do."""

    @contextmanager
    def inferring(self) -> Iterator[None]:
        """Nothing to do: a graph knows no training."""
        yield

    def texts(self, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """(B, L) int64 token ids and mask, real ones in front, to (B, dim) unit vectors."""
        if self.precision != "int8":
            return self._run("text", {"input_ids": ids, "attention_mask": mask})
        parts = []
        for row, length in enumerate(mask.sum(axis=1).tolist()):
            alone = np.s_[row : row + 1, :length]
            parts.append(
                self._run("text", {"input_ids": ids[alone], "attention_mask": mask[alone]})
            )
        return np.concatenate(parts)

    def images(self, images: np.ndarray, backbone: Backbone) -> np.ndarray:
        """(B, S, S, 3) uint8 of the model's size to (B, dim) float32 unit vectors.

        Mean and standard deviation are part of the graph.
        """
        size = 1 if self.precision == "int8" else CHUNK
        chunks = [images[start : start + size] for start in range(0, len(images), size)]
        return np.concatenate([self._run("image", {"images": chunk}) for chunk in chunks])

    def digest(self) -> str:
        """Not known here: an export says what weights it was made of."""
        raise ModelError("an export has no weights in memory", where=self.graphs.folder)

    def _run(self, side: Side, inputs: dict[str, np.ndarray]) -> np.ndarray:
        path = self.graphs.folder / self.graphs.files[side][0]
        try:
            (vectors,) = self._session(side).run(["vectors"], inputs)
        except ModelError:
            raise
        except Exception as error:  # ONNX Runtime's own kinds, without a common base
            raise ModelError(
                f"the exported graph cannot be run ({_reason(error)})", where=path
            ) from error
        due = len(next(iter(inputs.values()))), self.dim
        if getattr(vectors, "dtype", None) != np.float32 or vectors.shape != due:
            raise ModelError(f"the exported graph gives no float32 vectors of {due}", where=path)
        return np.asarray(vectors)

    def _session(self, side: Side) -> Any:
        with self._lock:
            if side not in self._sessions:
                self._sessions[side] = _open(self.graphs.check(side))
            return self._sessions[side]


def _open(path: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # Batches run side by side, each on the thread that asks; see `streams.py`.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # One pool for all streams would keep the largest of what each has ever needed.
    options.enable_cpu_mem_arena = False
    try:
        return onnxruntime.InferenceSession(
            str(path), sess_options=options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # ONNX Runtime's own kinds, without a common base
        raise ModelError(
            f"the exported graph cannot be loaded ({_reason(error)})", where=path
        ) from error


def _reason(error: Exception) -> str:
    """ONNX Runtime's words without its numbers, in one line."""
    words = " ".join(str(error).split())
    return re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", words)[:200]
