"""`-o FILE` and `--crops DIR`: every format is read back by a reader of its own."""

from __future__ import annotations

import importlib.util
import json
import os
import resource
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import geopandas
import gpxpy
import lxml.etree
import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio
from fastkml.validator import get_schema_parser
from hit_samples import hit
from hostile import HOSTILE
from PIL import Image
from rasterio.windows import Window
from samples import Ngcg, write_raster

from ngcg_cli.errors import NgcgError, UsageError
from ngcg_cli.journeys.querying import Answer
from ngcg_cli.output.files import WRITERS, check_output, write_output
from ngcg_cli.raster import Raster
from ngcg_cli.raster import Window as Tile

KML = "{http://www.opengis.net/kml/2.2}"
EDGE = [
    [[(west, 50.0), (west, 49.9), (west + 0.1, 49.9), (west + 0.1, 50.0), (west, 50.0)]]
    for west in (179.9, -180.0)
]
LAYERS = {".geojson", ".gpkg", ".fgb", ".parquet"}
ANSWERS = [
    Answer(
        "a harbour", [hit(1), hit(2, lon=180.0, footprint=EDGE, bbox=(179.9, 49.9, -179.9, 50))]
    ),
    Answer("<b>&amp; ü\x00\x1b\ud800", [hit(1, source="/data/<img src=x onerror=alert(1)>.tif")]),
]


def written(folder: Path, suffix: str, answers: list[Answer]) -> Path:
    path = folder / f"hits{suffix}"
    check_output(path)
    write_output(iter(answers), path)
    assert os.listdir(folder) == [path.name]  # nothing beside it
    return path


@pytest.mark.parametrize("suffix", sorted(LAYERS))
def test_layers_hold_footprints_and_fields(tmp_path: Path, suffix: str) -> None:
    path = written(tmp_path, suffix, ANSWERS)
    read = geopandas.read_parquet if suffix == ".parquet" else geopandas.read_file
    frame = read(path).sort_values(["query", "rank"], ascending=[False, True])
    assert frame.crs.to_authority() in {("OGC", "CRS84"), ("EPSG", "4326")}
    assert list(frame["query"])[:2] == ["a harbour", "a harbour"]
    assert list(frame["rank"]) == [1, 2, 1]
    assert frame.geometry.is_valid.all()
    assert sorted(frame.geometry.iloc[0].bounds) == pytest.approx([10.0, 10.1, 49.9, 50.0])
    crossing = frame.geometry.iloc[1]
    assert crossing.geom_type == "MultiPolygon"
    assert crossing.bounds == pytest.approx((-180, 49.9, 180, 50.0))
    assert frame["score"].iloc[0] == 0.123457
    if suffix != ".geojson":
        assert list(frame["east"])[:2] == [10.1, -179.9]
        assert [int(frame[name].iloc[0]) for name in ("column", "row", "width", "height")] == (
            [0, 224, 224, 100]
        )


def test_geoparquet_says_that_it_is_1_1(tmp_path: Path) -> None:
    path = written(tmp_path, ".parquet", ANSWERS)
    geo = json.loads(pq.read_schema(path).metadata[b"geo"])
    assert geo["version"] == "1.1.0"
    assert geo["columns"]["geometry"] == (
        {"encoding": "WKB", "geometry_types": ["MultiPolygon", "Polygon"]}
    )


@pytest.mark.parametrize("suffix", sorted(WRITERS))
def test_no_hits_are_a_file_without_hits(tmp_path: Path, suffix: str) -> None:
    path = written(tmp_path, suffix, [Answer("nothing", [])])
    if suffix in LAYERS - {".geojson"}:
        read = geopandas.read_parquet if suffix == ".parquet" else geopandas.read_file
        assert len(read(path)) == 0


def check_kml(path: Path) -> ElementTree.Element:
    schema = get_schema_parser()
    schema.assertValid(lxml.etree.parse(path))
    return ElementTree.parse(path).getroot()


def test_kml_follows_its_schema_and_shows_no_html_of_others(tmp_path: Path) -> None:
    root = check_kml(written(tmp_path, ".kml", ANSWERS))
    folders = root.findall(f".//{KML}Folder")
    assert [len(folder.findall(f"{KML}Placemark")) for folder in folders] == [2, 1]
    assert [len(mark.findall(f".//{KML}Polygon")) for mark in root.iter(f"{KML}Placemark")] == (
        [1, 2, 1]
    )
    point = root.find(f".//{KML}Point/{KML}coordinates")
    assert point is not None
    assert point.text == "10.1234568,0.0000000"
    told = root.findall(f".//{KML}description")[-1].text or ""
    assert "<img" not in told
    assert "&lt;img src=x onerror=alert(1)&gt;" in told
    assert [text.text for text in root.iter(f"{KML}text")] == ["$[description]"]


