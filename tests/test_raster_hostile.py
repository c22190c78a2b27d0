"""Rasters that lie, lack or break: a place and pixels, or one clear reason."""

from __future__ import annotations

import os
import struct
import subprocess
import sys

import numpy as np
import pytest
import rasterio
from raster_cases import spoil_block
from raster_files import noise, write
from rasterio.rpc import RPC

from ngcg_cli.errors import RasterError
from ngcg_cli.raster import Raster, Window
from ngcg_cli.raster.files import raster_files


def test_a_sparse_raster_is_empty_where_nothing_was_written(tmp_path):
    path = tmp_path / "sparse.tif"
    options = {"tiled": True, "blockxsize": 256, "blockysize": 256, "sparse_ok": True}
    write(tmp_path / "dense.tif", noise(1, 32, 32))
    with rasterio.open(tmp_path / "dense.tif") as dense:
        profile = {**dense.profile, **options, "width": 20_480, "height": 20_480}
    with rasterio.open(path, "w", **profile) as out:
        out.write(noise(1, 256, 256), window=rasterio.windows.Window(512, 256, 256, 256))
    with Raster.open(path) as raster:
        assert raster.empty(Window(0, 0, 224, 224))
        assert raster.empty(Window(0, 256, 512, 256))
        assert not raster.empty(Window(511, 255, 2, 2))
        assert raster.read(Window(0, 0, 224, 224))[1] == 0
        image, valid = raster.read(Window(512, 256, 256, 256))
    assert valid == 1
    assert image.std() > 20


@pytest.mark.parametrize("suffix", ["tif", "vrt"])
def test_a_pipe_is_refused_and_never_waited_for(tmp_path, suffix):
    path = tmp_path / f"pipe.{suffix}"
    os.mkfifo(path)
    with pytest.raises(RasterError, match="pipe, socket or device"):
        Raster.open(path)
    assert raster_files(str(path)) == []


def test_a_folder_named_like_a_raster_and_a_loop_of_links_are_refused(tmp_path):
    (tmp_path / "folder.tif").mkdir()
    (tmp_path / "loop.tif").symlink_to(tmp_path / "loop.tif")
    for name in ("folder.tif", "loop.tif"):
        with pytest.raises(RasterError, match="cannot be opened"):
            Raster.open(tmp_path / name)


def test_a_raster_in_one_huge_block_is_refused(tmp_path):
    options = {"compress": "deflate", "tiled": True, "blockxsize": 64, "blockysize": 64}
    path = tmp_path / "a.tif"
    write(path, noise(1, 64, 64), **options)
    data = bytearray(path.read_bytes())
    directory = int.from_bytes(data[4:8], "little")
    count = int.from_bytes(data[directory : directory + 2], "little")
    for at in range(directory + 2, directory + 2 + 12 * count, 12):
        if int.from_bytes(data[at : at + 2], "little") in (256, 257, 322, 323):
            data[at + 2 : at + 12] = b"\x04\0\x01\0\0\0" + (40_000).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(RasterError, match="blocks of 40000 x 40000 pixels"):
        Raster.open(path)


def test_rpcs_place_a_raster(tmp_path):
    linear = [0.0] * 20
    sample, line, one = linear.copy(), linear.copy(), linear.copy()
    sample[1], line[2], one[0] = 1.0, -1.0, 1.0  # the 2nd is longitude, the 3rd latitude
    rpc = RPC(
        height_off=120.0, height_scale=500.0, lat_off=42.0, lat_scale=0.05, line_off=50.0,
        line_scale=50.0, long_off=-75.0, long_scale=0.1, samp_off=50.0, samp_scale=50.0,
        line_den_coeff=one, line_num_coeff=line, samp_den_coeff=one, samp_num_coeff=sample,
    )  # fmt: skip
    path = tmp_path / "a.tif"
    with rasterio.open(
        path, "w", driver="GTiff", count=3, width=100, height=100, dtype="uint8", rpcs=rpc
    ) as out:
        out.write(np.full((3, 100, 100), 99, np.uint8))
    with Raster.open(path) as raster:
        window = Window(0, 0, raster.width, raster.height)
        place = raster.footprints([window])
        image, valid = raster.read(window)
    assert place.bbox[0] == pytest.approx([-75.1, 41.95, -74.9, 42.05], abs=5e-3)
    assert valid > 0.9
    assert (image == 99).all()


# What C libraries write to a stderr that no test runner has its hands on.
OPEN = """
import sys
from ngcg_cli.raster import Raster
for path in sys.argv[1:]:
    try:
        Raster.open(path)
    except Exception as error:
        print(repr(error))
"""


def test_what_gdal_and_libtiff_say_reaches_the_error_alone(tmp_path):
    binary = tmp_path / "binary.vrt"
    band = b'<VRTRasterBand dataType="B\xff\xfeyte" band="1"/>'
    head = b'<?xml version="1.0" encoding="latin1"?><VRTDataset rasterXSize="9" rasterYSize="9">'
    binary.write_bytes(head + band + b"</VRTDataset>")
    seek = tmp_path / "seek.tif"
    seek.write_bytes(struct.pack("<2sHHHQ", b"II", 43, 8, 0, 2**62).ljust(64, b"\0"))
    command = [sys.executable, "-c", OPEN, binary, seek]
    told = subprocess.run(command, capture_output=True, text=True, check=True)
    assert told.stderr == ""
    assert told.stdout.count("RasterError") == 2
    assert "B\ufffd\ufffdyte" in told.stdout


def test_the_data_of_another_proj_do_not_matter(tmp_path):
    path = write(tmp_path / "a.tif", noise(1, 8, 8), crs="EPSG:2263")
    elsewhere = dict.fromkeys(("PROJ_DATA", "PROJ_LIB", "GDAL_DATA"), str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-c", OPEN, path], env={**os.environ, **elsewhere}, capture_output=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_windows_beside_an_unreadable_block_are_read(tmp_path):
    path = write(
        tmp_path / "a.tif", noise(3, 256, 256), tiled=True, blockxsize=128, blockysize=128,
        compress="deflate",
    )  # fmt: skip
    spoil_block(path, 0, 0)
    with Raster.open(path) as raster:
        for _ in range(2):
            with pytest.raises(RasterError, match="cannot be read"):
                raster.read(Window(0, 0, 128, 128))
            assert raster.read(Window(128, 0, 128, 128))[1] == 1
