"""Damaged rasters of many kinds are read or refused; `bench/fuzz_rasters.py` goes on for longer."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from raster_cases import KINDS, damage, generate

from ngcg_cli.errors import RasterError
from ngcg_cli.raster import Raster, TileSize


@pytest.mark.slow
def test_damaged_rasters_are_read_or_refused(tmp_path_factory):
    files = generate(tmp_path_factory.mktemp("made"))
    assert len(files) > len(KINDS) // 2
    case = tmp_path_factory.mktemp("case") / "case.tif"
    endings = set()

    @settings(derandomize=True, max_examples=150, deadline=None, database=None)
    @given(st.sampled_from(files), st.integers(0, 2**32 - 1))
    def visit(source, seed):
        data = bytearray(source.read_bytes())
        damage(data, random.Random(seed))
        case.write_bytes(data)
        try:
            with Raster.open(case) as raster:
                windows = raster.grid(TileSize.parse("32px"), 0.25)[:3]
                assert not np.isinf(raster.footprints(windows).bbox).any()
                for window in windows:
                    image, valid = raster.read(window, 64)
                    assert image.dtype == np.uint8
                    assert 0 <= valid <= 1
            endings.add("read")
        except RasterError:
            endings.add("refused")

    visit()
    assert endings == {"read", "refused"}
