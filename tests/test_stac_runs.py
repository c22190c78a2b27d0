"""Indexing what a STAC file names, and an index as a STAC collection."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import range_server
from samples import SIDE, TILE, Ngcg, write_raster
from stac_samples import asset, catalog, found, item, put, reasons

import ngcg_cli
from ngcg_cli.journeys.finding import gone_under
from ngcg_cli.progress import Progress
from ngcg_cli.raster import signed
from ngcg_cli.search import SourceRecord

pystac = pytest.importorskip("pystac")


@pytest.fixture(autouse=True)
def _nothing_is_signed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signed, "_addresses", {})
    monkeypatch.delenv("NGCG_SERVERS", raising=False)


def test_items_are_indexed_kept_and_pruned(ngcg: Ngcg, tmp_path: Path, fake_backbone: Path) -> None:
    for seed, name in enumerate("ab"):
        write_raster(tmp_path / "data" / f"{name}.tif", seed, west=583_000 + 10 * SIDE * seed)
        put(tmp_path / f"{name}-item.json", item(name, f"202{seed}-01-01T00:00:00Z",
                                                 visual=asset(f"data/{name}.tif")))  # fmt: skip
    put(tmp_path / "c-item.json", item("c", p=asset("c.png", "image/png")))
    root = catalog("root", "a-item.json", "b-item.json", "c-item.json")
    put(tmp_path / "catalog.json", root)
    args = ("index", "catalog.json", "--model", fake_backbone, "--tile", f"{TILE}px", "--json")

    planned = ngcg(*args, "--dry-run")
    assert (planned.status, planned.rows[0]["sources"]) == (3, 2)
    first = ngcg(*args)
    assert first.status == 3
    told = [(Path(s["path"]).name, s["status"]) for s in first.rows[0]["sources"]]
    assert told == [("a.tif", "indexed"), ("b.tif", "indexed"), ("c-item.json", "failed")]
    again = ngcg(*args)
    assert [s["status"] for s in again.rows[0]["sources"]] == ["unchanged", "unchanged", "failed"]

    (info,) = ngcg("info", "--json").rows
    assert [(s["item"], s["acquired"], s["gsd"]) for s in info["sources"]] == [
        ("a", "2020-01-01T00:00:00Z", pytest.approx(1, rel=1e-3)),
        ("b", "2021-01-01T00:00:00Z", pytest.approx(1, rel=1e-3)),
    ]
    hits = ngcg("query", "a pond", "--after", "2021", "-k", "50").rows
    assert {Path(hit["source"]).name for hit in hits} == {"b.tif"}

    # What an item tells anew needs no pixel.
    put(tmp_path / "b-item.json", item("b2", "2022-01-01T00:00:00Z",
                                       visual=asset("data/b.tif")))  # fmt: skip
    put(tmp_path / "catalog.json", catalog("root", "b-item.json"))
    pruned = ngcg(*args, "--prune")
    assert (pruned.status, pruned.rows[0]["pruned"], pruned.rows[0]["added"]) == (0, 1, 0)
    (info,) = ngcg("info", "--json").rows
    assert [(s["item"], s["acquired"]) for s in info["sources"]] == [("b2", "2022-01-01T00:00:00Z")]
    # Named by itself it keeps what the item told.
    ngcg("index", tmp_path / "data" / "b.tif")
    (info,) = ngcg("info", "--json").rows
    assert info["sources"][0]["item"] == "b2"


class Heard(Progress):
    """All that it is told, a line each."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def start(self, stage: str, total: int | None, unit: str | None = None) -> None:
        self.lines.append(f"{stage} {total} {unit}")

    def advance(self, count: int) -> None:
        self.lines.append(f"+{count}")

    def at(self, source: str) -> None:
        self.lines.append(Path(source).name)


def test_what_is_listed_and_opened_is_told_as_it_goes(tmp_path: Path, fake_backbone: Path) -> None:
    for name in "ab":
        write_raster(tmp_path / f"{name}.tif", 1, west=583_000 + 10 * SIDE * ord(name))
        put(tmp_path / f"{name}-item.json", item(name, v=asset(f"{name}.tif")))
    source = put(tmp_path / "catalog.json", catalog("root", "a-item.json", "b-item.json"))
    index = tmp_path / "index"
    for opened in (["a.tif", "+1", "b.tif", "+1"], []):
        heard = Heard()
        ngcg_cli.index(source, index, model=str(fake_backbone), tile="32px", progress=heard)
        stages = ["listing None items", "catalog.json", "a-item.json", "+1", "b-item.json", "+1"]
        if opened:
            stages += ["opening 2 rasters", *opened]
        assert heard.lines[: len(stages)] == stages
        assert any(line.startswith("indexing") for line in heard.lines) == bool(opened)


def test_prune_takes_nothing_where_the_catalog_could_not_be_read(tmp_path: Path) -> None:
    put(tmp_path / "a-item.json", item("a", a=asset("a.tif")))
    source = put(tmp_path / "catalog.json", catalog("r", "a-item.json", "no-item.json"))
    record = SourceRecord("/x/old.tif", 1, 1, "8px", 0.0, 0.0, item="old", catalog=source)
    known = {record.path: record}
    assert gone_under([source], known, found(source)) == []
    put(tmp_path / "catalog.json", catalog("r", "a-item.json"))
    assert gone_under([source], known, found(source)) == [record.path]


