"""STAC: which rasters a file of it names, where it may lead, and an index told as a collection."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from samples import Ngcg, write_raster
from stac_samples import COG, asset, catalog, found, item, put, reason, reasons

from ngcg_cli.raster import signed
from ngcg_cli.search import Filters, SourceRecord
from ngcg_cli.search.records import span
from ngcg_cli.stac import door, reading

pytest.importorskip("pystac")


@pytest.fixture(autouse=True)
def _nothing_is_signed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(signed, "_addresses", {})
    monkeypatch.delenv("NGCG_SERVERS", raising=False)
    return


# --- which asset ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("assets", "wanted", "picked"),
    [
        ({"a": asset("a.tif")}, None, "a"),
        ({"a": asset("a.tif", None)}, None, "a"),
        ({"a": asset("a.png", "image/png"), "b": asset("b.jp2", "image/jp2")}, None, "b"),
        ({"B04": asset("r.tif", COG, "data"), "tci": asset("v.tif", COG, "visual")}, None, "tci"),
        ({"all": asset("r.tif", COG, "data"), "dem": asset("d.tif")}, None, "all"),
        ({"a": asset("a.jp2", "image/jp2", "visual"), "b": asset("b", COG, "visual")}, None, "b"),
        ({"a": asset("a.tif", "image/tiff", "data"), "b": asset("b", COG, "data")}, None, "b"),
        ({"visual": asset("a", COG, "data"), "nir": asset("b", COG, "data")}, None, "visual"),
        ({"t": asset("t.tif", COG, "thumbnail"), "a": asset("a", COG)}, None, "a"),
        ({"B04": asset("r.tif"), "B08": asset("n.tif")}, "B08", "B08"),
        ({"x_0.1_y": asset("r.tif"), "x_2_y": asset("n.tif")}, "*_0.1_*", "x_0.1_y"),
        ({"p": asset("p.png", "image/png")}, "p", "p"),
    ],
)
def test_the_asset_is_picked_by_role_and_type(
    tmp_path: Path, assets: dict[str, Any], wanted: str | None, picked: str
) -> None:
    source = put(tmp_path / "item.json", item("one", **assets))
    names = found(source, asset=wanted).paths
    assert names == [str(tmp_path / assets[picked]["href"])]


@pytest.mark.parametrize(
    ("assets", "wanted", "told"),
    [
        (
            {"p": asset("p.png", "image/png")},
            None,
            "no asset that is a GeoTIFF .*has p.*--asset",
        ),
        ({}, None, "it has none"),
        ({"B04": asset("r"), "B08": asset("n")}, None, "2 assets that would do: B04, B08"),
        ({"B04": asset("r"), "B08": asset("n")}, "B*", r"2 assets 'B\*' \(it has B04, B08"),
        ({"B04": asset("r"), "B08": asset("n")}, "red", r"no asset 'red' \(it has B04, B08"),
    ],
)
def test_no_asset_or_too_many_are_told(
    tmp_path: Path, assets: dict[str, Any], wanted: str | None, told: str
) -> None:
    source = put(tmp_path / "item.json", item("one", **assets))
    assert re.search(told, " ".join(reasons(source, asset=wanted).values()))


# --- what an item tells --------------------------------------------------------------------------


def test_id_and_time_are_kept(tmp_path: Path) -> None:
    interval = {
        "start_datetime": "2024-05-01T00:00:00Z",
        "end_datetime": "2024-05-31T12:00:00+02:00",
    }
    items = [
        item("moment", "2024-05-17T12:30:00+02:00", a=asset("a.tif")),
        item("span", None, a=asset("b.tif"), properties=interval),
        {**item("old", a=asset("c%20d.tif")), "stac_version": "0.9.0"},
    ]
    write_raster(tmp_path / "c d.tif", 1)
    source = put(tmp_path / "items.json", {"type": "FeatureCollection", "features": items})
    told = found(source)
    assert [os.path.basename(path) for path in told.paths] == ["a.tif", "b.tif", "c d.tif"]
    assert [(one.item, one.catalog, one.acquired) for one in told.items.values()] == [
        ("moment", source, "2024-05-17T10:30:00Z"),
        ("span", source, "2024-05-01T00:00:00Z/2024-05-31T10:00:00Z"),
        ("old", source, "2024-05-17T10:30:00Z"),
    ]


def test_an_interval_is_found_by_any_part_of_it() -> None:
    record = SourceRecord("a", 1, 1, "8px", 0.0, 0.0, acquired="2024-05-01/2024-05-31T12:00Z")
    for filters, taken in (
        ({"after": "2024-05-31"}, True),
        ({"after": "2024-06"}, False),
        ({"before": "2024-05-02"}, True),
        ({"before": "2024-05"}, False),
        ({"after": "2024-05-10", "before": "2024-05-11"}, True),
    ):
        assert Filters(**filters).takes(record) is taken, filters
    for wrong in ("2024-05/2024-04", "2024/", "/2024", "x/2024"):
        with pytest.raises(ValueError, match=r"."):
            span(wrong)


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ('{"type": "FeatureCollection", "features": [{}]}', "is GeoJSON, but no STAC"),
        ('{"type": "Polygon", "coordinates": []}', "is GeoJSON, but no STAC"),
        ('{"a": 1}', "is JSON, but no STAC"),
        ("[1]", "is JSON, but no STAC"),
        ("{", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ({**item("a"), "stac_version": "2.0.0"}, "STAC of version '2.0.0'; versions 0.6 to 1"),
        ({**item("a"), "type": "Feature Film"}, "of type 'Feature Film'"),
        ({**item("a", a=asset("a.tif")), "properties": {}}, "no valid STAC item"),
        (item("a", "yesterday", a=asset("a.tif")), "no valid STAC item"),
        (item("x" * 600, a=asset("a.tif")), "an id of 600 characters"),
        (item("a", a=asset("a\0.tif")), "which is no address"),
        (item("a", a=asset("a\ud800.tif")), "which is no address"),
        (
            item("a", None, a=asset("a.tif"), properties={
                "start_datetime": "2024-05-02T00:00:00Z", "end_datetime": "2024-05-01T00:00:00Z"}),
            "before it starts",
        ),
        (catalog("empty"), "names no item that can be read"),
        ({**catalog("api"), "links": [{"rel": "items", "href": "x"}]}, "is a STAC API"),
    ],
)  # fmt: skip
def test_what_is_no_stac_is_told_in_a_line(tmp_path: Path, document: Any, told: str) -> None:
    assert told in " ".join(reasons(put(tmp_path / "a.json", document)).values())


def test_a_file_that_is_not_there_or_not_plain(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    os.mkfifo(tmp_path / "pipe.parquet")
    assert "No such file" in reasons(str(tmp_path / "no.json"))[str(tmp_path / "no.json")]
    for name in ("pipe.json", "pipe.parquet"):
        assert "is no plain file" in reasons(str(tmp_path / name))[str(tmp_path / name)]


def test_without_the_extra_it_says_what_to_type(
    ngcg: Ngcg, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "a.json", item("a", a=asset("a.tif")))
    monkeypatch.setitem(sys.modules, "pystac", None)
    done = ngcg("index", "a.json", "-q")
    assert done.status == 1
    assert "pip install 'ngcg[stac]'" in done.err


# --- where it leads ------------------------------------------------------------------------------


def test_a_catalog_is_walked_in_order_and_each_document_once(tmp_path: Path) -> None:
    put(tmp_path / "b" / "item.json", item("b", a=asset("../data/b.tif")))
    put(tmp_path / "c" / "item.json", item("c", a=asset("c.tif")))
    put(tmp_path / "d" / "bad-item.json", "{")
    put(tmp_path / "b" / "catalog.json", catalog("b", "./item.json", "../catalog.json"))
    root = catalog("root", "b/catalog.json", "c/item.json", "d/bad-item.json", "./b/item.json")
    source = put(tmp_path / "catalog.json", root)
    told = found(source)
    # The root names the item of `b` too, and is first to do so.
    files = [tmp_path / "c" / "c.tif", tmp_path / "d" / "bad-item.json", tmp_path / "data/b.tif"]
    assert told.paths == [str(file) for file in files]
    assert list(told.failed) == [str(files[1])]
    assert told.whole == set()


def test_links_do_not_leave_the_folder(tmp_path: Path) -> None:
    secret = put(tmp_path / "secret-item.json", item("s", a=asset("s.tif")))
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link-item.json").symlink_to(secret)
    hrefs = ["../secret-item.json", f"file://{secret}", secret, "link-item.json",
             "file:///etc/passwd", "ftp://example.org/item.json", "s3://bucket/item.json",
             "/vsizip/a.zip/item.json", "https://example.org/item.json"]  # fmt: skip
    source = put(tmp_path / "in" / "catalog.json", catalog("root", *hrefs))
    told = found(source)
    assert not told.items
    texts = [str(error) for error in told.failed.values()]
    assert sum("lies outside of" in text for text in texts) == 3  # the secret has one name
    assert any("nor a URL" in text for text in texts)
    assert any("--fetch, or NGCG_SERVERS='https://example.org'" in text for text in texts)


def test_assets_are_plain_files_or_of_servers_that_the_user_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "pipe.tif")
    refused = {
        "pipe.tif": "no plain file",
        "/dev/null": "no plain file",
        "/vsicurl/https://example.org/a.tif": "neither a file nor a URL",
        "ftp://example.org/a.tif": "neither a file nor a URL",
        "https://example.org/a.tif": "only the STAC file names the server https://example.org",
        "s3://bucket/a.tif": "only the STAC file names the server s3://bucket",
    }
    features = [item(str(n), a=asset(href)) for n, href in enumerate(refused)]
    source = put(tmp_path / "items.json", {"type": "FeatureCollection", "features": features})
    told = reasons(source)
    assert len(told) == len(refused)
    for number, words in enumerate(refused.values()):
        assert words in told[f"{source}#{number}"]
    remote = ["https://example.org/a.tif", "s3://bucket/a.tif"]
    assert list(found(source, fetch=True).items) == remote
    assert list(found(source, "https://example.org/b.tif").items) == remote[:1]
    monkeypatch.setenv("NGCG_SERVERS", "s3://bucket")
    assert list(found(source).items) == remote[1:]


def test_depth_count_and_bytes_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for level in range(40):
        put(tmp_path / f"{level}.json", catalog(str(level), f"{level + 1}.json"))
    source = str(tmp_path / "0.json")
    assert "lies deeper than 32" in " ".join(reasons(source).values())
    monkeypatch.setattr(reading, "MAX_DOCUMENTS", 5)
    assert "names over 5 documents" in reason(source)
    features = [item(str(n), a=asset(f"{n}.tif")) for n in range(9)]
    items = put(tmp_path / "items.json", {"type": "FeatureCollection", "features": features})
    monkeypatch.setattr(reading, "MAX_ITEMS", 3)
    told = found(items)
    assert (len(told.items), told.whole) == (3, set())
    assert "3 items" in reason(items)
    monkeypatch.setattr(door, "MAX_DOCUMENT", 100)
    assert "has over 0 MiB" in reason(items)


def test_credentials_are_no_part_of_a_name() -> None:
    plain = "https://h.org/a.tif"
    for secret in ("?X-Amz-Signature=ab&X-Amz-Date=1&x-amz-credential=c", "?sv=1&se=2&sig=ab%3D",
                   "?Expires=1&Signature=a&Key-Pair-Id=k", "?token=abc", "?api_key=1"):  # fmt: skip
        assert signed.unsigned(plain + secret) == plain
    assert signed.unsigned("https://me:pw@h.org/a.tif") == plain
    kept = f"{plain}?band=1&st=2"  # nothing is signed: `st` may mean anything
    assert signed.unsigned(kept) == kept
    assert signed.unsigned(f"{kept}&sig=x") == f"{plain}?band=1"
    assert signed.remember(f"{plain}?token=abc") == plain
    assert signed.address_of(plain) == f"{plain}?token=abc"
    assert signed.hidden(f"{plain}?token=abc: 403", plain) == f"{plain}: 403"


# --- a table of items ----------------------------------------------------------------------------


def test_a_table_of_items(tmp_path: Path) -> None:
    from datetime import UTC, datetime

    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [
        {"id": "a", "datetime": datetime(2024, 5, 17, tzinfo=UTC),
         "start_datetime": None, "end_datetime": None,
         "assets": {"visual": asset("a.tif", COG, "visual"), "nir": asset("n.tif", COG, "data")}},
        {"id": "b", "datetime": None, "start_datetime": datetime(2024, 5, 1, tzinfo=UTC),
         "end_datetime": datetime(2024, 5, 2, tzinfo=UTC), "assets": {"nir": asset("b.tif")}},
        {"id": "c", "datetime": None, "assets": {}},
    ]  # fmt: skip
    path = str(tmp_path / "items.parquet")
    pq.write_table(pa.Table.from_pylist(rows), path)
    told = found(path)
    assert [os.path.basename(name) for name in told.items] == ["a.tif", "b.tif"]
    assert [(one.item, one.acquired) for one in told.items.values()] == [
        ("a", "2024-05-17T00:00:00Z"),
        ("b", "2024-05-01T00:00:00Z/2024-05-02T00:00:00Z"),
    ]
    assert list(told.failed) == [f"{path}#c"]

    pq.write_table(pa.table({"x": [1]}), path)
    assert "lacks the columns id and assets" in reasons(path)[path]
    Path(path).write_bytes(b"PAR1" + bytes(100) + b"PAR1")
    assert "no sound Parquet" in reasons(path)[path]


# --- an index as a collection --------------------------------------------------------------------
