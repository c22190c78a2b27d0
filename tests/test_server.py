"""`ngcg serve`: what it answers, and what it refuses."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hostile import HOSTILE
from PIL import Image
from samples import Ngcg
from serving import HOST, HOSTILE_RASTER, add_hostile_raster, copied, desk_of
from starlette.testclient import TestClient

from ngcg_cli.server.app import application
from ngcg_cli.server.desk import Desk
from ngcg_cli.server.heat import heat


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory, town: Path) -> Path:
    return copied(town, tmp_path_factory.mktemp("served"))


@pytest.fixture(scope="module")
def desk(index: Path) -> Desk:
    return desk_of(index)


@pytest.fixture(scope="module")
def client(desk: Desk) -> Iterator[TestClient]:
    with TestClient(application(desk, HOST), base_url=f"http://{HOST}:8765") as opened:
        yield opened


def picture(response: Any) -> np.ndarray:
    assert response.status_code == 200, response.text
    return np.asarray(Image.open(io.BytesIO(response.content)).convert("RGBA"))


def test_query_answers_what_the_command_prints(client: TestClient, ask: Ngcg) -> None:
    box = "-74.02,40,-74,41"
    for more, options in (
        ({}, ()),
        ({"k": 3}, ("-k", 3)),
        ({"add": ["2:a road", "trees"], "subtract": "0.5:water"},
         ("--add", "2:a road", "--add", "trees", "--subtract", "0.5:water")),
        ({"like": "40.7096,-74.017", "unlike": "2:40.7092,-74.016"},
         ("--like", "40.7096,-74.017", "--unlike", "2:40.7092,-74.016")),
        ({"bbox": box}, ("--bbox", box)),
        ({"near": "40.7096,-74.017", "within": 100}, ("--near", "40.7096,-74.017",
                                                      "--within", 100)),
    ):  # fmt: skip
        answer = client.get("/api/query", params={"q": "a pond", **more})
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("application/geo+json")
        printed = ask("a pond", "--format", "geojson", *options).out
        assert answer.json() == json.loads(printed)


def test_info_numbers_the_sources(client: TestClient, town: Path) -> None:
    info = client.get("/api/info").json()
    paths = {source["path"] for source in info["sources"]}
    assert {str(town / "a.tif"), str(town / "b.tif")} <= paths
    assert len({source["number"] for source in info["sources"]}) == len(info["sources"])
    assert info["tiles"] == sum(source["tiles"] for source in info["sources"])


def test_the_api_is_described(client: TestClient) -> None:
    described = client.get("/openapi.json").json()
    assert described["openapi"].startswith("3.1")
    hit = client.get("/api/query", params={"q": "a pond", "k": 1}).json()["features"][0]
    answer = described["paths"]["/api/query"]["get"]["responses"]["200"]["content"]
    feature = answer["application/geo+json"]["schema"]["properties"]["features"]["items"]
    properties = feature["properties"]["properties"]
    assert set(properties["required"]) <= set(hit["properties"])
    for parameter in described["paths"]["/api/query"]["get"]["parameters"]:
        value = {"q": "b", "k": 1, "bbox": "-75,40,-74,41", "near": "40,-74", "within": 5}
        name = parameter["name"]
        if name in value:
            asked = {"q": "a", name: value[name]}
            asked |= {"near": "40,-74", "within": 5} if name in ("near", "within") else {}
            assert client.get("/api/query", params=asked).status_code == 200


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("", "q is missing"),
        ("q=", "q is missing"),
        ("q=a&q=b", "twice"),
        ("q=a&k=0", "whole number from 1"),
        ("q=a&k=1e3", "whole number"),
        ("q=a&k=201", "to 200"),
        ("q=a&k=%C2%B2", "whole number"),
        ("q=a&bbox=1,2,3", "bbox: '1,2,3' is not 4 finite numbers"),
        ("q=a&near=1,2&within=x", "within: 'x' is not a finite number"),
        ("q=a&bbox=1,2,3,nan", "finite"),
        ("q=a&bbox=1,50,2,40", "not on the globe"),
        ("q=a&near=1,2", "go together"),
        ("q=a&near=1,2&within=-5", "metres"),
        ("q=a&image=/etc/passwd", "unknown parameter"),
        ("q=a%00b", "NUL"),
        ("q=a&add=", "says nothing"),
        ("q=a&add=0:b", "weight"),
        ("q=a&like=1", "LAT,LON"),
        ("q=a&like=0,0", "no tile of the index"),
        ("q=a&" + "&".join(["add=b"] * 20), "more than 20 parts"),
        (f"q={'a' * 1001}", "more than 1000"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_line(
    client: TestClient, asked: str, told: str
) -> None:
    answer = client.get(f"/api/query?{asked}")
    assert answer.status_code == 400
    assert told in answer.json()["error"]


def test_imagery_comes_from_the_rasters_of_the_index(client: TestClient, town: Path) -> None:
    hit = client.get("/api/query", params={"q": "a pond", "k": 1}).json()["features"][0]
    numbers = {s["path"]: s["number"] for s in client.get("/api/info").json()["sources"]}
    lon, lat = hit["properties"]["lon"], hit["properties"]["lat"]
    z = 19
    x = int((lon + 180) / 360 * 2**z)
    y = int((1 - np.arcsinh(np.tan(np.radians(lat))) / np.pi) / 2 * 2**z)
    tile = picture(client.get(f"/api/tiles/{z}/{x}/{y}.webp"))
    assert tile.shape == (256, 256, 4)
    assert tile[..., 3].any()
    assert not picture(client.get("/api/tiles/3/0/0.webp"))[..., 3].any()
    number = numbers[hit["properties"]["source"]]
    edge = 20_037_508.342789
    left, top = x * 2 * edge / 2**z - edge, edge - y * 2 * edge / 2**z
    size = 2 * edge / 2**z
    box = f"{left},{top - size},{left + size},{top}"
    assert picture(client.get(f"/api/pictures/{number}/{box}.webp"))[..., 3].any()


@pytest.mark.parametrize(
    "address",
    [
        "/api/tiles/3/8/0.webp",
        "/api/tiles/99999/0/0.webp",
        f"/api/tiles/{'9' * 5000}/0/0.webp",
        "/api/pictures/0/nan,0,1,1.webp",
        "/api/pictures/0/1,1,0,0.webp",
        "/api/pictures/0/0,0,1e300,1e300.webp",
        "/api/pictures/12345/0,0,1,1.webp",
        "/api/heat?q=a",
        "/api/heat?q=a&bounds=1,1,0,0",
    ],
)
def test_there_is_no_such_image(client: TestClient, address: str) -> None:
    assert client.get(address).status_code == (414 if len(address) > 1000 else 400)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_are_texts(client: TestClient, text: str) -> None:
    try:
        answer = client.get("/api/query", params={"q": text, "k": 1})
    except (UnicodeEncodeError, ValueError):
        return  # no client can send a lone surrogate
    assert answer.status_code in (200, 400, 414)
    if answer.status_code == 200:
        (found,) = answer.json()["features"]
        assert found["properties"]["query"] == text.strip()
        assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    [
        "/static/../../../../etc/passwd",
        "/static/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "/static//etc/passwd",
        "/static/page.html",
        "/api/tiles/..%2f..%2fetc/0/0.webp",
        "/api/pictures/..%2f/0,0,1,1.webp",
        "/api/pictures//etc/passwd/0,0,1,1.webp",
        "/.git/config",
        "/static/leaflet.js%00.css",
        "/%00",
        "/static/%ff",
        "/api/pictures/-1/0,0,1,1.webp",
    ],
)
def test_no_path_leads_to_a_file(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code in (400, 404)
    assert "root:" not in answer.text


def test_a_text_is_never_the_path_of_a_picture(client: TestClient, tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    Image.new("RGB", (40, 40), (200, 10, 10)).save(path)
    by_name = client.get("/api/query", params={"add": str(path), "k": 1}).json()
    as_text = client.get("/api/query", params={"q": str(path), "k": 1}).json()
    assert by_name == as_text


# --- an index that others write to ---------------------------------------------------------------


def test_what_is_committed_meanwhile_is_seen(client: TestClient, index: Path) -> None:
    before = client.get("/api/info").json()
    add_hostile_raster(index)
    after = client.get("/api/info").json()
    assert after["tiles"] == before["tiles"] + 16
    assert after["revision"] > before["revision"]
    assert [s["number"] for s in after["sources"][:2]] == (
        [s["number"] for s in before["sources"][:2]]
    )
    found = client.get("/api/query", params={"q": "a pond", "k": 60}).json()["features"]
    assert any(f["properties"]["source"].endswith(HOSTILE_RASTER) for f in found)


def test_heat_is_where_the_scores_are() -> None:
    boxes = np.array([[0, 0, 1, 1], [1, 0, 2, 1], [0, 1, 1, 2], [179, 0, -179, 1]], np.float64)
    scores = np.array([0.9, 0.1, 0.2, np.nan], np.float32)
    edge = 20_037_508.342789 / 180
    image = np.asarray(Image.open(io.BytesIO(heat(boxes, scores, (0, 0, 2 * edge, 2 * edge), 64))))
    assert tuple(image[48, 16]) == (253, 231, 37, 205)  # the best, below on the left
    assert image[48, 48, 3] == 0
    assert image[16, 48, 3] == 0  # no tile