def test_items_of_a_server_are_read_by_range_and_without_its_signature(
    ngcg: Ngcg, tmp_path: Path, address: str, fake_backbone: Path
) -> None:
    write_raster(tmp_path / "secret" / "a.tif", 1)
    write_raster(tmp_path / "b.tif", 2, west=590_000.0)
    elsewhere = address.replace("127.0.0.1", "localhost")
    put(tmp_path / "stac" / "b-item.json", item("b", a=asset("../b.tif", updated="1")))
    features = [
        item("a", a=asset(f"{address}/secret/a.tif?sig=key")),
        item("other", a=asset(f"{elsewhere}/b.tif")),
        item("file", a=asset(f"file://{tmp_path}/b.tif")),
    ]
    links = [{"rel": "next", "href": "b-item.json"}]
    page = {"type": "FeatureCollection", "features": features, "links": links}
    put(tmp_path / "stac" / "items", page)
    args = ("index", f"{address}/stac/items", "--model", fake_backbone, "--tile", f"{TILE}px",
            "--json")  # fmt: skip
    done = ngcg(*args)
    sources = done.rows[0]["sources"]
    if any("not recognized" in source.get("reason", "") for source in sources):
        pytest.skip("this GDAL cannot fetch: it was built without curl")
    assert done.status == 3
    assert [(s["path"], s["status"]) for s in sources] == [
        (f"{address}/secret/a.tif", "indexed"),
        (f"{address}/stac/items#other", "failed"),
        (f"{address}/stac/items#file", "failed"),
        (f"{address}/b.tif", "indexed"),
    ]
    assert f"NGCG_SERVERS='{elsewhere}'" in sources[1]["reason"]
    assert "came from a server" in sources[2]["reason"]
    assert "sig=" not in (tmp_path / "ngcg-index" / "manifest.json").read_text()
    again = ngcg(*args)
    statuses = [s["status"] for s in again.rows[0]["sources"]]
    assert statuses == ["unchanged", "failed", "failed", "unchanged"]
    # A redirection leads nowhere else either.
    moved = reasons(f"{address}{range_server.REDIRECT}stac/b-item.json")
    assert elsewhere in " ".join(moved.values())


def test_a_remote_asset_that_its_item_calls_changed_is_indexed_again() -> None:
    from ngcg_cli.journeys.planning import _unchanged

    def remote(revision: str | None) -> SourceRecord:
        return SourceRecord("https://h/a.tif", None, None, "8px", 0.0, 0.0, revision=revision)

    assert _unchanged(remote("1"), remote("1"))
    assert _unchanged(remote(None), remote("1"))
    assert _unchanged(remote("1"), remote(None))
    assert not _unchanged(remote("1"), remote("2"))


def test_an_index_is_a_valid_collection(ngcg: Ngcg, town: Path, monkeypatch: Any) -> None:
    import socket

    done = ngcg("info", "--index", town / "index", "--stac")
    assert done.status == 0
    (told,) = done.rows
    monkeypatch.setattr(socket, "socket", None)  # pystac carries the schemas
    made = pystac.Collection.from_dict(told)
    assert made.validate()
    (info,) = ngcg("info", "--index", town / "index", "--json").rows
    boxes = [info["bbox"], *(source["bbox"] for source in info["sources"])]
    assert made.extent.spatial.bboxes == boxes
    assert told["summaries"]["gsd"]["minimum"] == pytest.approx(1, rel=1e-3)
    assert told["summaries"]["ngcg:tile"] == [f"{TILE}px"]
    links = [link.href for link in made.links if link.rel == "derived_from"]
    assert links == [str(town / "a.tif"), str(town / "b.tif")]
    assert ngcg("info", "--index", town / "index", "--stac", "--json").status == 2


def test_a_collection_spans_the_times_that_are_known() -> None:
    from ngcg_cli.output.stac import collection

    def source(path: str, acquired: str | None, box: Any) -> dict[str, Any]:
        return {"path": path, "acquired": acquired, "bbox": box, "tiles": 1, "tile": "8px",
                "gsd": None, "item": None}  # fmt: skip

    report: dict[str, Any] = {
        "index": "milvus:http://h:1/db#town", "model": "tiny", "fingerprint": "a", "dim": 8,
        "precision": "float32", "tiles": 2, "bbox": [179.0, -1.0, -179.0, 1.0],
        "sources": [
            source("a", "2024-05", [179.0, -1.0, 180.0, 1.0]),
            source("b", "2023-01-01/2024-06-01T10:00:00+02:00", [-180.0, -1.0, -179.0, 1.0]),
            source("c", None, None),
        ],
    }  # fmt: skip
    told = collection(report)
    assert told["extent"]["temporal"]["interval"] == [
        ["2023-01-01T00:00:00Z", "2024-06-01T08:00:00Z"]
    ]
    assert pystac.Collection.from_dict(told).validate()
    empty = collection({**report, "tiles": 0, "bbox": None, "sources": []})
    assert empty["extent"]["spatial"]["bbox"] == [[-180.0, -90.0, 180.0, 90.0]]
    assert empty["extent"]["temporal"]["interval"] == [[None, None]]
    assert pystac.Collection.from_dict(empty).validate()
