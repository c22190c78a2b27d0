"""Names and texts from files do nothing to a terminal, a spreadsheet or a reader of JSON."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from samples import Ngcg, write_raster

from ngcg_cli.plain import csv_line, harmless, json_text

EVIL = "/data/\x1b]0;pwned\x07\x1b[2J\x9b31m\u202efit\r\n\u2028\udce9.tif"


def test_letters_stay_and_what_commands_a_terminal_is_shown() -> None:
    kind = "Grüße, 道路 \u3000 e\u0301 👩\u200d🌾"
    assert harmless(kind) == kind
    assert harmless(EVIL).isascii()
    assert harmless(EVIL).startswith(r"/data/\x1b]0;pwned\x07\x1b[2J\x9b31m\u202efit\x0d\x0a\u2028")


def test_json_loses_nothing_and_hides_nothing() -> None:
    text = json_text({"source": EVIL, "name": "Grüße"})
    assert json.loads(text) == {"source": EVIL, "name": "Grüße"}
    assert not set(text) & set("\x1b\x9b\u202e\u2028\r\n\udce9")
    assert "Grüße" in text
    with pytest.raises(ValueError, match="JSON compliant"):
        json_text(float("nan"))


@pytest.mark.parametrize("formula", ["=1+1", "+1+1", "-a", "@SUM(A1)", '=HYPERLINK("x")', " =1+1"])
def test_csv_has_its_records_and_no_formula(formula: str) -> None:
    line = csv_line([formula, -0.5, "-74.0060000", "a pond\ra road", None, "a\nb"])
    assert "\r" not in line
    (row,) = csv.reader(io.StringIO(line, newline=""))
    assert row == [f"'{formula}", "-0.5", "-74.0060000", r"a pond\x0da road", "", "a\nb"]


def test_a_file_name_reaches_no_terminal(ngcg: Ngcg, fake_backbone: Path, tmp_path: Path) -> None:
    name = "\x1b]0;pwned\x07\x1b[2J\u202efit\r.tif"
    write_raster(tmp_path / name, 1)
    built = ngcg("index", tmp_path / name, "--model", fake_backbone, "--tile", "64px", "-v")
    outputs = [built, ngcg("info"), ngcg("info", "--json"), ngcg("remove", "fit.tif")]
    outputs += [
        ngcg("query", "a pond", "--format", how) for how in ("table", "csv", "jsonl", "geojson")
    ]
    outputs.append(ngcg("index", f"{name}.not", "--model", fake_backbone))
    for outcome in outputs:
        assert not set(outcome.out + outcome.err) & set("\x1b\x07\u202e\r")
    assert outputs[5].out.count("\n") == 1 + len(outputs[6].rows)
    assert outputs[6].rows[0]["source"] == str(tmp_path / name)
