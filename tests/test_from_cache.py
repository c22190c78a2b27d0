"""The worked example of docs/models.md: three kinds of encoders, from the hub's cache to hits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hub_cache import COMMIT

_SCRIPT = Path(__file__).parent / "bench" / "from_cache.py"


@pytest.mark.slow
def test_three_encoders_from_the_cache_to_hits(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(_SCRIPT), str(tmp_path)],
        env={**os.environ, "XDG_STATE_HOME": str(tmp_path / "state")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    models = ["git-rsclip-base", "qwen3-vl-embedding-2b", "smolvlm-256m"]
    assert [row["model"] for row in rows] == models
    assert {row["revision"] for row in rows} == {COMMIT}
    assert [row["dim"] for row in rows] == [48, 64, 64]
    assert {row["tiles"] for row in rows} == {9}
    assert all(-1 <= row["score"] <= 1 for row in rows)
    west, south, east, north = rows[0]["bbox"]
    assert -74.1 < west < east < -73.9
    assert 40.6 < south < north < 40.8
    # Nothing but the cache was asked: the models lie there, their weights in several files.
    shards = list(tmp_path.glob("hub/models--*/snapshots/*/model*.safetensors"))
    assert len(shards) == 1 + 2 + 3
