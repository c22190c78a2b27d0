"""What opens and what does not: damaged, misplaced and odd files, and folders of rasters."""

from __future__ import annotations

import os
import struct

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from pyproj import Transformer
from raster_cases import spoil_block
from raster_files import UTM, noise, read_all, write
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.transform import Affine, from_gcps, from_origin

from ngcg_cli.errors import RasterError
from ngcg_cli.raster import Raster, TileSize, Window, find_rasters

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
    spoil_block(path, 3, 3)
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


def placed_by(points, path, crs="EPSG:4326"):
    """90 x 60 pixels of a file that has these ground control points."""
    with rasterio.open(
        path, "w", driver="GTiff", count=1, width=90, height=60, dtype="uint8",
        crs=crs, gcps=points,
    ):  # fmt: skip
        pass
    return path


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


def north_of_the_circle(path, masked=False):
    """90 x 60 pixels of 10 m, placed by points at 70 N; the masked half of it is black."""
    points = [
        GroundControlPoint(row, column, 25 + column * 2.6156e-4, 70 - row * 8.963e-5)
        for row in (0, 60)
        for column in (0, 90)
    ]
    pixels = np.full((3, 60, 90), 99, np.uint8)
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(
            path, "w", driver="GTiff", count=3, width=90, height=60, dtype="uint8",
            crs="EPSG:4326", gcps=points,
        ) as out,
    ):  # fmt: skip
        if masked:
            pixels[:, :, :45] = 0
            out.write_mask(pixels[0] > 0)
        out.write(pixels)
    return path


def test_points_in_degrees_keep_the_pixels_of_the_raster(tmp_path):
    with Raster.open(north_of_the_circle(tmp_path / "a.tif")) as raster:
        assert raster.gsd == pytest.approx((10, 10), rel=0.01)
        assert (raster.width, raster.height) == (pytest.approx(90, abs=2), pytest.approx(60, abs=2))
        place = raster.footprints([Window(0, 0, raster.width, raster.height)])
    assert place.lon[0] == pytest.approx(25 + 45 * 2.6156e-4, abs=3e-4)
    assert place.lat[0] == pytest.approx(70 - 30 * 8.963e-5, abs=1e-4)


def test_a_mask_goes_along_with_ground_control_points(tmp_path):
    with Raster.open(north_of_the_circle(tmp_path / "a.tif", masked=True)) as raster:
        image, valid = raster.read(Window(0, 0, raster.width, raster.height))
    assert valid == pytest.approx(0.5, abs=0.03)
    assert (image == 99).all()


@pytest.mark.parametrize("shift", [0, 360])
def test_points_across_the_antimeridian(tmp_path, shift):
    points = [
        GroundControlPoint(row, column, lon, 70 - row / 3000)
        for row in (0, 20, 60)
        for column, lon in ((0, 179.95), (45, 180.0), (90, -179.95 + shift))
    ]
    path = tmp_path / "a.tif"
    with rasterio.open(
        path, "w", driver="GTiff", count=1, width=90, height=60, dtype="uint8",
        crs="EPSG:4326", gcps=points,
    ) as out:  # fmt: skip
        out.write(np.full((1, 60, 90), 99, np.uint8))
    with Raster.open(path) as raster:
        window = Window(0, 0, raster.width, raster.height)
        assert raster.read(window)[1] > 0.9
        box = raster.footprints([window]).bbox[0]
    assert box == pytest.approx([179.95, 69.98, -179.95, 70], abs=2e-3)


def test_points_far_outside_of_the_raster_are_told(tmp_path):
    points = [GroundControlPoint(row, row % 7, 10 + row / 90, 50) for row in (1e300, 9, 90)]
    points.append(GroundControlPoint(0, -1e300, 10, 50))
    path = placed_by(points, tmp_path / "a.tif")
    with pytest.raises(RasterError, match="cannot be joined to a mesh"):
        Raster.open(path)


def on_a_lattice(path, crs, transform, told_in):
    """90 x 60 pixels that lie by `transform` in `crs`, placed by 3 x 3 points in `told_in`."""
    turn = Transformer.from_crs(crs, told_in, always_xy=True)
    points = [
        GroundControlPoint(row, column, *turn.transform(*transform @ (column, row)))
        for row in (0, 30, 60)
        for column in (0, 45, 90)
    ]
    return placed_by(points, path, told_in)


POLAR = from_origin(-45_000, 25_000, 1000, 1000)
CONIC = "+proj=lcc +lat_1=60 +lat_2=75"


