"""Damaged checkpoints, questions and data are read or refused; `bench/fuzz_inputs.py` goes on."""

from __future__ import annotations

import json
import random
import shutil
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
from input_cases import damage_file, flipped, mutated, outcome, visit_lines, visit_model, visit_rows
from small_models import write_adapter


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["model", "adapter"])
def test_damaged_checkpoints(
    fake_backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked"))
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("connected"))
    made = fake_backbone
    if kind == "adapter":
        made = tmp_path / "adapter"
        write_adapter(made, fake_backbone)
    ends: Counter[str] = Counter()
    for number in range(40):
        rng = random.Random(number)
        case = Path(shutil.copytree(made, tmp_path / "case"))
        damage_file(rng.choice(sorted(case.iterdir())), rng)
        ends[outcome(partial(visit_model, case))] += 1
        shutil.rmtree(case)
    assert ends.keys() == {"read", "refused"}


def test_damaged_lists_and_rows(tmp_path: Path) -> None:
    lines = "\ufeffa pond\r\ncafé\rtwo boats\n".encode()
    row = {"image": "a.png", "captions": ["a pond"], "lon": 10.5, "lat": 47.9}
    path = tmp_path / "rows.jsonl"
    ends: Counter[str] = Counter()
    for number in range(200):
        rng = random.Random(number)
        ends["lines " + outcome(partial(visit_lines, flipped(lines, rng), rng))] += 1
        rows = "\n".join(map(json.dumps, [row, mutated(row, rng)])).encode()
        path.write_bytes(flipped(rows, rng))
        ends["rows " + outcome(partial(visit_rows, path))] += 1
    assert set(ends) == {"lines read", "lines refused", "rows read", "rows refused"}
