"""What the tags of a raster say of its picture: white, bands, nodata, pages, and its date."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
from raster_files import GEO, noise, read_all, write

from ngcg_cli.raster import Raster, Window


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_zero_is_white_or_black_the_picture_is_one(tmp_path, bits):
    kind = np.uint16 if bits > 8 else np.uint8
    most = 2**bits - 1
    dark = (noise(1, 64, 64, high=200, dtype=np.float64) / 255 * most).round().astype(kind)
    profile = {} if bits in (8, 16) else {"nbits": bits}
    black = read_all(write(tmp_path / "b.tif", dark, **profile))[0].astype(int)
    white = write(tmp_path / "w.tif", most - dark, photometric="miniswhite", **profile)
    assert np.abs(read_all(white)[0] - black).max() <= 1


def test_bands_of_different_types_are_read_together(tmp_path):
    path = tmp_path / "a.vrt"
    names = [write(tmp_path / f"{n}.tif", noise(1, 64, 64, dtype=t, seed=n))
             for n, t in enumerate((np.uint8, np.int16, np.float32))]  # fmt: skip
    kinds = ("Byte", "Int16", "Float32")
    bands = "".join(
        f'<VRTRasterBand dataType="{kind}" band="{number}"><SimpleSource><SourceFilename>{name}'
        "</SourceFilename><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand>"
        for number, (name, kind) in enumerate(zip(names, kinds, strict=True), 1)
    )
    path.write_text(f'<VRTDataset rasterXSize="64" rasterYSize="64">{GEO}{bands}</VRTDataset>')
    image, valid = read_all(str(path))
    assert valid == 1
    assert (image.std(axis=(0, 1)) > 40).all()


def test_a_nodata_value_of_all_bands_together_masks(tmp_path):
    data = noise(3, 64, 64, low=5)
    data[:, :32] = 0
    data[0, 40:] = 0
    path = write(tmp_path / "a.tif", data)
    with rasterio.open(path, "r+") as out:
        out.update_tags(NODATA_VALUES="0 0 0")
    assert read_all(path)[1] == 0.5


def test_undeclared_fill_and_further_pages_are_told(tmp_path):
    data = noise(3, 64, 64)
    data[:, :16] = 0
    path = write(tmp_path / "a.tif", data)
    with Raster.open(path) as raster:
        assert raster.complaints() == []
        raster.read(Window(0, 0, 64, 64))
        (told,) = raster.complaints()
    assert "25% of its pixels are 0 in every band" in told
    with Raster.open(write(tmp_path / "b.tif", data, nodata=0)) as raster:
        raster.read(Window(0, 0, 64, 64))
        assert raster.complaints() == []
    opaque = np.where(data[:1] == 0, 0, 9000).astype("int16")
    behind = np.concatenate([data.astype("int16"), opaque])
    tags = ["red", "green", "blue", "alpha"]
    with Raster.open(write(tmp_path / "c.tif", behind, colours=tags)) as raster:
        assert raster.read(Window(0, 0, 64, 64))[1] == 0.75
        assert raster.complaints() == []
    from PIL import Image

    pages = [Image.fromarray(noise(64, 64, seed=n)) for n in range(3)]
    pages[0].save(tmp_path / "p.tif", save_all=True, append_images=pages[1:])
    (tmp_path / "p.tfw").write_text("1\n0\n0\n-1\n500000.5\n4649999.5\n")
    crs = '<PAMDataset><SRS dataAxisToSRSAxisMapping="1,2">EPSG:32618</SRS></PAMDataset>'
    (tmp_path / "p.tif.aux.xml").write_text(crs)
    with Raster.open(tmp_path / "p.tif") as raster:
        (told,) = raster.complaints()
    assert told.startswith(
        f"of its 3 pages the first is read; name another as GTIFF_DIR:2:{tmp_path}"
    )


@pytest.mark.parametrize(
    ("name", "tags", "wanted"),
    [
        ("a.tif", {"TIFFTAG_DATETIME": "2019:07:04 10:20:30"}, "2019-07-04T10:20:30"),
        ("a.tif", {"DATE_ACQUIRED": "2019-07-04", "TIFFTAG_DATETIME": "2021:01:01 00:00:00"},
         "2019-07-04"),
        ("a.tif", {"ns": "IMAGERY", "ACQUISITIONDATETIME": "2019-07-04 10:20:30"},
         "2019-07-04T10:20:30"),
        ("a_20190704.tif", {"TIFFTAG_DATETIME": "yesterday"}, "2019-07-04"),
        ("LC08_L1TP_193027_20200515_20200527.tif", {}, "2020-05-15"),
        ("S2A_20190704T102021_B02.tif", {}, "2019-07-04T10:20:21"),
        ("2019-07-04.tif", {}, "2019-07-04"),
        ("tile_19999999_12345678.tif", {}, None),
        ("orto.tif", {}, None),
    ],
)  # fmt: skip
def test_when_the_picture_was_taken(tmp_path, name, tags, wanted):
    path = write(tmp_path / name, noise(1, 8, 8))
    with rasterio.open(path, "r+") as out:
        out.update_tags(**tags)
    with Raster.open(path) as raster:
        assert raster.acquired == wanted
