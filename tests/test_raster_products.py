"""Satellite products that are a file for each band: one picture of each is indexed."""

from __future__ import annotations

import logging
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from journey_samples import Index, told
from raster_files import noise, read_all, write

from ngcg_cli.errors import RasterError
from ngcg_cli.journeys.finding import Choice, find, gone_under
from ngcg_cli.raster import find_rasters
from ngcg_cli.raster.find import passed_over
from ngcg_cli.raster.products import pictures
from ngcg_cli.search import SourceRecord
from ngcg_cli.search.match import matching

COMPACT = "T32TQM_20200101T101411"
GRANULE = f"S2A_MSIL2A_20200101T101411_N0213_R022_T32TQM_20200101T114500.SAFE/GRANULE/{COMPACT}"
OLD = "S2A_OPER_MSI_L1C_TL_SGS__20151024T023555_A001758_T53JLJ_N01.04"
LANDSAT = "LC08_L2SP_193024_20200101_20200823_02_T1"


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def chosen(folder: Path) -> tuple[list[str], dict[str, str]]:
    """The rasters that are indexed and the products that fail, by their paths below a folder."""
    found = pictures(find_rasters(str(folder)))
    return [str(Path(path).relative_to(folder)) for path in found.paths], {
        str(Path(name).relative_to(folder)): str(error) for name, error in found.failed.items()
    }


def level_2a(end: str = ".jp2") -> list[str]:
    """Files of a product of level 2A, at three resolutions."""
    return [
        f"{GRANULE}/IMG_DATA/R{side}m/{COMPACT}_{band}_{side}m{end}"
        for side in (10, 20, 60)
        for band in ("AOT", "B02", "B03", "B04", "TCI", "WVP")
    ]


def test_of_sentinel_2_the_finest_true_colour_image_is_taken(tmp_path, caplog):
    touch(
        tmp_path,
        *level_2a(),
        f"{GRANULE}/IMG_DATA/R20m/{COMPACT}_SCL_20m.jp2",
        f"{GRANULE}/QI_DATA/MSK_CLDPRB_20m.jp2",
        f"{GRANULE}/QI_DATA/{COMPACT}_PVI.jp2",
        "other.tif",
    )
    wanted = f"{GRANULE}/IMG_DATA/R10m/{COMPACT}_TCI_10m.jp2"
    with caplog.at_level(logging.INFO):
        found = find([str(tmp_path), str(tmp_path / GRANULE)], {}, Choice())
    assert found.paths == [str(tmp_path / wanted), str(tmp_path / "other.tif")]
    assert not found.failed
    (line,) = caplog.messages
    assert "products: 1, one picture of each" in line
    assert "left out: 20, name one" in line
    touch(tmp_path / GRANULE.partition("/")[0], "manifest.safe")
    assert not passed_over(str(tmp_path))
    # A folder inside of it, and another level of resolution alone.
    assert chosen(tmp_path / GRANULE)[0] == [f"IMG_DATA/R10m/{COMPACT}_TCI_10m.jp2"]
    assert chosen(tmp_path / GRANULE / "IMG_DATA/R20m")[0] == [f"{COMPACT}_TCI_20m.jp2"]


def test_other_namings_of_sentinel_2(tmp_path):
    touch(tmp_path, *level_2a(".tif"))
    for tile in ("T32TQM", "T32TQN"):  # level 1C, two products in one folder without their own
        touch(tmp_path / "flat", *(f"{tile}_20200101T101411_{band}.jp2" for band in ("B8A", "TCI")))
    touch(tmp_path, "L2A_T32TQM_20170101T101411_B02_10m.jp2")
    touch(tmp_path, "L2A_T32TQM_20170101T101411_TCI_10m.jp2")
    assert chosen(tmp_path)[0] == [
        "L2A_T32TQM_20170101T101411_TCI_10m.jp2",
        f"{GRANULE}/IMG_DATA/R10m/{COMPACT}_TCI_10m.tif",
        "flat/T32TQM_20200101T101411_TCI.jp2",
        "flat/T32TQN_20200101T101411_TCI.jp2",
    ]


def test_sentinel_2_without_a_true_colour_image_says_what_to_do(tmp_path):
    granule = f"S2A_OPER_PRD_MSIL1C_PDMC_20151024T023555.SAFE/GRANULE/{OLD}"
    bands = ("B01", "B02", "B03", "B04", "B8A")
    touch(tmp_path, *(f"{granule}/IMG_DATA/{OLD[:-7]}_{band}.jp2" for band in bands))
    paths, failed = chosen(tmp_path)
    assert not paths
    assert list(failed) == [granule]
    start = tmp_path / granule / "IMG_DATA" / OLD[:-7]
    assert f"gdalbuildvrt -separate {start}_RGB.vrt {start}_B{{04,03,02}}.jp2" in failed[granule]


