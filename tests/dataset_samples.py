"""What the tests of data sets share: files of rows, and what is said of a bad one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ngcg_cli.datasets import (
    load_pairs,
)
from ngcg_cli.errors import DataError


def write_lines(path: Path, *rows: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_json(path: Path, data: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data))
    return path


def message(*args, **options) -> str:
    with pytest.raises(DataError) as failure:
        load_pairs(*args, **options)
    return str(failure.value)
