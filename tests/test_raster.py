"""Reading rasters: small real files that rasterio writes, and the pixels that come out."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from hypothesis import given, settings
from hypothesis import strategies as st
from raster_files import UTM, noise, read_all, write
from rasterio.transform import from_origin

from ngcg_cli.errors import RasterError
from ngcg_cli.raster import Raster, TileSize, Window
from ngcg_cli.raster import bands as to_rgb

QUICK = settings(derandomize=True, max_examples=60, deadline=None)


# Bands


@pytest.mark.parametrize(
    ("tags", "colours", "alpha"),
    [
        (["gray"], (1,), None),
        (["palette"], (1,), None),
        (["alpha"], (1,), None),
        (["gray", "alpha"], (1,), 2),
        (["gray", "undefined"], (1,), None),
        (["red", "green", "blue"], (1, 2, 3), None),
        (["blue", "green", "red", "undefined"], (3, 2, 1), None),
        (["alpha", "undefined", "red", "green", "blue"], (3, 4, 5), 1),
        (["undefined"] * 7, (1, 2, 3), None),
        (["gray", "undefined", "undefined", "alpha"], (1, 2, 3), 4),
        (["alpha", "undefined", "undefined", "undefined"], (2, 3, 4), 1),
    ],
)
def test_bands_are_chosen_by_colour_interpretation(tags, colours, alpha):
    assert to_rgb.choose_bands(tags) == (colours, alpha)


def test_rgb_passes_unchanged_wherever_its_bands_lie(tmp_path):
    data = noise(4, 20, 30)
    path = write(tmp_path / "a.tif", data, colours=["blue", "undefined", "green", "red"])
    image, valid = read_all(path)
    assert valid == 1
    np.testing.assert_array_equal(image, np.moveaxis(data[[3, 2, 0]], 0, -1))


def test_bands_are_taken_by_what_the_file_calls_them(tmp_path):
    data = noise(4, 20, 30)
    path = write(tmp_path / "a.tif", data, photometric="rgb")
    with rasterio.open(path, "r+") as dataset:
        dataset.descriptions = ("Blue", "Green", "Red ", "nir")
    image, _ = read_all(path)
    np.testing.assert_array_equal(image, np.moveaxis(data[[2, 1, 0]], 0, -1))
    # The fourth band is tagged as opacity, and called a colour: it is that.
    assert to_rgb.choose_bands(
        ["red", "green", "blue", "alpha"], ["nir", "red", "green", "blue"]
    ) == ((2, 3, 4), None)


@pytest.mark.parametrize(("photometric", "told"), [("minisblack", 1), ("rgb", 0)])
def test_a_guess_which_bands_are_colours_is_told(tmp_path, photometric, told):
    path = write(tmp_path / "a.tif", noise(5, 80, 80), photometric=photometric)
    with Raster.open(path) as raster:
        doubts = raster.doubts(TileSize.parse("80px"))
    assert sum("which of its 5 bands are red, green and blue" in one for one in doubts) == told


def test_window_is_the_one_asked_for(tmp_path):
    data = noise(3, 40, 50)
    with Raster.open(write(tmp_path / "a.tif", data)) as raster:
        image, _ = raster.read(Window(7, 11, 20, 10))
    np.testing.assert_array_equal(image, np.moveaxis(data[:, 11:21, 7:27], 0, -1))


def test_one_band_becomes_grey(tmp_path):
    data = noise(1, 20, 30)
    image, _ = read_all(write(tmp_path / "a.tif", data))
    np.testing.assert_array_equal(image, np.repeat(data[0][..., None], 3, axis=-1))


def test_opacity_masks_and_near_infrared_tagged_as_alpha_does_not(tmp_path):
    data = noise(4, 64, 64)
    tags = ["red", "green", "blue", "alpha"]
    data[3, 10:20] = 0  # dark water in the near infrared
    image, valid = read_all(write(tmp_path / "nir.tif", data, colours=tags))
    assert valid == 1
    np.testing.assert_array_equal(image, np.moveaxis(data[:3], 0, -1))

    data[3] = 255
    data[3, :16] = 0
    image, valid = read_all(write(tmp_path / "alpha.tif", data, colours=tags))
    assert valid == 0.75
    np.testing.assert_array_equal(image[16:], np.moveaxis(data[:3, 16:], 0, -1))


def test_grey_with_alpha(tmp_path):
    data = noise(2, 20, 20)
    data[1] = 255
    data[1, :, :5] = 0
    image, valid = read_all(write(tmp_path / "a.tif", data, colours=["gray", "alpha"]))
    assert valid == 0.75
    np.testing.assert_array_equal(image[:, 5:, 2], data[0, :, 5:])


def test_masked_pixels_take_the_mean_of_the_others(tmp_path):
    data = noise(3, 20, 20)
    mask = np.full((20, 20), 255, np.uint8)
    mask[:4] = 0
    data[:, :4] = 255
    image, valid = read_all(write(tmp_path / "a.tif", data, mask=mask))
    assert valid == 0.8
    mean = np.rint(data[:, 4:].mean(axis=(1, 2)))
    np.testing.assert_array_equal(image[:4], np.broadcast_to(mean, (4, 20, 3)))
    np.testing.assert_array_equal(image[4:], np.moveaxis(data[:, 4:], 0, -1))


def test_nodata_masks_only_where_every_band_has_it(tmp_path):
    data = noise(3, 10, 10)
    data[:, 0, 0] = 255
    data[:2, 5, 5] = 255  # bright, and real: its blue is not nodata
    image, valid = read_all(write(tmp_path / "a.tif", data, nodata=255))
    assert valid == 0.99
    np.testing.assert_array_equal(image[5, 5], data[:, 5, 5])
    assert image[0, 0].max() < 255


def test_without_any_data_the_image_is_mid_grey(tmp_path):
    for name, data in [
        ("zeros.tif", np.zeros((3, 8, 8), np.uint16)),
        ("nan.tif", np.full((1, 8, 8), np.nan, np.float32)),
    ]:
        nodata = 0 if data.dtype == np.uint16 else None
        image, valid = read_all(write(tmp_path / name, data, nodata=nodata))
        assert valid == 0
        assert (image == 128).all()


def test_palette_is_expanded_and_averaged_as_colours(tmp_path):
    path = tmp_path / "a.tif"
    indices = np.zeros((1, 60, 60), np.uint8)
    indices[0, :, 1::2] = 7
    indices[0, :30] = 9
    with rasterio.open(
        path, "w", driver="GTiff", count=1, height=60, width=60, dtype="uint8", crs=UTM,
        transform=from_origin(500_000, 0, 1, 1), photometric="palette",
    ) as out:  # fmt: skip
        out.write(indices)
        out.write_colormap(1, {0: (200, 0, 0, 255), 7: (0, 100, 0, 255), 9: (0, 0, 50, 255)})
    image, valid = read_all(str(path))
    assert valid == 1
    assert [tuple(image[40, 0]), tuple(image[40, 1])] == [(200, 0, 0), (0, 100, 0)]
    small, _ = read_all(str(path), max_side=15)
    assert small.shape == (15, 15, 3)
    assert tuple(small[0, 0]) == (0, 0, 50)
    assert tuple(small[14, 3]) == (100, 50, 0)  # stripes: a blend of both


# Values to 8 bits


@pytest.mark.parametrize("dtype", ["int16", "uint16", "int64", "float32", "float64", "complex64"])
def test_other_types_are_stretched_between_percentiles(tmp_path, dtype):
    data = noise(3, 50, 60, low=0, high=10_000).astype(dtype)
    image, valid = read_all(write(tmp_path / "a.tif", data))
    assert valid == 1
    for band in range(3):
        plain = np.abs(data[band]).astype(float)
        low, high = np.percentile(plain, [2, 98])
        wanted = np.clip((plain - low) / (high - low), 0, 1) * 255
        assert np.abs(image[..., band] - wanted).max() <= 0.51


def test_complex_integers_are_shown_by_their_magnitude(tmp_path):
    stored = (noise(1, 20, 30) + 1j * noise(1, 20, 30, seed=1)).astype("complex64")
    image, _ = read_all(write(tmp_path / "a.tif", stored, dtype="complex_int16"))
    same, _ = read_all(write(tmp_path / "b.tif", stored))
    np.testing.assert_array_equal(image, same)
    two = np.concatenate([stored, stored, stored])
    mixed = write(tmp_path / "c.tif", two, dtype="complex_int16")
    assert read_all(mixed)[1] == 1


def test_the_stretch_is_the_same_for_every_window(tmp_path):
    data = noise(1, 60, 60, low=0, high=1000).astype(np.uint16)
    data[:, :, 30:] += 3000
    path = write(tmp_path / "a.tif", data)
    whole, _ = read_all(path)
    with Raster.open(path) as raster:
        right, _ = raster.read(Window(30, 0, 30, 60))
    np.testing.assert_array_equal(right, whole[:, 30:])
    assert right.min() > whole[:, :30].max()


def test_a_large_raster_is_sampled_by_a_lattice(tmp_path, monkeypatch):
    data = noise(1, 400, 500, low=0, high=60_000).astype(np.uint16)
    path = write(tmp_path / "a.tif", data)
    exact, _ = read_all(path)
    monkeypatch.setattr("ngcg_cli.raster.source.SAMPLE_PIXELS", 1000)
    monkeypatch.setattr("ngcg_cli.raster.sampling.LATTICE_SIDE", 16)
    sampled, _ = read_all(path)
    assert (exact != sampled).any()
    assert np.abs(exact.astype(int) - sampled).max() <= 4

    island = np.zeros((1, 400, 500), np.uint16)
    island[:, 0:3, 0:4] = 500
    island[:, 0:3, 2:4] = 900
    path = write(tmp_path / "island.tif", island, nodata=0)
    image, valid = read_all(path)
    assert valid == pytest.approx(12 / 200_000)
    assert set(image[:3, :4].ravel()) == {0, 255}


def test_nan_infinity_and_nodata_neither_show_nor_stretch(tmp_path):
    data = noise(3, 40, 40, low=0, high=100).astype(np.float32)
    clean, _ = read_all(write(tmp_path / "clean.tif", data[:, 2:]))
    data[:, 0, :10], data[:, 0, 10:20], data[:, 0, 20:30] = np.nan, np.inf, -np.inf
    data[:, 0, 30:] = -3.4028234663852886e38
    data[:, 1] = np.nan
    image, valid = read_all(write(tmp_path / "a.tif", data, nodata=-3.4028234663852886e38))
    assert valid == 0.95
    np.testing.assert_array_equal(image[2:], clean)


@pytest.mark.parametrize(
    ("dtype", "value"),
    [("uint16", 0), ("uint16", 65535), ("float32", -5.5), ("float64", 1e300), ("int32", -(2**31))],
)
def test_a_constant_raster_is_mid_grey(tmp_path, dtype, value):
    image, valid = read_all(write(tmp_path / "a.tif", np.full((1, 9, 9), value, dtype)))
    assert valid == 1
    assert set(image.ravel()) <= {127, 128}


def test_one_bit_masks_become_black_and_white(tmp_path):
    data = np.zeros((1, 16, 16), np.uint8)
    data[:, 4:] = 1
    image, _ = read_all(write(tmp_path / "a.tif", data, nbits=1))
    assert set(image[:4].ravel()) == {0}
    assert set(image[4:].ravel()) == {255}


@QUICK
@given(st.lists(st.floats(allow_nan=True, allow_infinity=True, width=64), min_size=1, max_size=30))
def test_stretch_is_monotone_and_uses_the_whole_range(numbers):
    values = np.array(numbers)[None, None]
    held = values[np.isfinite(values)]
    out = to_rgb.stretch(values, [to_rgb.value_range(held)])
    finite = np.isfinite(values)
    order = np.argsort(values[finite], kind="stable")
    assert (np.diff(out[finite][order].astype(int)) >= 0).all()
    if held.size and held.min() / 2 < held.max() / 2:
        assert out[finite].min() == 0
        assert out[finite].max() == 255


@QUICK
@given(st.integers(0, 2**32 - 1), st.sampled_from([None, 0.0, 3.0, -9999.0, float("nan")]))
def test_masks_agree_with_gdals_dataset_mask(seed, nodata):
    data = np.random.default_rng(seed).integers(0, 4, (3, 6, 7)).astype(np.float32)
    options = {"driver": "GTiff", "count": 3, "height": 6, "width": 7, "dtype": "float32"}
    options |= {"crs": UTM, "transform": from_origin(500_000, 0, 1, 1), "nodata": nodata}
    with rasterio.MemoryFile() as memory:
        with memory.open(**options) as f:
            f.write(data)
        with memory.open() as f:
            wanted = f.dataset_mask() > 0
    np.testing.assert_array_equal(to_rgb.holds_data(data, [nodata] * 3), wanted)


# Reading at a smaller size


def test_large_windows_are_averaged_down(tmp_path):
    data = noise(3, 300, 600)
    with Raster.open(write(tmp_path / "a.tif", data)) as raster:
        image, _ = raster.read(Window(0, 0, 600, 300), max_side=60)
        same, _ = raster.read(Window(0, 0, 60, 30), max_side=60)
    blocks = data.reshape(3, 30, 10, 60, 10).mean(axis=(2, 4))
    assert image.shape == (30, 60, 3)
    assert np.abs(image - np.moveaxis(blocks, 0, -1)).max() <= 1
    np.testing.assert_array_equal(same, np.moveaxis(data[:, :30, :60], 0, -1))


def test_averaging_leaves_masked_pixels_out(tmp_path):
    data = np.full((3, 100, 100), 200, np.uint8)
    data[:, :, :50] = 0
    for name, extra in [
        ("nodata.tif", {"nodata": 0}),
        ("mask.tif", {"mask": np.where(data[0] > 0, 255, 0).astype(np.uint8)}),
    ]:
        image, valid = read_all(write(tmp_path / name, data, **extra), max_side=7)
        assert (image == 200).all()
        assert 0.4 < valid < 0.6


def test_thin_windows_keep_a_pixel(tmp_path):
    with Raster.open(write(tmp_path / "a.tif", noise(3, 2, 400))) as raster:
        image, _ = raster.read(Window(0, 0, 400, 1), max_side=20)
    assert image.shape == (1, 20, 3)


@pytest.mark.parametrize(
    "window", [Window(-1, 0, 5, 5), Window(6, 0, 5, 5), Window(0, 6, 5, 5), Window(0, 0, 0, 5)]
)
def test_windows_outside_are_refused(tmp_path, window):
    with (
        Raster.open(write(tmp_path / "a.tif", noise(3, 10, 10))) as raster,
        pytest.raises(RasterError, match="not within"),
    ):
        raster.read(window)
