"""Tile sizes, and the grid of windows that covers a raster."""

from __future__ import annotations

from itertools import groupby, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ngcg_cli.errors import RasterError, UsageError
from ngcg_cli.raster import TileSize, Window
from ngcg_cli.raster.tiles import MAX_WINDOWS, Grid, Pyramid

QUICK = settings(derandomize=True, max_examples=60, deadline=None)


# Tile sizes and grids


@pytest.mark.parametrize("text", ["224px", "100m", "0.5m", "12.25m", "0.0000001m", "auto"])
def test_tile_size_round_trips(text):
    assert str(TileSize.parse(text)) == text


@QUICK
@given(st.floats(1e-6, 1e12))
def test_tile_size_of_any_metres_round_trips(value):
    assert TileSize.parse(str(TileSize(value, "m"))) == TileSize(value, "m")


@pytest.mark.parametrize(
    "text", ["", "224", "px", "-5m", "0m", "0px", "1.5px", "10km", "1e3m", "nanm", "infm", "2 2m"]
)
def test_bad_tile_size_is_quoted_with_an_example(text):
    with pytest.raises(UsageError) as caught:
        TileSize.parse(text)
    assert repr(text) in str(caught.value)
    assert "224px" in str(caught.value)
    assert "100m" in str(caught.value)


def test_tile_in_metres_becomes_pixels_of_each_axis():
    assert TileSize.parse("100m").pixels((0.5, 2.0)) == (200, 50)
    assert TileSize.parse("64px").pixels((0.5, 2.0)) == (64, 64)
    with pytest.raises(RasterError, match="smaller than a pixel"):
        TileSize.parse("1m").pixels((0.5, 2.0))


@pytest.mark.parametrize(
    ("gsd", "pixels"),
    [
        ((0.5, 0.5), (200, 200)),
        ((0.5, 2.0), (200, 100)),  # 50 pixels high would be too few
        ((10.0, 10.0), (100, 100)),
        ((500.0, 500.0), (100, 100)),  # larger than 100 m, and no error
        ((1e-12, 1e300), (10**9, 100)),
    ],
)
def test_auto_is_a_hundred_metres_and_at_least_a_hundred_pixels(gsd, pixels):
    assert TileSize.parse(" Auto").pixels(gsd) == pixels


@QUICK
@given(
    width=st.integers(1, 90),
    height=st.integers(1, 90),
    tile=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    overlap=st.floats(0, 0.9),
)
def test_grid_covers_every_pixel_inside_without_duplicates(width, height, tile, overlap):
    windows = Grid(width, height, tile, overlap)
    covered = np.zeros((height, width), bool)
    for column, row, w, h in windows:
        assert (w, h) == (min(tile[0], width), min(tile[1], height))
        assert column >= 0
        assert row >= 0
        assert column + w <= width
        assert row + h <= height
        covered[row : row + h, column : column + w] = True
    assert covered.all()
    assert len(set(windows)) == len(windows)
    assert list(windows) == sorted(windows, key=lambda window: (window.row, window.column))


def test_grid_steps_by_the_overlap_and_moves_the_last_window_inward():
    assert [w.column for w in Grid(250, 100, (100, 100), 0.25)] == [0, 75, 150]
    assert [w.column for w in Grid(260, 100, (100, 100), 0.25)] == [0, 75, 150, 160]
    assert list(Grid(50, 30, (100, 100))) == [Window(0, 0, 50, 30)]


def test_grid_is_indexed_and_sliced_like_a_list():
    windows = Grid(260, 150, (100, 100), 0.25)
    listed = list(windows)
    assert len(windows) == len(listed) == 8
    assert [windows[place] for place in range(-8, 8)] == 2 * listed
    assert windows[3:6] == listed[3:6]
    assert windows[::-3] == listed[::-3]
    for place in (8, -9):
        with pytest.raises(IndexError):
            windows[place]


@pytest.mark.parametrize("overlap", [-0.1, 0.91, float("nan")])
def test_overlap_out_of_range_is_refused(overlap):
    with pytest.raises(UsageError, match=str(overlap)):
        Grid(10, 10, (5, 5), overlap)


def test_absurd_grid_is_refused_before_it_is_made():
    with pytest.raises(RasterError, match=f"{MAX_WINDOWS:,}"):
        Grid(2**40, 2**40, (64, 64))


@pytest.mark.parametrize(
    ("size", "gsd", "levels"),
    [
        ((4800, 4800), 1.0, [(100, 4096), (300, 441), (900, 49)]),
        ((10_000, 10_000), 3.0, [(100, 17_689), (300, 2_025)]),  # 300 m are 100 pixels here
        ((10_000, 10_000), 10.0, [(100, 17_689)]),  # a kilometre: there is no coarser one
        ((2_000, 2_000), 0.5, [(200, 169), (600, 25)]),
        ((100, 100), 1.0, [(100, 1)]),
    ],
)
def test_auto_is_a_pyramid_of_at_most_a_seventh_more_tiles(size, gsd, levels):
    auto, pixels = TileSize.parse("auto"), (gsd, gsd)
    windows = Pyramid(*size, auto.pixels(pixels), auto.coarser(pixels), 0.25)
    assert [(side, len(list(own))) for side, own in groupby(w.width for w in windows)] == levels
    assert len(windows) <= 1.15 * levels[0][1]
    assert windows[0] == Window(0, 0, levels[0][0], levels[0][0])
    assert windows[-1] == list(windows)[-1]
    for side, _ in levels:
        own = [w for w in windows if w.width == side]
        assert {w.column for w in own} == {w.row for w in own}
        edges = sorted({w.column for w in own})
        assert (edges[0], edges[-1] + side) == (0, size[0])
        assert all(after - before <= side for before, after in pairwise(edges))
    with pytest.raises(IndexError):
        windows[len(windows)]


def test_tiles_of_one_size_have_no_coarser_ones():
    assert TileSize.parse("100m").coarser((0.5, 0.5)) == []
    assert list(Pyramid(260, 150, (100, 100), [], 0.25)) == list(Grid(260, 150, (100, 100), 0.25))
