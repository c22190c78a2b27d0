"""The script that writes the tables of docs/performance.md."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "performance.md").read_text("utf-8")


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "bench"))
    import figures

    yield figures
    sys.modules.pop("figures", None)


def test_every_table_has_its_place_on_the_page_and_its_run(figures: object) -> None:
    places = re.findall(r"<!-- figures: (\w+) -->", PAGE)
    assert sorted(places) == sorted(figures.TABLES)  # type: ignore[attr-defined]
    assert PAGE.count("<!-- end of figures -->") == len(places)
    runs = (ROOT / "tests/bench/figures.sh").read_text("utf-8")
    assert {name for name in places if f"run {name} " not in runs} == set()


def test_tables_are_written_and_the_rest_stays(
    figures: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seconds = {"query": 0.5, "query, 1,000 lines": 1, "models": 0.2, "--help": 0.1}
    seconds["import torch, transformers"] = 2
    ratios = {name: value / 2 for name, value in seconds.items()}
    start = {"cpu_seconds": seconds, "ratio_to_import": ratios}
    (tmp_path / "start.json").write_text(json.dumps(start))
    both = {"cpu_ms": 9.6, "speed_to_float32": 1.0, "cosine_mean": 1.0, "cosine_least": 0.99}
    way = {"image": both, "text": both, "megabytes": 23.3}
    told = {"float32": way, "int8": way, "bfloat16": way}
    (tmp_path / "precision.json").write_text(json.dumps(told))
    recall = {
        name: {"R@1": 1.5, "R@5": 2, "R@10": 3} for name in ("text_to_image", "image_to_text")
    }
    spans = {name: {"R@1": [1, 2], "R@5": [2, 3], "R@10": [3, 4]} for name in recall}
    (tmp_path / "recall-int8.json").write_text(json.dumps({**recall, "ci": spans}))
    page = figures.filled(PAGE, tmp_path)  # type: ignore[attr-defined]
    assert "| `ngcg models` | 0.20 | 0.10 |" in page
    assert "| text to image R@1 |  | 1.50 (1.00 to 2.00) |  |" in page
    assert "index.json is not there" in capsys.readouterr().err
    cut = r"(<!-- figures: (?:start|precision) -->\n).*?(\n<!-- end)"
    bare = [re.sub(cut, r"\1\2", text, flags=re.DOTALL) for text in (PAGE, page)]
    assert bare[0] == bare[1], "no other line has moved"
