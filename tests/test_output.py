"""Hits and rows as text: every format, its rounding, its order, its streaming."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import shapely
from hit_samples import SQUARE, hit

from ngcg_cli.journeys.querying import Answer
from ngcg_cli.output import hits as output
from ngcg_cli.output import rows as row_output
from ngcg_cli.output import terminal
from ngcg_cli.search.footprints import geojson_geometry


def text(hit_format: Any, *answers: Answer) -> str:
    return "".join(output.FORMATS[hit_format](answers))


def test_jsonl_is_one_object_a_line_with_the_promised_fields() -> None:
    lines = text("jsonl", Answer("a harbour", [hit(1), hit(2)]), Answer("ü", [hit(1)])).splitlines()
    assert [(json.loads(line)["query"], json.loads(line)["rank"]) for line in lines] == [
        ("a harbour", 1),
        ("a harbour", 2),
        ("ü", 1),
    ]
    assert json.loads(lines[0]) == {
        "query": "a harbour",
        "rank": 1,
        "score": 0.123457,
        "lon": 10.1234568,
        "lat": 0.0,
        "bbox": [10.0, 49.9, 10.1, 50.0],
        "source": "/data/a.tif",
        "window": [0, 224, 224, 100],
        "tile_m": 8934.7,
        "confidence": None,
    }
    assert "-0.0" not in lines[0]
    assert "ü" in lines[2]  # readable, not escaped


def test_jsonl_refuses_what_is_not_a_number() -> None:
    with pytest.raises(ValueError, match="JSON"):
        text("jsonl", Answer("a", [hit(score=float("nan"))]))


def test_csv_has_a_header_and_flat_fields_and_quotes() -> None:
    query = 'a "red" roof, beside\na road'
    rows = list(csv.DictReader(io.StringIO(text("csv", Answer(query, [hit()])))))
    assert rows == [
        {
            "query": query,
            "rank": "1",
            "score": "0.123457",
            "lon": "10.1234568",
            "lat": "0.0000000",
            "west": "10.0000000",
            "south": "49.9000000",
            "east": "10.1000000",
            "north": "50.0000000",
            "source": "/data/a.tif",
            "column": "0",
            "row": "224",
            "width": "224",
            "height": "100",
            "tile_m": "8934.7",
            "confidence": "",
            "point_lon": "",
            "point_lat": "",
            "explanation": "",
        }
    ]


def test_nothing_found_prints_nothing_but_the_frame() -> None:
    empty = Answer("a harbour", [])
    assert text("jsonl", empty) == ""
    assert text("table", empty) == ""
    assert text("csv", empty) == ",".join(output.CSV_FIELDS) + "\n"
    assert json.loads(text("geojson", empty)) == {"type": "FeatureCollection", "features": []}
    assert json.loads(text("geojson")) == {"type": "FeatureCollection", "features": []}


def test_geojson_is_one_collection_over_all_queries() -> None:
    collection = json.loads(text("geojson", Answer("a", [hit(1), hit(2)]), Answer("b", [hit(1)])))
    features = collection["features"]
    assert [f["properties"]["query"] for f in features] == ["a", "a", "b"]
    assert {f["type"] for f in features} == {"Feature"}
    assert features[0]["bbox"] == [10.0, 49.9, 10.1, 50.0]
    assert features[0]["properties"]["window"] == [0, 224, 224, 100]
    assert features[0]["geometry"] == {"type": "Polygon", "coordinates": [list(map(list, SQUARE))]}


def test_geojson_rings_turn_as_they_should_and_nothing_else_changes() -> None:
    hole = [(10.04, 49.96), (10.06, 49.96), (10.06, 49.98), (10.04, 49.96)]
    for ring in (SQUARE, SQUARE[::-1]):
        for inner in (hole, hole[::-1]):
            geometry = geojson_geometry([[ring, inner]])
            exterior, inside = geometry["coordinates"]
            assert geometry["type"] == "Polygon"
            assert shapely.is_ccw(shapely.LinearRing(exterior))
            assert not shapely.is_ccw(shapely.LinearRing(inside))
    west = [(lon + 169.9, lat) for lon, lat in SQUARE]
    east = [(lon - 190, lat) for lon, lat in SQUARE]
    geometry = geojson_geometry([[west], [east]])
    assert geometry["type"] == "MultiPolygon"
    made = shapely.from_geojson(json.dumps(geometry))
    assert made.equals(shapely.MultiPolygon([shapely.Polygon(west), shapely.Polygon(east)]))


@pytest.mark.parametrize("hit_format", ["jsonl", "csv", "geojson", "table"])
def test_hits_come_out_before_the_next_query_is_answered(hit_format: Any) -> None:
    asked: list[str] = []

    def answers() -> Iterator[Answer]:
        for query in ("first", "second"):
            asked.append(query)
            yield Answer(query, [hit()])

    for piece in output.FORMATS[hit_format](answers()):
        if "first" in piece:
            assert asked == ["first"]
            return
    pytest.fail("the first query's hits never came")


def test_table_shows_hits_without_reading_markup(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    source = "/data/[bold]odd[/bold]/" + 120 * "x" + ".tif"
    shown = text("table", Answer("a [red]roof[/red]\x1b[2J", [hit(source=source)]))
    assert "a [red]roof[/red]" in shown
    assert source in shown  # off a terminal nothing is cut or folded
    assert "10.1234568" in shown
    assert "0,224 224x100" in shown
    assert "\x1b" not in shown


@pytest.mark.parametrize("width", ["0", "1", "many"])
def test_a_width_that_is_none_does_not_matter(monkeypatch: pytest.MonkeyPatch, width: str) -> None:
    monkeypatch.setenv("COLUMNS", width)
    assert "10.1234568" in text("table", Answer("a roof", [hit()]))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_colour_is_for_terminals_without_no_color(
    monkeypatch: pytest.MonkeyPatch, no_color: str, coloured: bool
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", no_color)
    stdout = Terminal()
    monkeypatch.setattr(sys, "stdout", stdout)
    output.write_answers([Answer("a harbour", [hit()])], None, stdout)
    assert "a harbour" in stdout.getvalue()
    assert ("\x1b[" in stdout.getvalue()) == coloured


def test_the_default_format_is_jsonl_off_a_terminal() -> None:
    stream = io.StringIO()
    output.write_answers([Answer("a", [hit()])], None, stream)
    assert json.loads(stream.getvalue())["rank"] == 1


def test_rows_in_every_format() -> None:
    table = [{"name": "tiny", "parameters": 8123456, "bundled": True}, {"name": "big", "dim": 2}]
    assert [json.loads(line) for line in row_output.as_jsonl(table).splitlines()] == table
    assert row_output.as_csv(table).splitlines() == [
        "name,parameters,bundled,dim",
        "tiny,8123456,True,",
        "big,,,2",
    ]
    assert row_output.as_table(table).split() == (
        ["name", "parameters", "bundled", "dim", "tiny", "8,123,456", "yes", "big", "2"]
    )


def test_nested_figures_become_rows() -> None:
    report = {"protocol": "recall", "text_to_image": {"R@1": 12.5, "R@5": 50.0}, "mean": 31.25}
    assert row_output.nested(report) == [
        {"metric": "protocol", "value": "recall"},
        {"metric": "text_to_image R@1", "value": 12.5},
        {"metric": "text_to_image R@5", "value": 50.0},
        {"metric": "mean", "value": 31.25},
    ]


def test_messages_are_lines_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    import logging

    terminal.configure()
    log = logging.getLogger("ngcg_cli.somewhere")
    log.info("two\nlines")
    log.warning("careful")
    log.debug("hidden")
    logging.getLogger("rasterio").warning("GDAL speaks")
    captured = capsys.readouterr()
    assert captured.err == "ngcg: two lines\nngcg: warning: careful\n"
    assert captured.out == ""
    terminal.configure(quiet=True)
    log.info("hidden")
    log.error("shown")
    assert capsys.readouterr().err == "ngcg: shown\n"
    terminal.configure(verbose=True)
    log.debug("shown")
    logging.getLogger("rasterio").warning("GDAL speaks")
    assert capsys.readouterr().err == "ngcg: shown\nngcg: warning: rasterio: GDAL speaks\n"
    terminal.configure()


def test_a_message_about_a_book_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    import logging

    terminal.configure()
    logging.getLogger("ngcg_cli").warning("%r: nothing looks like that", "a red house " * 90_000)
    err = capsys.readouterr().err
    assert err.startswith("ngcg: warning: 'a red house a red house ")
    assert err.endswith("a red house ': nothing looks like that\n")
    assert len(err) < 2100


def test_verbose_lets_the_libraries_speak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CPL_LOG", raising=False)
    monkeypatch.setenv("TRANSFORMERS_VERBOSITY", "info")  # the user's own choice stays
    terminal.configure()
    assert os.environ["CPL_LOG"] == os.devnull
    terminal.configure(verbose=True)
    assert "CPL_LOG" not in os.environ
    assert os.environ["TRANSFORMERS_VERBOSITY"] == "info"
    terminal.configure()