@pytest.mark.parametrize(
    ("scene", "bands", "visible"),
    [
        (LANDSAT, "SR_B2 SR_B3 SR_B4 SR_B5 ST_B10 ST_QA QA_PIXEL SR_QA_AEROSOL", "SR_B{4,3,2}"),
        ("LC09_L1TP_193024_20220101_20220823_02_T1", "B2 B3 B4 B10 SAA VZA QA_RADSAT", "B{4,3,2}"),
        ("LE07_L1TP_193024_20020101_20200823_02_T1", "B1 B2 B3 B4 B6_VCID_1", "B{3,2,1}"),
        ("LT05_L2SP_193024_19900101_20200823_02_T2", "SR_B1 SR_B2 SR_B3 SR_B4 SR_CLOUD_QA"
         " SR_ATMOS_OPACITY", "SR_B{3,2,1}"),
        ("LC08_CU_001005_20200101_20210504_02", "SR_B2 SR_B3 SR_B4 QA_PIXEL", "SR_B{4,3,2}"),
        ("LM05_L1TP_193024_19900101_20200823_02_T2", "B1 B2 B3 B4", None),
        (LANDSAT, "SR_B3 SR_B4 SR_B5", None),
        ("LC08_L1TP_193024_20180101_20180823_01_T1", "sr_band2 sr_band3 sr_band4 pixel_qa"
         " sr_aerosol", "sr_band{4,3,2}"),
    ],
)  # fmt: skip
def test_a_scene_of_landsat_says_what_to_do(tmp_path, scene, bands, visible):
    touch(tmp_path, *(f"{scene}/{scene}_{band}.TIF" for band in bands.split()))
    touch(tmp_path, f"{scene}/{scene}_ndvi.tif")  # made by the user
    paths, failed = chosen(tmp_path)
    assert paths == [f"{scene}/{scene}_ndvi.tif"]
    assert list(failed) == [f"{scene}/{scene}"]
    command = f"{tmp_path}/{scene}/{scene}_{visible}.TIF"
    wanted = command if visible else "red, green and blue not among them. Name the file"
    assert wanted in failed[f"{scene}/{scene}"]


def test_pictures_of_ones_own_among_the_bands_are_rasters_like_any_other(tmp_path):
    own = (
        f"{LANDSAT}_B432.tif",
        f"{LANDSAT}_B543.tif",
        f"{GRANULE}/IMG_DATA/{COMPACT}_RGB.jp2",
        f"{GRANULE}/IMG_DATA/mine.jp2",
    )
    touch(tmp_path, *own, *level_2a())
    paths, failed = chosen(tmp_path)
    assert set(own) < set(paths)
    assert not failed


def test_resolutions_out_of_their_product_are_one_picture(tmp_path):
    names = (f"R{s}m/{COMPACT}_{b}_{s}m.jp2" for s in (10, 20) for b in ("B02", "TCI"))
    touch(tmp_path, *names)
    assert chosen(tmp_path) == ([f"R10m/{COMPACT}_TCI_10m.jp2"], {})


def test_what_stands_alone_or_is_named_is_a_raster_like_any_other(tmp_path):
    touch(tmp_path, f"{LANDSAT}_B8.TIF", f"a/{COMPACT}_B04.jp2")
    assert chosen(tmp_path)[0] == [f"{LANDSAT}_B8.TIF", f"a/{COMPACT}_B04.jp2"]
    touch(tmp_path, f"a/{COMPACT}_B03.jp2", f"a/{COMPACT}_TCI.jp2")
    named = str(tmp_path / f"a/{COMPACT}_B04.jp2")
    assert pictures(find_rasters(named)).paths == [named]


def test_black_of_a_true_colour_image_of_sentinel_2_is_no_data(tmp_path):
    data = noise(3, 40, 40)
    data[:, :, :10] = 0
    data[1:, :, 10:20] = 0  # red alone: dark, but there
    for name, share in ((f"{COMPACT}_TCI_10m.tif", 0.75), ("a_TCI_10m.tif", 1.0)):
        image, valid = read_all(write(tmp_path / name, data))
        assert valid == share
        assert image[0, 0].any() == (share < 1)