def check_gpx(path: Path) -> Any:
    allowed = ["name", "cmt", "desc", "src"]  # a part of the schema's sequence, in its order
    root = ElementTree.parse(path).getroot()
    assert root.tag == "{http://www.topografix.com/GPX/1/1}gpx"
    assert root.attrib == {"version": "1.1", "creator": "ngcg"}
    for point in root:
        assert [child.tag.split("}")[1] for child in point] == allowed
        assert -90 <= float(point.attrib["lat"]) <= 90
        assert -180 <= float(point.attrib["lon"]) < 180
    return gpxpy.parse(path.read_text("utf-8"))


def test_gpx_is_waypoints_in_the_order_of_its_schema(tmp_path: Path) -> None:
    found = check_gpx(written(tmp_path, ".gpx", ANSWERS))
    assert [(w.latitude, w.longitude) for w in found.waypoints] == [
        (0.0, 10.1234568),
        (0.0, -180.0),
        (0.0, 10.1234568),
    ]
    assert found.waypoints[0].name == "1 a harbour"
    assert found.waypoints[2].source == "/data/<img src=x onerror=alert(1)>.tif"


@pytest.mark.parametrize("suffix", [".kml", ".gpx", ".gpkg", ".fgb", ".parquet"])
def test_hostile_texts_stay_texts(tmp_path: Path, suffix: str) -> None:
    answers = [Answer(text, [hit(1, source=f"/data/{text}")]) for text in HOSTILE]
    path = written(tmp_path, suffix, answers)
    if suffix == ".kml":
        assert len(list(check_kml(path).iter(f"{KML}Placemark"))) == len(HOSTILE)
    elif suffix == ".gpx":
        assert len(check_gpx(path).waypoints) == len(HOSTILE)
    else:
        read = geopandas.read_parquet if suffix == ".parquet" else geopandas.read_file
        queries = set(read(path)["query"])
        harmless = [text for text in HOSTILE if text.isprintable() and text.strip()]
        assert len(queries) >= len(harmless)
        assert queries >= set(harmless)


def test_what_was_there_stays_when_a_question_fails(tmp_path: Path) -> None:
    path = tmp_path / "hits.kml"
    path.write_text("before")

    def failing() -> Any:
        yield ANSWERS[0]
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        write_output(failing(), path)
    assert path.read_text() == "before"
    assert os.listdir(tmp_path) == ["hits.kml"]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("hits", "no suffix"),
        ("hits.shp", "'.shp' says no format"),
        ("none/hits.kml", "there is no folder"),
        (".", "no suffix"),
        ("folder.csv", "is a folder"),
        ("pipe.csv", "is a pipe or device"),
    ],
)
def test_no_place_for_a_file_is_said_first(tmp_path: Path, name: str, told: str) -> None:
    (tmp_path / "folder.csv").mkdir()
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(UsageError, match=told):
        check_output(tmp_path / name if name != "." else Path("."))


def test_the_suffix_and_the_format_must_agree(tmp_path: Path) -> None:
    check_output(tmp_path / "a.CSV", "csv")
    with pytest.raises(UsageError, match="do not agree"):
        check_output(tmp_path / "a.kml", "csv")


def test_a_missing_package_names_the_pip_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ngcg_cli.output.files.find_spec", lambda _: None)
    with pytest.raises(NgcgError, match=r"pip install 'ngcg\[gis\]'"):
        check_output(tmp_path / "a.gpkg")


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, hard))  # no file may be longer
    try:
        with pytest.raises(NgcgError, match=r"hits\.kml: cannot be written: File too large"):
            write_output(ANSWERS, tmp_path / "hits.kml")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert os.listdir(tmp_path) == []


