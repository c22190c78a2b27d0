"""The ablations' script, with the real commands on a small random-weight model."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("matplotlib")
SCRIPT = Path(__file__).parents[1] / "examples" / "ablations" / "run.sh"


@pytest.fixture
def captions(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    lines = []
    for number in range(8):
        pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        lines.append({"image": f"{number}.png", "captions": [f"{number} boats"]})
    path = tmp_path / "captions.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.mark.slow
def test_rows_are_measured_once_tabled_and_a_failed_one_is_named(
    captions: Path, fake_backbone: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    env = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
        "MODEL": str(fake_backbone),
        "BACKBONES": "/nowhere",
        "TRAIN_OPTIONS": "--steps 1 --workers 0 -q",
        "EVAL_OPTIONS": "--no-cache",
    }

    def run(*rows: str, **changes: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", str(SCRIPT), str(captions), str(captions), str(out), *rows],
            env=env | changes, capture_output=True, text=True, check=False,
        )  # fmt: skip

    first = run("scaling-2", "backbone-*")
    assert first.returncode == 3, first.stderr
    assert "not measured: backbone---nowhere/seed-0" in first.stderr
    with (out / "ablations.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    measured = json.loads((out / "scaling-2/seed-0/eval.json").read_text())
    assert (row["row"], row["question"], row["options"]) == ("scaling-2", "scaling", "--alpha 32")
    assert float(row["mean"]) == measured["mean"]
    assert float(row["t2i R@5"]) == measured["text_to_image"]["R@5"]
    adapter = json.loads((out / "scaling-2/seed-0/checkpoint/adapter_config.json").read_text())
    assert adapter["lora_alpha"] == 32
    assert (out / "ablations.png").read_bytes().startswith(b"\x89PNG")

    # Measured rows are skipped: nothing is said of them, and no model is loaded.
    again = run("scaling-2")
    assert again.returncode == 0, again.stderr
    assert "scaling-2, seed" not in again.stderr
    # Other settings would make rows that cannot be compared.
    other = run("scaling-2", EPOCHS="7")
    assert other.returncode == 2
    assert "measured with other settings" in other.stderr