def test_the_archive_of_a_product_is_searched(tmp_path, reindex: Index):
    picture = write(tmp_path / "picture", noise(3, 32, 32))
    packed = tmp_path / "in" / f"{GRANULE.partition('/')[0]}.zip"
    packed.parent.mkdir()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in level_2a(".tif"):
            archive.write(picture, name)
        for name in ("../out_TCI.jp2", "/root_TCI.jp2", "__MACOSX/._a.tif"):
            archive.writestr(name, b"")
    name = f"{GRANULE}/IMG_DATA/R10m/{COMPACT}_TCI_10m.tif"
    report = reindex(packed.parent)
    assert [source.path for source in report.sources] == [f"/vsizip/{packed}/{name}"]
    assert told(report) == [(Path(name).name, "indexed", 1)]
    assert told(reindex(packed)) == [(Path(name).name, "unchanged", 1)]
    with zipfile.ZipFile(packed.with_name("S2B_MSIL2A_quicklooks.zip"), "w") as archive:
        archive.writestr("look.jpg", b"")
    (packed.parent / GRANULE.partition("/")[0]).mkdir()  # unpacked: the folder stands for it
    with pytest.raises(RasterError, match="no raster"):
        find_rasters(str(packed.parent))
    assert find_rasters(str(packed))  # named, it is read all the same
    (packed.parent / GRANULE.partition("/")[0]).rmdir()
    short = packed.with_name("S2B_MSIL1C_short.zip")
    short.write_bytes(packed.read_bytes()[:-100])
    failed, _ = reindex(packed.parent).sources
    assert failed.path == str(short)
    assert "fetch it again" in failed.reason


def test_a_packed_product_without_a_true_colour_image_is_to_be_unpacked(tmp_path):
    with zipfile.ZipFile(tmp_path / "S2A_OPER_PRD_MSIL1C_PDMC_2015.SAFE.zip", "w") as archive:
        for band in ("B02", "B03", "B04"):
            archive.writestr(f"{OLD}.SAFE/GRANULE/{OLD}/IMG_DATA/{OLD[:-7]}_{band}.jp2", b"")
    (error,) = pictures(find_rasters(str(tmp_path))).failed.values()
    assert error.where.startswith("/vsizip/")
    assert error.hint.startswith("Unpack it")


def test_a_mosaic_of_three_bands_is_the_picture_of_its_scene(tmp_path, reindex: Index):
    reflectance = {"B4": 9000, "B3": 8000, "B2": 7000, "B5": 20_000}
    for number, (band, level) in enumerate(reflectance.items()):
        data = noise(1, 64, 64, dtype=np.uint16, low=level, high=level + 1000, seed=number)
        data[0, :, 20 * number : 20 * number + 20] += 3000
        write(tmp_path / f"{LANDSAT}_SR_{band}.TIF", data, nodata=0)
    report = reindex(tmp_path)
    assert told(report) == [(LANDSAT, "failed", 0)]
    # As gdalbuildvrt -separate writes it.
    parts = "".join(
        f"""<VRTRasterBand dataType="UInt16" band="{place}"><NoDataValue>0</NoDataValue>
        <ComplexSource><SourceFilename relativeToVRT="1">{LANDSAT}_SR_{band}.TIF</SourceFilename>
        <SourceBand>1</SourceBand><SrcRect xOff="0" yOff="0" xSize="64" ySize="64"/>
        <DstRect xOff="0" yOff="0" xSize="64" ySize="64"/><NODATA>0</NODATA></ComplexSource>
        </VRTRasterBand>"""
        for place, band in enumerate(("B4", "B3", "B2"), 1)
    )
    mosaic = tmp_path / f"{LANDSAT}_SR_RGB.vrt"
    mosaic.write_text(
        f"""<VRTDataset rasterXSize="64" rasterYSize="64"><SRS>EPSG:32618</SRS>
        <GeoTransform>500000,1,0,4650000,0,-1</GeoTransform>{parts}</VRTDataset>"""
    )
    assert told(reindex(tmp_path)) == [(mosaic.name, "indexed", 4)]
    image, valid = read_all(str(mosaic))
    assert valid == 1
    for channel, column in enumerate((10, 30, 50)):
        means = image[:, column - 10 : column + 10].mean(axis=(0, 1))
        assert means.argmax() == channel
        assert means[channel] > 200


def test_an_archive_that_is_gone_takes_its_pictures_along(tmp_path):
    packed = tmp_path / "in" / "S2A_MSIL2A_a.zip"
    packed.parent.mkdir()
    (packed.parent / "other.tif").touch()
    path = f"/vsizip/{packed}/S2A.SAFE/T_TCI.jp2"
    known = {path: SourceRecord(path, None, None, "auto", 0.5, 0.5)}
    index: Any = SimpleNamespace(path="index", sources=lambda: list(known.values()))
    assert matching(index, str(packed.parent)) == matching(index, str(packed)) == [path]
    found = find([str(packed.parent)], {}, Choice())
    assert gone_under([str(packed.parent)], known, found) == [path]
    assert gone_under([str(packed)], known, found) == [path]
    assert not gone_under([str(tmp_path / "elsewhere")], known, found)
    packed.touch()
    assert not gone_under([str(packed.parent)], known, found)
