"""Opening and reading rasters: small real files that rasterio writes, and what comes out."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from rasterio.transform import Affine, from_gcps, from_origin

from ngcg_cli.errors import RasterError, UsageError
from ngcg_cli.raster import Raster, TileSize, Window, find_rasters
from ngcg_cli.raster import bands as to_rgb
from ngcg_cli.raster.tiles import MAX_WINDOWS, Grid

UTM = CRS.from_epsg(32618)
QUICK = settings(derandomize=True, max_examples=60, deadline=None)


def write(path: Path, data: np.ndarray, *, mask=None, colours=None, **profile) -> str:
    """A GeoTIFF of `data` (bands, h, w), 1 m pixels in UTM unless told otherwise."""
    options = {
        "driver": "GTiff",
        "count": data.shape[0],
        "height": data.shape[1],
        "width": data.shape[2],
        "dtype": data.dtype,
        "crs": UTM,
        "transform": from_origin(500_000, 4_650_000, 1, 1),
        **profile,
    }
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "w", **options) as out:
        if colours:
            out.colorinterp = [ColorInterp[name] for name in colours]
        out.write(data)
        if mask is not None:
            out.write_mask(mask)
    return str(path)


def noise(*shape: int, dtype=np.uint8, low=1, high=250, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).integers(low, high, shape).astype(dtype)


def read_all(path: str, max_side: int | None = None) -> tuple[np.ndarray, float]:
    with Raster.open(path) as raster:
        return raster.read(Window(0, 0, raster.width, raster.height), max_side)


# Tile sizes and grids


@pytest.mark.parametrize("text", ["224px", "100m", "0.5m", "12.25m", "0.0000001m"])
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
    monkeypatch.setattr("ngcg_cli.raster.source.LATTICE_SIDE", 16)
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


# Opening


def test_missing_file_says_so(tmp_path):
    with pytest.raises(RasterError, match=r"gone\.tif.*No such file.*Check the path"):
        Raster.open(str(tmp_path / "gone.tif"))


def test_foreign_and_empty_files_are_refused(tmp_path):
    for content in (b"", b"not a raster\n", b"II*\x00\x08\x00\x00\x00\xff\xff"):
        path = tmp_path / "a.tif"
        path.write_bytes(content)
        with pytest.raises(RasterError, match="cannot be opened") as caught:
            Raster.open(path)
        assert caught.value.where == str(path)


def test_truncated_pixels_are_told_not_thrown(tmp_path, capfd):
    path = write(tmp_path / "a.tif", noise(3, 200, 200), compress="deflate", blockysize=50)
    os.truncate(path, os.path.getsize(path) // 2)
    with pytest.raises(RasterError) as caught:
        read_all(path)
    assert caught.value.where == path
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


def test_one_bad_block_leaves_the_others_readable(tmp_path):
    path = write(
        tmp_path / "a.tif", noise(1, 512, 512, dtype=np.uint16), tiled=True,
        blockxsize=128, blockysize=128, compress="deflate",
    )  # fmt: skip
    with rasterio.open(path) as dataset:
        offset = int(dataset.get_tag_item("BLOCK_OFFSET_3_3", "TIFF", bidx=1))
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(b"\xff" * 64)
    with Raster.open(path) as raster:
        image, valid = raster.read(Window(0, 0, 128, 128))
        assert valid == 1
        assert image.std() > 20
        with pytest.raises(RasterError, match=r"\[384, 384, 128, 128\]"):
            raster.read(Window(384, 384, 128, 128))


@pytest.mark.parametrize(
    ("profile", "reason"),
    [
        ({"crs": None}, "no coordinate reference system"),
        ({"transform": Affine.identity()}, "no georeference"),
        ({"crs": CRS.from_wkt('LOCAL_CS["site",UNIT["metre",1]]')}, "local"),
        ({"crs": CRS.from_proj4("+proj=eqc +R=3396190 +units=m")}, "not of the Earth"),
        ({"transform": from_origin(1e9, 1e9, 1, 1)}, "Earth"),
    ],
)
def test_rasters_without_a_place_on_the_earth_are_refused(tmp_path, profile, reason):
    path = write(tmp_path / "a.tif", noise(3, 10, 10), **profile)
    with pytest.raises(RasterError, match=reason) as caught:
        Raster.open(path)
    assert caught.value.where == path
    assert caught.value.hint


def test_header_that_claims_a_billion_rows(tmp_path):
    """A TIFF without pixels, placed by a side file: opening and counting must cost nothing."""
    tags = [(256, 4, 2048), (257, 4, 2**30), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 8)]
    tags += [(277, 3, 1), (278, 4, 2**30), (279, 4, 1)]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    head = struct.pack("<2sHI", b"II", 42, 8)
    path = tmp_path / "a.tif"
    path.write_bytes(head + struct.pack("<H", len(tags)) + entries + b"\0\0\0\0")
    srs = CRS.from_epsg(4326).to_wkt().replace('"', "&quot;")
    (tmp_path / "a.tif.aux.xml").write_text(
        f"<PAMDataset><SRS>{srs}</SRS><GeoTransform>-75,1e-8,0,45,0,-1e-8</GeoTransform>"
        "</PAMDataset>"
    )
    with Raster.open(path) as raster:
        assert raster.height == 2**30
        with pytest.raises(RasterError, match="tiles, more than"):
            raster.grid(TileSize.parse("64px"))


@pytest.mark.parametrize("spelled_out", [False, True])
def test_ground_control_points_are_warped(tmp_path, spelled_out):
    corners = [(0, 0, -75.0, 42.0), (0, 90, -74.9, 42.02), (60, 90, -74.89, 41.95)]
    corners += [(60, 0, -74.99, 41.93)]
    points = [GroundControlPoint(row, column, x, y) for row, column, x, y in corners]
    path = tmp_path / "a.tif"
    with rasterio.open(
        path, "w", driver="GTiff", count=3, width=90, height=60, dtype="uint8",
        crs="EPSG:4326", gcps=points,
    ) as out:  # fmt: skip
        out.write(np.full((3, 60, 90), 99, np.uint8))
    if spelled_out:
        # A VRT may hold an identity transform and a CRS of the pixels beside its points.
        source, path = path, tmp_path / "a.vrt"
        rasterio.shutil.copy(source, path, driver="VRT")
        text = path.read_text()
        extra = f"<SRS>{UTM.to_wkt()}</SRS><GeoTransform>0,1,0,0,0,1</GeoTransform>"
        path.write_text(text.replace("<GCPList", extra + "<GCPList", 1))
    with Raster.open(path) as raster:
        window = Window(0, 0, raster.width, raster.height)
        image, valid = raster.read(window)
        place = raster.footprints([window])
    assert 0.5 < valid < 0.95  # the corners that the turn leaves empty
    assert (image == 99).all()
    a, b, c, d, e, f = tuple(from_gcps(points))[:6]
    lon, lat = a * 45 + b * 30 + c, d * 45 + e * 30 + f
    assert place.lon[0] == pytest.approx(lon, abs=2e-3)
    assert place.lat[0] == pytest.approx(lat, abs=2e-3)


def test_gsd_is_true_metres(tmp_path):
    degrees = from_origin(10, 60.005, 1e-4, 1e-4)
    mercator = from_origin(0, 8_399_737.89 + 50, 1, 1)  # 60 degrees north
    for name, crs, transform, wanted in [
        ("utm.tif", UTM, from_origin(500_000, 4_650_000, 0.5, 0.25), (0.5002, 0.2501)),
        ("degrees.tif", CRS.from_epsg(4326), degrees, (5.58, 11.14)),
        ("mercator.tif", CRS.from_epsg(3857), mercator, (0.5013, 0.4996)),
        ("feet.tif", CRS.from_epsg(2263), from_origin(985_000, 200_000, 1, 1), (0.3048, 0.3048)),
    ]:
        path = write(tmp_path / name, noise(1, 100, 100), crs=crs, transform=transform)
        with Raster.open(path) as raster:
            assert raster.gsd == pytest.approx(wanted, rel=2e-3)
    with Raster.open(str(tmp_path / "degrees.tif")) as raster:
        first = raster.grid(TileSize.parse("200m"))[0]
    assert (first.width, first.height) == (36, 18)


def test_errors_of_the_grid_name_the_raster(tmp_path):
    path = write(tmp_path / "a.tif", noise(1, 10, 10))
    with Raster.open(path) as raster, pytest.raises(RasterError, match="smaller") as caught:
        raster.grid(TileSize.parse("0.5m"))
    assert caught.value.where == path


# Finding


def test_folders_are_searched_and_links_do_not_loop(tmp_path):
    inner = tmp_path / "b" / "c"
    inner.mkdir(parents=True)
    for name in ("z.tif", "b/A.TIFF", "b/c/m.vrt", "b/c/n.Jp2", "b/x.png", "b/.hidden.tif"):
        (tmp_path / name).touch()
    (inner / "loop").symlink_to(tmp_path)
    wanted = ["b/A.TIFF", "b/c/m.vrt", "b/c/n.Jp2", "z.tif"]
    assert find_rasters(str(tmp_path)) == [str(tmp_path / name) for name in wanted]


def test_other_sources_are_returned_as_they_are(tmp_path):
    for source in ("https://host/a.tif", "/vsizip/a.zip/b.tif", "gone.tif", "NETCDF:a.nc:t"):
        assert find_rasters(source) == [source]
    with pytest.raises(RasterError, match=r"holds no raster.*\*\.tif"):
        find_rasters(str(tmp_path))
