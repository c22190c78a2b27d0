"""The evaluation's cache of vectors: what tells one model's from another's."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from ngcg_cli.encoder.runtime import Graphs, OnnxEngine
from ngcg_cli.evaluation.embed import EmbeddingCache, embed_captions


def test_an_int8_export_made_anew_has_vectors_of_its_own(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path)

    def embedded(graph: str, vector: list[float]) -> list[float]:
        files = {"text": ("text.int8.onnx", graph)}
        encoder: Any = SimpleNamespace(
            fingerprint="same weights",
            precision="int8",
            dim=2,
            engine=OnnxEngine(Graphs(tmp_path, files, "int8", 2, "eos")),
            encode_texts=lambda texts: np.tile(np.float32(vector), (len(texts), 1)),
        )
        (found,) = embed_captions(encoder, ["a lake"], cache, lambda _: None)
        return found.tolist()

    assert embedded("one", [1, 0]) == [1, 0]
    assert embedded("one", [0, 1]) == [1, 0], "from the cache"
    assert embedded("other", [0, 1]) == [0, 1]
