"""An index survives SIGKILL at any moment. `bench/kill_thirty.py` tells the longer story."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from killing import tell_kills
from samples import write_raster


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_killed_index_answers_and_the_next_run_finishes_it(
    tmp_path: Path, fake_backbone: Path
) -> None:
    for seed in range(4):
        write_raster(tmp_path / "rasters" / f"{seed}.tif", seed, west=500_000.0 + 500 * seed)
    story = tell_kills(tmp_path / "rasters", fake_backbone, tmp_path, 4, seed=4)
    assert story.kills == 4
    assert story.finished >= 1
    assert story.partial >= 1
