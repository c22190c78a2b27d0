"""The bundled model in both engines, and commands that need no torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image
from samples import write_raster

from ngcg_cli.encoder.checkpoint import load_encoder
from ngcg_cli.encoder.encoder import Encoder
from ngcg_cli.encoder.loading import open_encoder

ROOT = Path(__file__).parent.parent
_HEAVY = {"torch", "transformers", "peft", "accelerate"}
_RUN = """
import sys
from ngcg_cli.app import run
status = run(sys.argv[1:])
print(*(name for name in sys.modules if "." not in name), file=sys.stderr)
sys.exit(status)
"""


@pytest.fixture(scope="module")
def both() -> tuple[Encoder, Encoder]:
    return load_encoder("tiny", "cpu"), open_encoder("tiny", "cpu")


def test_the_bundled_export_is_that_of_the_bundled_weights(both: tuple[Encoder, Encoder]) -> None:
    """If not, `examples/tiny/README.md` says how to make it."""
    torch_, onnx = both
    assert (torch_.engine.kind, onnx.engine.kind) == ("torch", "onnx")
    assert torch_.fingerprint == onnx.fingerprint


@pytest.mark.slow
def test_their_vectors_are_interchangeable(both: tuple[Encoder, Encoder]) -> None:
    town = [json.loads(line) for line in (ROOT / "examples/town/region.jsonl").open()]
    texts = ["", "a" * 3000, *(row["captions"][0] for row in town[:60])]
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (6, 8, 8, 3), np.uint8)
    images = [
        *coarse.repeat(25, axis=1).repeat(40, axis=2),
        *(np.full((64, 64, 3), value, np.uint8) for value in (0, 128, 255)),
        rng.integers(0, 256, (256, 256, 3), np.uint8),
        rng.integers(0, 256, (1, 300, 3), np.uint8),
    ]
    ours, theirs = (encoder.encode_texts(texts) for encoder in both)
    np.testing.assert_allclose(theirs, ours, atol=1e-4)
    ours, theirs = (encoder.encode_images(images) for encoder in both)
    np.testing.assert_allclose(theirs, ours, atol=1e-4)


def test_its_export_in_int8_is_close(both: tuple[Encoder, Encoder]) -> None:
    """Made as `examples/tiny/README.md` says."""
    exact, small = both[1], open_encoder("tiny", "cpu", precision="int8")
    assert (small.engine.kind, small.precision) == ("onnx", "int8")
    assert small.fingerprint == exact.fingerprint
    town = [json.loads(line) for line in (ROOT / "examples/town/region.jsonl").open()]
    texts = [row["captions"][0] for row in town[:40]]
    with rasterio.open(ROOT / "examples/town/region.tif") as region:
        pixels = np.moveaxis(region.read((1, 2, 3)), 0, -1)
    images = [pixels[at : at + 200, at : at + 200] for at in range(0, len(pixels) - 200, 150)]
    assert len(images) > 3
    for ours, theirs, least in (
        (exact.encode_texts(texts), small.encode_texts(texts), 0.99),
        (exact.encode_images(images), small.encode_images(images), 0.95),
    ):
        assert least < (ours * theirs).sum(1).min() < 0.9999


@pytest.mark.slow
def test_commands_with_the_bundled_model_import_no_torch(tmp_path: Path) -> None:
    write_raster(tmp_path / "a.tif", 1)
    write_raster(tmp_path / "b.tif", 2, west=590_000.0)
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    rows = [{"image": "photo.png", "captions": ["a pond"]}]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    place = {"captions": ["a pond"], "lon": -74.0, "lat": 40.7}
    (tmp_path / "places.jsonl").write_text(json.dumps(place) + "\n")
    cut = ["--tile", "64px", "--overlap", "0"]
    for words in (
        ["index", "a.tif", "--index", "ix", *cut],
        ["index", "b.tif", "--index", "other", *cut],
        ["query", "a pond", "--index", "ix"],
        ["query", "--image", "photo.png", "--index", "ix"],
        ["merge", "ix", "other", "--out", "both"],
        ["info", "--index", "both"],
        ["remove", "a.tif", "--index", "both"],
        ["eval", "pairs.jsonl", "--no-cache"],
        ["eval", "places.jsonl", "--index", "ix", "--no-cache"],
        ["models"],
    ):
        done = subprocess.run(
            [sys.executable, "-c", _RUN, *words],
            cwd=tmp_path,
            env={**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, (words, done.stderr)
        imported = set(done.stderr.splitlines()[-1].split())
        assert "ngcg_cli" in imported
        assert not imported & _HEAVY, words
