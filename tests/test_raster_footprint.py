"""Footprints against pyproj on rasterio's own transform, and against much denser outlines."""

from __future__ import annotations

import time
import warnings

import numpy as np
import pyproj
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

from ngcg_cli.errors import RasterError
from ngcg_cli.raster.footprint import Footprints, Georeference
from ngcg_cli.raster.tiles import Grid, Window

METRES = 111_320.0


def place(crs: str, transform: Affine) -> Georeference:
    return Georeference(pyproj.CRS(crs).to_wkt(), transform, "raster.tif")


def apply(transform: Affine, column, row):
    a, b, c, d, e, f = tuple(transform)[:6]
    return a * column + b * row + c, d * column + e * row + f


def polygons(found: Footprints) -> list[shapely.Geometry]:
    return [shapely.from_wkb(geometry) for geometry in found.geometry]


def dense_outline(crs: str, transform: Affine, window: Window, points: int = 400) -> np.ndarray:
    """The window's true outline, (n, 2) lon and lat, at many points an edge."""
    column, row, width, height = window
    t = np.arange(points) / points
    u = np.concatenate([t, t * 0 + 1, 1 - t, t * 0]) * width + column
    v = np.concatenate([t * 0, t, t * 0 + 1, 1 - t]) * height + row
    to_wgs84 = pyproj.Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    return np.stack(to_wgs84.transform(*apply(transform, u, v)), axis=1)


def distance_m(geometry: shapely.Geometry, outline: np.ndarray) -> float:
    """Hausdorff distance of two outlines in metres, on a plane around them."""
    scale = np.array([np.cos(np.radians(outline[:, 1].mean())), 1]) * METRES
    mine = shapely.transform(geometry.exterior, lambda points: points * scale)
    truth = shapely.LinearRing(outline * scale)
    there = shapely.distance(shapely.points(outline * scale), mine).max()
    dense = shapely.get_coordinates(shapely.segmentize(mine, mine.length / 1000))
    back = shapely.distance(shapely.points(dense), truth).max()
    return float(max(there, back))


POLAR = "+proj=stere +lat_0=90 +lat_ts=70 +lon_0=-45 +datum=WGS84"
CASES = {
    "utm": ("EPSG:32618", Affine(1, 0, 3e5, 0, -1, 4.65e6), Window(40, 60, 224, 224)),
    "wide": ("EPSG:32618", Affine(10, 0, 3e5, 0, -10, 7e6), Window(0, 0, 9000, 7000)),
    "polar": (POLAR, Affine(500, 0, 2e5, 0, -500, -3e5), Window(3, 5, 700, 500)),
    "mercator": ("EPSG:3857", Affine(100, 0, 1e6, 0, -100, 7e6), Window(0, 0, 900, 800)),
    "half a degree": ("EPSG:4326", Affine(1e-3, 0, 7, 0, -1e-3, 61), Window(0, 0, 500, 500)),
    "stereographic": ("EPSG:28992", Affine(200, 0, 1e5, 0, -200, 5e5), Window(0, 0, 500, 500)),
    "compound": ("EPSG:7415", Affine(0.25, 0, 127375, 0, -0.25, 428250), Window(0, 0, 99, 99)),
    "rotated": ("EPSG:32611", Affine(15, -50, 6e5, -50, -15, 4e6), Window(0, 0, 800, 900)),
    "south up": ("EPSG:32733", Affine(30, 0, 4e5, 0, 30, 6.1e6), Window(0, 0, 3000, 2000)),
}


@pytest.mark.parametrize(("crs", "transform", "window"), CASES.values(), ids=CASES)
def test_footprints_are_right_to_a_metre(crs, transform, window):
    found = place(crs, transform).footprints([window])
    polygon, outline = polygons(found)[0], dense_outline(crs, transform, window)
    assert distance_m(polygon, outline) < 1
    assert polygon.is_valid
    assert polygon.exterior.is_ccw
    west, south = outline.min(axis=0)
    east, north = outline.max(axis=0)
    assert found.bbox[0] == pytest.approx([west, south, east, north], abs=1 / METRES * 3)


