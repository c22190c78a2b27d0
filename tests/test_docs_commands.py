"""docs/commands.md tells what `--help` tells, of every command."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parent.parent / "docs"


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(DOCS / "update_commands.py"))


def test_the_document_is_up_to_date(script: dict[str, Any]) -> None:
    document = (DOCS / "commands.md").read_text("utf-8")
    fresh = script["updated"](document, script["help_texts"]())
    assert document == fresh, "run `python docs/update_commands.py`"


def test_the_table_of_options_is_up_to_date(script: dict[str, Any]) -> None:
    document = (DOCS / "training.md").read_text("utf-8")
    assert document == script["with_table"](document), "run `python docs/update_commands.py`"
    assert "| `--rank` | 16 | paper |" in document


def test_a_command_without_a_place_is_noticed(script: dict[str, Any]) -> None:
    texts = script["help_texts"]()
    document = (DOCS / "commands.md").read_text("utf-8")
    with pytest.raises(ValueError, match="ngcg new"):
        script["updated"](document, {**texts, "ngcg new": "Usage"})
    changed = script["updated"](document, {**texts, "ngcg": "--another option"})
    assert changed != document
