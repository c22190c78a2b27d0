"""`--area`: polygons of any CRS and vector format."""

from __future__ import annotations

import json
import os
from pathlib import Path

import geopandas
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from pyproj import Transformer
from raster_files import listening

from ngcg_cli.errors import DataError
from ngcg_cli.journeys.areas import read_areas
from ngcg_cli.search.filters import within_areas

SQUARE = shapely.box(10.50, 47.93, 10.52, 47.94)


@pytest.mark.parametrize("suffix", [".geojson", ".gpkg", ".shp", ".fgb", ".parquet"])
def test_polygons_come_in_degrees(tmp_path: Path, suffix: str) -> None:
    frame = geopandas.GeoDataFrame(geometry=[SQUARE], crs="EPSG:4326")
    if suffix != ".geojson":  # which is in degrees by its standard
        frame = frame.to_crs("EPSG:32632")
    write = frame.to_parquet if suffix == ".parquet" else frame.to_file
    write(tmp_path / f"area{suffix}")
    (area,) = read_areas(tmp_path / f"area{suffix}")
    assert area.symmetric_difference(SQUARE).area < 1e-3 * SQUARE.area


def test_polygons_in_radians_come_in_degrees(tmp_path: Path) -> None:
    datum = 'DATUM["WGS_1984",SPHEROID["WGS 84",6378137,298.257223563]],PRIMEM["Greenwich",0]'
    square = shapely.transform(SQUARE, np.radians)
    crs = f'GEOGCS["r",{datum},UNIT["radian",1]]'
    geopandas.GeoDataFrame(geometry=[square], crs=crs).to_parquet(tmp_path / "area.parquet")
    (area,) = read_areas(tmp_path / "area.parquet")
    assert area.bounds == pytest.approx(SQUARE.bounds, abs=1e-9)


def test_all_layers_count(tmp_path: Path) -> None:
    file = tmp_path / "areas.gpkg"
    for number, crs in enumerate(("EPSG:4326", "EPSG:32632")):
        square = shapely.box(10.50 + number, 47.93, 10.52 + number, 47.94)
        frame = geopandas.GeoDataFrame(geometry=[square], crs="EPSG:4326").to_crs(crs)
        frame.to_file(file, layer=f"layer {number}")
    assert [round(area.bounds[0], 3) for area in read_areas(file)] == [10.5, 11.5]
    folders = "".join(f"<Folder><name>{name}</name>{PLACEMARK}</Folder>" for name in "ab")
    kml = KML.replace(PLACEMARK, f"<Document>{folders}</Document>")
    (tmp_path / "areas.kml").write_text(kml)
    assert len(read_areas(tmp_path / "areas.kml")) == 2


@pytest.mark.parametrize(
    "geo", [None, b"[]", b"{", b'{"primary_column": "x", "columns": {"x": 0}}']
)
def test_parquet_that_holds_no_shapes_is_refused(tmp_path: Path, geo: bytes | None) -> None:
    table = pa.table({"x": ["no shape"]}).replace_schema_metadata(geo and {"geo": geo})
    pq.write_table(table, tmp_path / "area.parquet")
    with pytest.raises(DataError, match="is no sound GeoParquet"):
        read_areas(tmp_path / "area.parquet")


def test_points_and_lines_are_passed_over(tmp_path: Path) -> None:
    parts = [shapely.Point(1, 2), shapely.LineString([(0, 0), (1, 1)]), shapely.box(0, 0, 1, 1)]
    file = tmp_path / "mixed.geojson"
    file.write_text(json.dumps(shapely.geometry.mapping(shapely.GeometryCollection(parts))))
    assert [area.bounds for area in read_areas(file)] == [(0, 0, 1, 1)]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "is no GeoJSON"),
        ("[]", "is no GeoJSON"),
        ('{"type": "Polygon"}', "is no GeoJSON"),
        ('{"type": "Point", "coordinates": [1, 2]}', "holds no polygon"),
        ('{"type": "Feature", "geometry": null}', "holds no polygon"),
        (
            '{"type": "Polygon", "coordinates": [[[NaN, 0], [1, 0], [1, 1], [NaN, 0]]]}',
            "is damaged",
        ),
        (
            '{"type": "Polygon", "coordinates": [[[1e999, 0], [1, 0], [1, 1], [1e999, 0]]]}',
            "is not finite",
        ),
        (
            json.dumps(shapely.geometry.mapping(shapely.box(6e5, 5.3e6, 6.1e5, 5.4e6))),
            "is not in degrees.*Say the file's CRS",
        ),
        (
            json.dumps(shapely.geometry.mapping(shapely.box(40.7, -122, 40.8, -121))),
            "is not in degrees.*latitude and longitude swapped",
        ),
    ],
)
def test_what_is_no_area_is_refused(tmp_path: Path, content: str, told: str) -> None:
    file = tmp_path / "area.geojson"
    file.write_text(content)
    with pytest.raises(DataError, match=told):
        read_areas(file)


