"""Headers that claim nonsense, missing parts and codecs: pixels and a place, or one reason."""

from __future__ import annotations

import os
import struct
import time
from pathlib import Path

import numpy as np
import pytest
import rasterio
from raster_cases import entries, plain_rpc, write_kind
from raster_files import noise, read_all, write
from rasterio.errors import RasterioError

from ngcg_cli.errors import RasterError
from ngcg_cli.raster import Raster, TileSize, Window

UTM = "EPSG:32618"
PLACE = (500_000.0, 1.0, 0.0, 4_650_000.0, 0.0, -1.0)


def virtual(path: Path, transform=PLACE, crs: str = UTM, size: int = 100) -> Path:
    """A VRT without sources: a header alone."""
    path.write_text(
        f'<VRTDataset rasterXSize="{size}" rasterYSize="{size}"><SRS>{crs}</SRS>'
        f"<GeoTransform>{','.join(map(repr, transform))}</GeoTransform>"
        '<VRTRasterBand dataType="Byte" band="1"/></VRTDataset>'
    )
    return path


def visit(path: Path) -> np.ndarray:
    """Opens, cuts, places and reads; the boxes of the windows."""
    with Raster.open(path) as raster:
        windows = raster.grid(TileSize.parse("64px"))[:50]
        for window in windows:
            raster.read(window, 64)
        return raster.footprints(windows).bbox


def boxes_or_refusal(path: Path) -> np.ndarray:
    """The same, none where the raster is refused."""
    try:
        return visit(path)
    except RasterError:
        return np.empty((0, 4))


def retag(path: Path, changes: dict[int, float], form: str = "H") -> Path:
    """Writes other values to tags of a TIFF."""
    data = bytearray(path.read_bytes())
    for entry in entries(data):
        if entry.tag in changes:
            struct.pack_into(entry.order + form, data, entry.data, changes[entry.tag])
    path.write_bytes(data)
    return path


def test_122_bytes_that_claim_two_terabytes(tmp_path):
    side = 1_048_576  # 2^40 pixels of 16 bits, and no pixel of them in the file
    tags = [
        (256, 4, side), (257, 4, side), (258, 3, 16), (259, 3, 1), (262, 3, 1),
        (273, 4, 122), (277, 3, 1), (278, 4, 1), (279, 4, 0),
    ]  # fmt: skip
    rows = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    data = struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + rows + struct.pack("<I", 0)
    path = tmp_path / "claim.tif"
    path.write_bytes(data)
    assert len(data) == 122
    began = time.process_time()
    with pytest.raises(RasterError, match=r"claim\.tif: "):
        visit(path)
    # The same claim, with a place on the Earth beside it.
    (tmp_path / "claim.tfw").write_text("0.0001\n0\n0\n-0.0001\n-75\n42\n")
    (tmp_path / "claim.tif.aux.xml").write_text("<PAMDataset><SRS>EPSG:4326</SRS></PAMDataset>")
    with pytest.raises(RasterError):
        visit(path)
    assert time.process_time() - began < 5


@pytest.mark.parametrize("size", [0, 1, 3, 8, 100])
def test_the_first_bytes_of_a_raster_alone_are_refused(tmp_path, size):
    path = Path(write(tmp_path / "a.tif", noise(1, 64, 64)))
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(RasterError, match="cannot be opened"):
        Raster.open(path)


def test_a_missing_codec_is_named(tmp_path):
    path = retag(Path(write(tmp_path / "a.tif", noise(1, 64, 64))), {259: 34_676})
    with pytest.raises(RasterError, match=r"(?i)compress|SGILog|codec|34676"):
        read_all(str(path))


def test_an_external_mask_masks(tmp_path):
    path = write_kind(tmp_path / "a.tif", {"mask": True, "internal_mask": False})
    assert (tmp_path / "a.tif.msk").exists()
    held = float(np.tri(80, 96).mean())
    assert read_all(str(path))[1] == pytest.approx(held)
    (tmp_path / "a.tif.msk").write_bytes(b"nonsense")
    assert read_all(str(path))[1] == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_says_so(tmp_path):
    path = Path(write(tmp_path / "a.tif", noise(1, 64, 64)))
    path.chmod(0)
    with pytest.raises(RasterError, match=r"(?i)permission"):
        Raster.open(path)