@pytest.mark.parametrize(
    ("crs", "transform", "told_in"),
    [
        ("EPSG:3413", POLAR, "EPSG:4326"),
        ("EPSG:3031", POLAR, "EPSG:4326"),
        ("EPSG:3413", POLAR, "EPSG:3857"),
        ("+proj=webmerc +lon_0=180", from_origin(-20_000, 8e6, 500, 500), "EPSG:3857"),
        ("+proj=sinu +lon_0=180", from_origin(-20_000, 7e6, 500, 500), "+proj=sinu"),
        ("+proj=laea +lat_0=70 +lon_0=180", from_origin(-20_000, 3e4, 500, 500), CONIC),
    ],
)
def test_points_round_a_pole_or_across_an_edge_of_their_map_are_refused(
    tmp_path, crs, transform, told_in
):
    path = on_a_lattice(tmp_path / "a.tif", crs, transform, told_in)
    with pytest.raises(RasterError, match="round a pole, or across an edge") as caught:
        Raster.open(path)
    assert caught.value.where == str(path)


@pytest.mark.parametrize(
    ("crs", "transform", "told_in"),
    [
        # Beside the pole and round it, where the map has no edge; across the antimeridian, far from
        # it too; longer than half the Earth; grads of Paris.
        ("EPSG:3413", POLAR @ Affine.translation(200, 0), "EPSG:4326"),
        ("EPSG:3413", POLAR, "EPSG:3995"),
        ("EPSG:3832", from_origin(1.6e6, 5.2e6, 40_000, 40_000), "EPSG:4326"),
        ("EPSG:4326", from_origin(-135, 60, 3, 2), "EPSG:4326"),
        ("EPSG:32631", from_origin(480_000, 5.2e6, 500, 500), "EPSG:4807"),
        ("EPSG:32633", Affine.rotation(130) @ Affine.scale(10, -10), "EPSG:4326"),
    ],
)
def test_points_elsewhere_place_the_raster(tmp_path, crs, transform, told_in):
    if crs == "EPSG:32633":
        transform = Affine.translation(5e5, 6e6) @ transform
    turn = Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    ground = [turn.transform(*transform @ at) for at in ((0, 0), (90, 0), (90, 60), (0, 60))]
    with Raster.open(on_a_lattice(tmp_path / "a.tif", crs, transform, told_in)) as raster:
        assert raster.read(Window(0, 0, raster.width, raster.height))[1] > 0.4
        place = raster.footprints([Window(0, 0, raster.width, raster.height)])
        columns, rows = raster._georeference.pixels(
            *np.transpose(ground), raster.width, raster.height
        )
    # Its corners lie on the edge of what it was warped to, to two of its pixels.
    assert [columns.min(), rows.min()] == pytest.approx([0, 0], abs=2)
    assert [columns.max(), rows.max()] == pytest.approx([raster.width, raster.height], abs=2)
    assert np.isfinite(place.bbox).all()


def test_points_that_fit_no_plane_are_told(tmp_path):
    points = [GroundControlPoint(0, column, 10 + column / 1000, 50) for column in (0, 45, 90)]
    path = placed_by(points, tmp_path / "a.tif")
    with pytest.raises(RasterError, match="control points, spread over it"):
        Raster.open(path)


def test_a_prj_file_goes_with_a_world_file(tmp_path):
    path = tmp_path / "a.png"
    with rasterio.open(path, "w", driver="PNG", count=3, width=90, height=60, dtype="uint8"):
        pass
    (tmp_path / "a.pgw").write_text("1\n0\n0\n-1\n500000.5\n4649999.5\n")
    with pytest.raises(RasterError, match="no coordinate reference system"):
        Raster.open(path)
    side = tmp_path / "a.prj"
    side.write_text(UTM.to_wkt(version="WKT1_ESRI"))
    with Raster.open(path) as raster:
        raster.crop(Window(10, 10, 20, 20), tmp_path / "c.tif")
        place = raster.footprints([Window(0, 0, 90, 60)])
    lon, lat = Transformer.from_crs(UTM, "EPSG:4326", always_xy=True).transform(500045, 4649970)
    assert (place.lon[0], place.lat[0]) == pytest.approx((lon, lat), abs=1e-9)
    with rasterio.open(tmp_path / "c.tif") as crop:
        assert (crop.crs, crop.bounds.left, crop.bounds.top) == (UTM, 500010, 4649990)
    side.write_text("UTM 18 North")
    with pytest.raises(RasterError, match=r"a\.prj: holds no coordinate reference system"):
        Raster.open(path)


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