@pytest.mark.parametrize(
    ("crs", "box", "inside", "outside"),
    [
        # Fiji in UTM and on the web's map, both poles, and degrees of another datum past 180.
        ("EPSG:32760", (800e3, 8.1e6, 850e3, 8.2e6), [(179.9, -16.8), (-179.8, -16.8)], [(0, -16)]),
        ("EPSG:3857", (20.03e6, -2e6, 20.05e6, -1.9e6), [(179.95, -17.3), (-179.9, -17.3)], []),
        ("EPSG:3031", (-1e5, -1e5, 1e5, 1e5), [(x, -89.5) for x in range(-180, 181, 45)], [(0, 0)]),
        ("EPSG:3413", (1e5, -1e5, 2e5, 1e5), [(45, 88.7)], [(-135, 88.7), (45, 89.99)]),
        ("EPSG:4269", (179.5, 51, 180.5, 52), [(179.7, 51.5), (-179.7, 51.5)], [(-178, 51.5)]),
        ("EPSG:3857", (-20037508, -2e7, 20037508, 2e7), [(-179, 0), (0, 0), (-179, 84)], []),
    ],
)
def test_areas_of_other_systems_hold_what_lies_in_them(tmp_path, crs, box, inside, outside) -> None:
    west, south, east, north = box
    width, height = east - west, north - south
    hole = shapely.box(west + 0.9 * width, south + 0.9 * height, east - 1e-3 * width, north - 1e-3)
    shape = shapely.geometry.mapping(shapely.box(*box).difference(hole))
    named = {"type": "name", "properties": {"name": crs}}
    file = tmp_path / "area.geojson"
    file.write_text(json.dumps({"type": "Feature", "geometry": shape, "crs": named}))
    turn = Transformer.from_crs(crs, "OGC:CRS84", always_xy=True)
    in_hole = turn.transform(west + 0.95 * width, south + 0.95 * height)
    points = np.array([*inside, *outside, in_hole])
    found = within_areas(*points.T, read_areas(file))
    assert found.tolist() == [True] * len(inside) + [False] * (len(outside) + 1)


def test_a_way_round_the_earth_that_may_be_a_slip_is_told(tmp_path, caplog) -> None:
    file = tmp_path / "area.geojson"
    for box, told in (((-180, -10, 180, 10), 0), ((-179.9, -20, 179.9, -10), 1)):
        file.write_text(json.dumps(shapely.geometry.mapping(shapely.box(*box))))
        assert read_areas(file)[0].bounds == box
        assert caplog.text.count("if it is to cross the antimeridian") == told


def test_other_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_areas(tmp_path / "gone.gpkg")
    (tmp_path / "area.txt").write_text("x")
    with pytest.raises(DataError, match=r"\.txt is no format of areas"):
        read_areas(tmp_path / "area.txt")
    (tmp_path / "area.gpkg").write_text("x")
    with pytest.raises(DataError, match="cannot be read"):
        read_areas(tmp_path / "area.gpkg")


PLACEMARK = (
    "<Placemark><Polygon><outerBoundaryIs><LinearRing><coordinates>10.5,47.93 10.52,47.93 "
    "10.52,47.94 10.5,47.94 10.5,47.93</coordinates></LinearRing></outerBoundaryIs>"
    "</Polygon></Placemark>"
)
KML = (
    '<?xml version="1.0"?>\n<!-- a --><kml xmlns="http://www.opengis.net/kml/2.2">'
    f"{PLACEMARK}</kml>"
)


def test_kml(tmp_path: Path) -> None:
    (tmp_path / "area.kml").write_text(KML)
    (area,) = read_areas(tmp_path / "area.kml")
    assert area.equals(SQUARE)
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("suffix", "content"),
    [
        (".kml", "<OGRWFSDataSource><URL>{url}</URL></OGRWFSDataSource>"),
        (".gpkg", "<OGRVRTDataSource><OGRVRTLayer name='a'><SrcDataSource>/vsicurl/{url}"
         "</SrcDataSource></OGRVRTLayer></OGRVRTDataSource>"),
        (".kml", KML + "<!-- <OGRVRTDataSource><OGRVRTLayer name='a'><SrcDataSource>{url}"
         "</SrcDataSource></OGRVRTLayer></OGRVRTDataSource> -->"),
        (".gml", "<OGRWFSDataSource><URL>{url}</URL></OGRWFSDataSource>"),
    ],
)  # fmt: skip
def test_an_area_opens_nothing_else(tmp_path: Path, suffix: str, content: str) -> None:
    with listening() as (port, asked):
        file = tmp_path / f"area{suffix}"
        file.write_text(content.replace("{url}", f"http://127.0.0.1:{port}/a"))
        with pytest.raises(DataError, match=r"inside|no format of areas"):
            read_areas(file)
        assert not asked


def test_a_pipe_beside_an_area_is_not_waited_for(tmp_path: Path) -> None:
    geopandas.GeoDataFrame(geometry=[SQUARE], crs="EPSG:4326").to_file(tmp_path / "area.shp")
    (tmp_path / "area.dbf").unlink()
    os.mkfifo(tmp_path / "area.dbf")
    with pytest.raises(DataError, match=r"area\.dbf: is a pipe"):
        read_areas(tmp_path / "area.shp")
