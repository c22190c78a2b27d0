"""A raster behind a web server: only the ranges that a window needs are fetched."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import range_server
import rasterio
from raster_files import noise, write
from rasterio.enums import Resampling
from samples import Ngcg

from ngcg_cli.errors import RasterError
from ngcg_cli.raster import Raster, Window

SIDE = 2048


def test_a_window_of_a_remote_cog_takes_a_small_share_of_it(tmp_path, address):
    pixels = noise(3, SIDE, SIDE)
    path = write(tmp_path / "a.tif", pixels, tiled=True, blockxsize=256, blockysize=256)
    with rasterio.open(path, "r+") as out:
        out.build_overviews([2, 4, 8], Resampling.average)
    size = Path(path).stat().st_size
    try:
        raster = Raster.open(f"{address}/a.tif")
    except RasterError:
        if not range_server.account(address)["asked"]:
            pytest.skip("this GDAL cannot fetch: it was built without curl")
        raise
    with raster:
        image, valid = raster.read(Window(1024, 1024, 224, 224))
        one = range_server.account(address)["sent"]
        whole, _ = raster.read(Window(0, 0, SIDE, SIDE), max_side=256)
    both = range_server.account(address)
    assert valid == 1
    assert np.array_equal(image, np.moveaxis(pixels[:, 1024:1248, 1024:1248], 0, -1))
    assert whole.shape == (256, 256, 3)
    assert one < 0.1 * size
    assert both["sent"] < 0.2 * size
    assert not any(path.endswith("/") for path in both["asked"])  # no list of the folder


def test_an_address_that_does_not_answer_says_to_check_it(address):
    with pytest.raises(RasterError) as told:
        Raster.open(f"{address}/gone.tif")
    if not range_server.account(address)["asked"]:
        pytest.skip("this GDAL cannot fetch: it was built without curl")
    assert told.value.what.endswith("HTTP response code: 404")
    assert told.value.hint == "Check the address, and that you may read it."


def test_a_side_file_of_a_local_raster_is_still_found(tmp_path):
    path = tmp_path / "a.tif"
    profile = {"driver": "GTiff", "count": 1, "width": 8, "height": 8, "dtype": "uint8"}
    with rasterio.open(path, "w", crs="EPSG:32618", **profile) as out:
        out.write(noise(1, 8, 8))
    (tmp_path / "a.TFW").write_text("1\n0\n0\n-1\n500000\n4650000\n")
    with Raster.open(path) as raster:
        assert raster.gsd == pytest.approx((1, 1), rel=1e-3)


def test_a_whole_index_run_over_http_fetches_each_byte_once(
    ngcg: Ngcg, tmp_path: Path, address: str, fake_backbone: Path
) -> None:
    path = write(
        tmp_path / "a.tif", noise(3, SIDE, SIDE), tiled=True, blockxsize=256, blockysize=256
    )
    args = ["index", f"{address}/a.tif", "--model", fake_backbone, "--tile", "512px", "--json"]
    done = ngcg(*args, "--index", "ix", "--overlap", "0.25")
    if done.status and not range_server.account(address)["asked"]:
        pytest.skip("this GDAL cannot fetch: it was built without curl")
    assert done.status == 0, done.err
    report = json.loads(done.out)
    assert (report["added"], report["sources"][0]["path"]) == (25, f"{address}/a.tif")
    sent = range_server.account(address)["sent"]
    assert sent < 1.1 * Path(path).stat().st_size

    again = ngcg(*args, "--index", "ix")
    assert json.loads(again.out)["sources"][0]["status"] == "unchanged"
    assert range_server.account(address)["sent"] - sent < 100_000  # its headers, at most

    local = ngcg("index", path, *args[2:], "--index", "local", "--overlap", "0.25")
    assert local.status == 0
    hits = [ngcg("query", "a pond", "--index", name, "-k", "25").rows for name in ("ix", "local")]
    assert [row["window"] for row in hits[0]] == [row["window"] for row in hits[1]]