def test_a_link_stays_and_what_it_points_to_is_written(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    link, real = tmp_path / "hits.kml", tmp_path / "shared" / "today.kml"
    link.symlink_to(real)
    check_output(link)
    write_output(ANSWERS, link)
    assert link.is_symlink()
    assert real.read_text().startswith("<?xml")
    assert os.listdir(tmp_path / "shared") == ["today.kml"]
    (tmp_path / "lost.kml").symlink_to(tmp_path / "nowhere" / "a.kml")
    with pytest.raises(UsageError, match=r"there is no folder .*nowhere"):
        check_output(tmp_path / "lost.kml")


# --- the command ---------------------------------------------------------------------------------


def test_query_writes_a_file_and_nothing_else(ask: Ngcg, tmp_path: Path) -> None:
    rows = ask("a pond", "-k", 3).rows
    done = ask("a pond", "-k", 3, "-o", "hits.jsonl")
    assert (done.status, done.out) == (0, "")
    lines = (tmp_path / "hits.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == rows
    assert importlib.util.find_spec("pyogrio") is not None
    assert ask("-", "-o", "hits.gpkg", stdin=b"a pond\na road\n").status == 0
    assert len(geopandas.read_file(tmp_path / "hits.gpkg")) == 20


def test_crops_are_the_pixels_of_the_hits_and_georeferenced(ask: Ngcg, tmp_path: Path) -> None:
    rows = ask("a pond", "-k", 2, "--crops", "crops").rows
    folder = tmp_path / "crops"
    assert sorted(os.listdir(folder)) == (
        ["0001-001.png", "0001-001.tif", "0001-002.png", "0001-002.tif", "crops.jsonl"]
    )
    listed = [json.loads(line) for line in (folder / "crops.jsonl").read_text().splitlines()]
    assert [{k: v for k, v in row.items() if k not in ("tif", "png")} for row in listed] == rows
    for row in listed:
        with rasterio.open(row["source"]) as whole, rasterio.open(folder / row["tif"]) as crop:
            window = Window(*row["window"])
            pixels = whole.read(window=window)
            assert (crop.read() == pixels).all()
            assert crop.crs == whole.crs
            assert crop.transform == whole.window_transform(window)
        shown = np.asarray(Image.open(folder / row["png"]))
        assert (shown == np.moveaxis(pixels, 0, -1)).all()
    # Again: earlier crops are replaced, all of them.
    assert ask("a pond", "-k", 1, "--crops", "crops").status == 0
    assert sorted(os.listdir(folder)) == ["0001-001.png", "0001-001.tif", "crops.jsonl"]


def test_crops_keep_out_of_a_folder_of_others(ask: Ngcg, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "0001-001.tif").write_text("precious")
    done = ask("a pond", "--crops", "mine")
    assert done.status == 2
    assert "no crop of ours" in done.err
    assert (tmp_path / "mine" / "0001-001.tif").read_text() == "precious"


def test_crops_of_a_raster_that_is_gone_are_named(
    ngcg: Ngcg, fake_backbone: Path, tmp_path: Path
) -> None:
    write_raster(tmp_path / "a.tif", 1)
    assert ngcg("index", "a.tif", "--tile", "32px", "--model", fake_backbone).status == 0
    (tmp_path / "a.tif").unlink()
    done = ngcg("query", "a pond", "-k", 2, "--crops", "crops")
    assert done.status == 3
    assert len(done.rows) == 2
    assert done.err.count("no crop of hit") == 2
    assert os.listdir(tmp_path / "crops") == ["crops.jsonl"]


def test_a_raster_that_another_has_taken_the_place_of_is_not_looked_at(
    ngcg: Ngcg, fake_backbone: Path, tmp_path: Path
) -> None:
    write_raster(tmp_path / "a.tif", 1)
    assert ngcg("index", "a.tif", "--tile", "32px", "--model", fake_backbone).status == 0
    before = ngcg("query", "a pond", "-k", 2).rows
    write_raster(tmp_path / "a.tif", 1, west=600_000.0)
    for how in (["--crops", "crops"], ["--refine"]):
        done = ngcg("query", "a pond", "-k", 2, *how)
        assert done.status == 3
        assert done.rows == before
        assert "a.tif: has changed since it was indexed: window [" in done.err
    assert os.listdir(tmp_path / "crops") == ["crops.jsonl"]
    # A better known datum moves it a little.
    write_raster(tmp_path / "a.tif", 1, west=583_003.0)
    assert ngcg("query", "a pond", "-k", 2, "--crops", "crops").status == 0


def test_crop_keeps_nodata_palette_mask_and_dtype(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "n.tif", 1, dtype="int16", nodata=-9)
    with rasterio.open(path, "r+") as dataset:
        dataset.scales, dataset.offsets = (0.1,) * 3, (7,) * 3
    with Raster.open(path) as raster:
        raster.crop(Tile(3, 5, 20, 10), tmp_path / "c.tif")
    with rasterio.open(tmp_path / "c.tif") as crop:
        assert (crop.nodata, crop.dtypes[0], crop.shape) == (-9, "int16", (10, 20))
        assert (crop.scales, crop.offsets) == ((0.1,) * 3, (7,) * 3)
    masked = write_raster(tmp_path / "m.tif", 1, count=3)
    with rasterio.open(masked, "r+") as dataset:
        mask = np.full(dataset.shape, 255, np.uint8)
        mask[:8] = 0
        dataset.write_mask(mask)
    with Raster.open(masked) as raster:
        raster.crop(Tile(0, 0, 16, 16), tmp_path / "m2.tif")
    with rasterio.open(tmp_path / "m2.tif") as crop:
        assert (crop.read_masks(1)[:8] == 0).all()
        assert (crop.read_masks(1)[8:] == 255).all()
