"""The bundled model and the example town, end to end: the promises that the README makes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from examples.tiny.measures import attributes
from ngcg_cli.app import run
from ngcg_cli.encoder.checkpoint import load_encoder

# The bundled model itself, on the whole town.
pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
TOWN = ROOT / "examples/town"
MODEL = ROOT / "ngcg_cli/models/tiny"


@pytest.fixture(scope="module")
def town_index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("town") / "index"
    assert run(["index", str(TOWN / "region.tif"), "--index", str(folder), "-q"]) == 0
    return folder


@pytest.fixture(scope="module")
def statements() -> list[dict[str, Any]]:
    return [json.loads(line) for line in (TOWN / "region.jsonl").read_text().splitlines()]


def test_it_is_small_and_whole() -> None:
    encoder = load_encoder("tiny", "cpu")
    count = sum(parameter.numel() for parameter in encoder.module.parameters())
    assert 8e6 <= count <= 15e6
    assert sum(file.stat().st_size for file in MODEL.iterdir()) < 40_000_000
    assert {"README.md", "config.json", "model.safetensors", "ngcg.json", "tokenizer.json"} <= {
        file.name for file in MODEL.iterdir()
    }


def test_it_reads_and_sees_in_one_space() -> None:
    encoder = load_encoder("tiny", "cpu")
    texts = encoder.encode_texts(["a forest", "A Forest.", "planes at an airport"])
    grey = np.full((2, 200, 300, 3), 128, np.uint8)
    images = encoder.encode_images(grey)
    assert texts.shape == (3, encoder.dim)
    assert images.shape == (2, encoder.dim)
    np.testing.assert_allclose(np.linalg.norm(np.concatenate([texts, images]), axis=1), 1, 1e-5)
    assert texts[0] @ texts[1] > texts[0] @ texts[2]


def test_a_true_place_comes_first(
    town_index: Path, statements: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    question = "a red-roofed building beside a roundabout"
    (true_at,) = (
        row["true_at"] for row in statements if row["statement"] == "near|building|red|roundabout|"
    )
    assert run(["query", question, "--index", str(town_index), "--format", "jsonl"]) == 0
    first = json.loads(capsys.readouterr().out.splitlines()[0])
    west, south, east, north = first["bbox"]
    assert any(west <= lon <= east and south <= lat <= north for lon, lat in true_at)


def test_the_readmes_example_is_what_comes_out(
    town_index: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On any CPU: a score that depends on the machine is nobody's score."""
    readme = (ROOT / "README.md").read_text()
    (line,) = (line for line in readme.splitlines() if line.startswith('{"query"'))
    shown = json.loads(line.replace(", ...}", "}"))  # the rest of it does not fit the page
    args = ["--index", str(town_index), "-k", "1", "--format", "jsonl"]
    assert run(["query", shown["query"], *args]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found.keys() >= shown.keys()
    assert round(found["score"], 6) == shown["score"]
    assert {key: found[key] for key in shown if key != "score"} == {
        key: value for key, value in shown.items() if key != "score"
    }


def test_the_towns_captions_find_their_places(
    town_index: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ["eval", str(TOWN / "region.jsonl"), "--protocol", "places", "--index", str(town_index)]
    assert run([*args, "--json", "--no-cache"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["queries"] > 500
    assert figures["R@10"] >= 40


def test_it_tells_colours_and_sides() -> None:
    """Chance is 50 of a hundred; counts are its weak side, and are not asked here."""
    images, pairs = attributes.items(tiles=60)
    asked = [pair for pair in pairs if pair.kind != "count"]
    assert len(asked) > 50
    assert attributes.measure(load_encoder("tiny", "cpu"), images, asked)["share"] >= 80