@pytest.mark.parametrize(("crs", "transform", "window"), CASES.values(), ids=CASES)
def test_centres_agree_with_pyproj(crs, transform, window):
    windows = [window, Window(3, 5, 7, 2)]
    found = place(crs, transform).footprints(windows)
    to_wgs84 = pyproj.Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    for at, (column, row, width, height) in enumerate(windows):
        lon, lat = to_wgs84.transform(*apply(transform, column + width / 2, row + height / 2))
        assert found.lon[at] == pytest.approx(lon, abs=1e-7)
        assert found.lat[at] == pytest.approx(lat, abs=1e-7)


def test_small_windows_have_four_corners():
    found = place("EPSG:32618", Affine(1, 0, 5e5, 0, -1, 4.65e6)).footprints([(0, 0, 100, 100)])
    assert shapely.get_num_coordinates(polygons(found)[0]) == 5


@settings(derandomize=True, max_examples=40, deadline=None)
@given(
    zone=st.integers(1, 60),
    north=st.floats(1e5, 8.5e6),
    east=st.floats(2e5, 8e5),
    size=st.integers(1, 4000),
    pixel=st.floats(0.05, 20),
    turn=st.floats(0, 6.28),
    flip=st.sampled_from([1, -1]),
)
def test_any_utm_window(zone, north, east, size, pixel, turn, flip):
    cos, sin = pixel * np.cos(turn), pixel * np.sin(turn)
    transform = Affine(cos, -flip * sin, east, sin, flip * cos, north)
    found = place(f"EPSG:{32600 + zone}", transform).footprints([(0, 0, size, size // 2 + 1)])
    assert found.placed.all()
    (polygon,) = polygons(found)
    assert polygon.is_valid
    assert shapely.box(-180, -90, 180, 90).covers(polygon)
    assert polygon.buffer(1e-9).covers(shapely.Point(found.lon[0], found.lat[0]))
    west, south, east_, north_ = found.bbox[0]
    assert south <= found.lat[0] <= north_
    crosses = west > east_
    assert crosses == (polygon.geom_type == "MultiPolygon")
    if not crosses:
        assert polygon.bounds == pytest.approx((west, south, east_, north_), abs=1e-9)


def test_across_the_antimeridian_west_exceeds_east_and_the_polygon_is_cut():
    transform = Affine(100, 0, 570_585, 0, -100, 5_847_615)
    windows = Grid(2325, 2355, (800, 800))
    found = place("EPSG:32660", transform).footprints(windows)
    crossing = found.bbox[:, 0] > found.bbox[:, 2]
    assert 0 < crossing.sum() < len(windows)
    assert (np.abs(found.lon) <= 180).all()
    whole_world = shapely.box(-180, -90, 180, 90)
    for window, polygon, crosses in zip(windows, polygons(found), crossing, strict=True):
        outline = dense_outline("EPSG:32660", transform, window)
        outline[:, 0] %= 360
        assert whole_world.covers(polygon)
        assert (polygon.geom_type == "MultiPolygon") == crosses
        eastern = [_east(part) for part in shapely.get_parts(polygon)]
        joined = shapely.union_all(eastern, grid_size=1e-9)
        assert distance_m(joined, outline) < 1
    west, _, east, _ = found.bbox[np.flatnonzero(crossing)[0]]
    assert 170 < west < 180
    assert -180 < east < -170


def _east(part: shapely.Polygon) -> shapely.Polygon:
    shift = 360 if part.centroid.x < 0 else 0
    return shapely.transform(part, lambda points: points + np.array([shift, 0]))


def test_longitudes_beyond_180_are_brought_back():
    found = place("EPSG:4326", Affine(1, 0, 0, 0, -1, 10)).footprints(
        [(190, 0, 10, 5), (340, 0, 20, 5)]
    )
    assert found.lon == pytest.approx([-165, -10])
    assert found.bbox.tolist() == [[-170, 5, -160, 10], [-20, 5, 0, 10]]


def test_windows_that_touch_the_antimeridian_do_not_cross_it():
    found = place("EPSG:4326", Affine(1, 0, -180, 0, -1, 90)).footprints(
        [(350, 80, 10, 5), (0, 80, 10, 5), (0, 0, 360, 180), (0, 0, 180, 90)]
    )
    assert found.bbox.tolist() == [
        [170, 5, 180, 10], [-180, 5, -170, 10], [-180, -90, 180, 90], [-180, 0, 0, 90],
    ]  # fmt: skip
    areas = [polygon.area for polygon in polygons(found)]
    assert areas == pytest.approx([50, 50, 360 * 180, 180 * 90])


def test_a_world_in_web_mercator_and_one_that_reaches_half_a_pixel_further():
    side = 20037508.342789244
    found = place("EPSG:3857", Affine(side / 128, 0, -side, 0, -side / 128, side)).footprints(
        [(0, 0, 256, 256)]
    )
    assert found.bbox[0] == pytest.approx([-180, -85.0511288, 180, 85.0511288], abs=1e-6)
    wide = place("EPSG:4326", Affine(0.1, 0, -180.05, 0, -0.1, 90.05)).footprints(
        [(0, 0, 3601, 1801)]
    )
    assert wide.bbox[0].tolist() == [-180, -90, 180, 90]
    assert polygons(wide)[0].area == pytest.approx(360 * 180)


@pytest.mark.parametrize(("crs", "pole"), [("EPSG:3413", 90), ("EPSG:3031", -90)])
def test_a_window_around_a_pole_holds_it(crs, pole):
    transform = Affine(1000, 0, -3e5, 0, -1000, 3e5)
    found = place(crs, transform).footprints([(100, 100, 350, 330)])
    west, south, east, north = found.bbox[0]
    assert (west, east) == (-180, 180)
    assert pole in (south, north)
    (polygon,) = polygons(found)
    assert polygon.is_valid
    for lon in range(-179, 180, 7):
        assert polygon.covers(shapely.Point(lon, pole * 0.9999))
    outline = dense_outline(crs, transform, Window(100, 100, 350, 330))
    gap = shapely.distance(shapely.points(outline), polygon.exterior).max()
    assert gap * METRES * np.cos(np.radians(89)) < 2


def test_windows_that_meet_at_the_pole_share_it():
    windows = [(x, y, 300, 300) for y in (0, 300) for x in (0, 300)] + [(0, 0, 600, 300)]
    found = place("EPSG:3413", Affine(1000, 0, -3e5, 0, -1000, 3e5)).footprints(windows)
    # A quarter turn each; with lon_0 = -45 the first one lies across the antimeridian.
    widths = (found.bbox[:, 2] - found.bbox[:, 0]) % 360
    assert widths == pytest.approx([90, 90, 90, 90, 180], abs=1e-6)
    assert (found.bbox[:, 3] == 90).all()
    quarters = polygons(found)
    assert all(quarter.is_valid for quarter in quarters)
    union = shapely.union_all(quarters[:4], grid_size=1e-9)
    assert union.area == pytest.approx(sum(quarter.area for quarter in quarters[:4]), rel=1e-6)
    assert union.bounds == pytest.approx((-180, union.bounds[1], 180, 90), abs=1e-6)


def test_windows_off_the_earth_have_no_place():
    goes = "+proj=geos +h=35785831 +lon_0=-75 +sweep=x +ellps=GRS80"
    georeference = place(goes, Affine(20055, 0, -5434895, 0, -20055, 5434895))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = georeference.footprints(Grid(542, 542, (60, 60)))
    assert 0 < found.placed.sum() < len(found.placed)
    lost = ~found.placed
    assert np.isnan(found.lon[lost]).all()
    assert np.isnan(found.lat[lost]).all()
    assert np.isnan(found.bbox[lost]).all()
    shapes = polygons(found)
    assert all(shapes[at].is_empty for at in np.flatnonzero(lost))
    assert all(shapes[at].area > 0 for at in np.flatnonzero(found.placed))
    assert georeference.gsd(542, 542) == pytest.approx((20055, 20055), rel=0.01)
    # The centre of a corner is off the Earth: the nearest point that is on it serves.
    assert min(place(goes, Affine(20055, 0, -5434895, 0, -20055, 5434895)).gsd(300, 300)) > 20055


DATUM = 'DATUM["d",ELLIPSOID["e",6378137,298.257223563]]'
PARIS = 'PRIMEM["Paris",2.33722917,ANGLEUNIT["degree",0.0174532925199433]]'
AXES = 'CS[ellipsoidal,2],AXIS["latitude",north],AXIS["longitude",east]'


@pytest.mark.parametrize(
    ("crs", "unit", "meridian"),
    [
        (f'GEOGCRS["r",{DATUM},{AXES},ANGLEUNIT["radian",1]]', np.radians(1), 0),
        (f'GEOGCRS["r",{DATUM},{PARIS},{AXES},ANGLEUNIT["radian",1]]', np.radians(1), 2.33722917),
        (f'GEOGCRS["s",{DATUM},{AXES},ANGLEUNIT["s",{np.radians(1 / 3600)}]]', 3600, 0),
        (f'GEOGCRS["g",{DATUM},{PARIS},{AXES},ANGLEUNIT["g",{np.pi / 200}]]', 1 / 0.9, 2.33722917),
    ],
)
@pytest.mark.parametrize("west", [10, 179.5])
def test_units_other_than_degrees(crs, unit, meridian, west):
    step = 0.001 * unit
    there = Affine(step, 0, (west - meridian) * unit, 0, -step, 50 * unit)
    georeference = place(crs, there)
    found = georeference.footprints([Window(0, 0, 1000, 100)])
    east = west + 1 if west == 10 else west - 359
    assert found.bbox[0] == pytest.approx([west, 49.9, east, 50], abs=1e-8)
    assert abs(found.lon[0]) == pytest.approx(west + 0.5)
    back = georeference.pixels(found.lon, found.lat, 1000, 100)
    assert np.ravel(back) == pytest.approx([500, 50], abs=1e-6)
    assert georeference.gsd(1000, 100) == pytest.approx((71.77, 111.23), rel=1e-4)
    with pytest.raises(RasterError, match="latitude, past the pole"):
        place(crs, Affine(step, 0, 0, 0, -step, 100 * unit)).gsd(100, 100)


def test_a_prime_meridian_that_is_no_place_is_refused():
    # As GDAL reads the one of Paris out of a GeoTIFF in radians.
    crs = f'GEOGCRS["r",{DATUM},PRIMEM["P",25187892,ANGLEUNIT["r",1]],{AXES},ANGLEUNIT["r",1]]'
    with pytest.raises(RasterError, match=r"prime meridian .* more than half a turn away"):
        place(crs, Affine(1e-5, 0, 0, 0, -1e-5, 0.8))


def test_no_windows():
    found = place("EPSG:32618", Affine(1, 0, 5e5, 0, -1, 4.65e6)).footprints([])
    assert found.lon.shape == (0,)
    assert found.bbox.shape == (0, 4)
    assert found.geometry == []


def test_degenerate_transforms_are_refused():
    with pytest.raises(RasterError, match="no area"):
        place("EPSG:32618", Affine(1, 1, 0, 1, 1, 0))
    with pytest.raises(RasterError, match="no area"):
        place("EPSG:32618", Affine(np.nan, 0, 0, 0, -1, 0))


def test_tens_of_thousands_of_windows_take_seconds_at_most():
    windows = Grid(56_000, 56_000, (224, 224))
    start = time.process_time()
    found = place("EPSG:32618", Affine(0.5, 0, 4e5, 0, -0.5, 4.65e6)).footprints(windows)
    assert time.process_time() - start < 5
    assert len(windows) == 62_500
    assert found.placed.all()