@pytest.mark.parametrize("value", ["nan", "inf", "1e300", "-1e300", "0", "5e-324", "1e-30"])
@pytest.mark.parametrize("place", range(6))
@pytest.mark.parametrize("crs", [UTM, "EPSG:4326"])
def test_absurd_transforms_give_no_place_or_a_finite_one(tmp_path, value, place, crs):
    transform = [-75.0, 0.001, 0.0, 42.0, 0.0, -0.001] if crs == "EPSG:4326" else list(PLACE)
    transform[place] = float(value)
    path = virtual(tmp_path / "a.vrt", transform, crs)
    boxes = boxes_or_refusal(path)
    for west, south, east, north in boxes:
        assert np.isfinite([west, south, east, north]).all() or np.isnan(west)
        if np.isfinite(west):
            assert -90 <= south <= north <= 90
            assert abs(west) <= 180
            assert abs(east) <= 180


@pytest.mark.parametrize("number", ["nan", "1e308", "-1e308", "0"])
@pytest.mark.parametrize("name", ["false_easting", "central_meridian", "scale_factor", "semimajor"])
def test_absurd_reference_systems_give_no_place_or_a_finite_one(tmp_path, name, number):
    values = {"false_easting": 500_000, "central_meridian": -75, "scale_factor": 0.9996}
    values |= {"semimajor": 6_378_137, name: number}
    wkt = (
        f'PROJCS["x",GEOGCS["g",DATUM["d",SPHEROID["s",{values.pop("semimajor")},298.25]],'
        'PRIMEM["Greenwich",0],UNIT["degree",0.0174532925199433]],'
        'PROJECTION["Transverse_Mercator"],PARAMETER["latitude_of_origin",0],'
        + "".join(f'PARAMETER["{key}",{value}],' for key, value in values.items())
        + 'PARAMETER["false_northing",0],UNIT["metre",1]]'
    )
    path = virtual(tmp_path / "a.vrt", crs=wkt.replace('"', "&quot;"))
    assert not np.isinf(boxes_or_refusal(path)).any()


def test_thousands_of_bands_cost_no_more_than_those_that_show(tmp_path):
    path = write(tmp_path / "a.tif", noise(2000, 8, 8), interleave="band")
    began = time.process_time()
    image, valid = read_all(path)
    assert valid == 1
    assert image.shape == (8, 8, 3)
    assert time.process_time() - began < 2


@pytest.mark.parametrize(
    "changes",
    [
        {"lat_scale": 0.0},
        {"lat_scale": 1e300, "long_scale": 1e-300},
        {"long_off": 1e9},
        {"long_scale": 1e-12},
        {"samp_den_coeff": [0.0] * 20},
        {"samp_num_coeff": [1e300] * 20},
        {"line_num_coeff": [1.0, 0, 1e-9, *[0.0] * 17]},
        {"line_off": float("nan")},
        {"height_off": 1e300},
        {"line_scale": 1e9},
    ],
)
def test_nonsensical_rpcs_are_refused_or_bounded(tmp_path, changes):
    path = tmp_path / "a.tif"
    try:
        with rasterio.open(
            path,
            "w",
            driver="GTiff",
            count=1,
            width=96,
            height=80,
            dtype="uint8",
            rpcs=plain_rpc(**changes),
        ) as out:
            out.write(noise(1, 80, 96))  # fmt: skip
    except (RasterioError, ValueError):
        pytest.skip("cannot be written")
    began = time.process_time()
    try:
        with Raster.open(path) as raster:
            assert raster.width * raster.height <= 96**2 + 80**2
            window = Window(0, 0, min(raster.width, 64), min(raster.height, 64))
            raster.read(window, 64)
            place = raster.footprints([window])
            assert not place.placed[0] or np.isfinite(place.bbox).all()
    except RasterError:
        pass
    assert time.process_time() - began < 5


def test_a_vrt_without_its_source_opens_and_gives_no_pixel(tmp_path):
    path = virtual(tmp_path / "a.vrt")
    source = "<SimpleSource><SourceFilename>gone.tif</SourceFilename></SimpleSource>"
    text = path.read_text().replace('band="1"/>', f'band="1">{source}</VRTRasterBand>')
    path.write_text(text)
    with Raster.open(path) as raster, pytest.raises(RasterError, match=r"gone\.tif"):
        raster.read(Window(0, 0, 100, 100))
