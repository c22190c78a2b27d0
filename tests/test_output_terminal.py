"""What a person at a terminal sees: one line per hit, pictures, a prompt, a word while waiting."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import pytest
from hit_samples import hit
from rich.cells import cell_len
from samples import Ngcg, write_raster

from ngcg_cli.errors import NgcgError, UsageError
from ngcg_cli.journeys.querying import Answer
from ngcg_cli.output import sheets, terminal
from ngcg_cli.output.delivery import Delivery
from ngcg_cli.output.pictures import Pictures
from ngcg_cli.output.sheets import sheet, with_pictures
from ngcg_cli.output.table import hits_table, relative, shortened
from ngcg_cli.raster import Window


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("query", ["a pond", "a red-roofed building " * 20, "漢字" * 100])
def test_a_hit_is_a_line(monkeypatch: pytest.MonkeyPatch, width: int, query: str) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    folder = "/data/" + "deep/" * 12
    hits = [
        hit(rank, source=f"{folder}{name}", lon=-179.1234567, lat=-80.7654321, window=(99999,) * 4)
        for rank, name in ((1, "north/" + "x" * 90 + "-1.tif"), (10, "south/漢字.tif"))
    ]
    lines = hits_table(query, hits).splitlines()
    assert len(lines) == 5  # question, folder, heading, two hits
    assert all(cell_len(line) <= width for line in lines)
    assert "…" in lines[3]
    assert lines[3].rstrip().endswith("-1.tif")  # what tells names apart is at their ends
    assert lines[4].rstrip().endswith("south/漢字.tif")
    assert "deep" not in lines[3]
    assert ("99999" in lines[3]) == (width >= 100)


def test_tiles_of_several_sizes_say_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    def square(metres: float) -> list[Any]:
        side = metres / 110_946  # of a degree at the equator, either way, on the ellipsoid
        ring = [(10.0, 0.0), (10.0, side), (10 + side, side), (10 + side, 0.0), (10.0, 0.0)]
        return [[ring]]

    mixed = [hit(1, footprint=square(100)), hit(2, footprint=square(900.4))]
    for width in (60, 80, 120):
        monkeypatch.setenv("COLUMNS", str(width))
        lines = hits_table("a", mixed).splitlines()
        assert all(cell_len(line) <= width for line in lines)
        assert lines[-3].split()[:3] == ["#", "score", "tile"]
        assert [line.split()[2:4] for line in lines[-2:]] == [["100", "m"], ["900", "m"]]
    alike = [hit(1, footprint=square(100)), hit(2, footprint=square(101))]
    assert "tile" not in hits_table("a", alike)


def test_names_are_relative_to_their_folder_only_where_they_must(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert hits_table("a", [hit(source="/d/a.tif")]).splitlines()[2].endswith("/d/a.tif")
    assert relative(["/d/x/a.tif", "/d/y/a.tif"]) == ("/d", ["x/a.tif", "y/a.tif"])
    assert relative(["/a.tif", "/b.tif"]) == ("/", ["a.tif", "b.tif"])
    assert relative(["s3://b/a.tif"]) == ("s3://b", ["a.tif"])
    assert relative(["a.tif", "/b.tif"]) == ("", ["a.tif", "/b.tif"])
    assert relative(["x", "x/y"]) == ("", ["x", "x/y"])


def test_the_middle_is_left_out() -> None:
    assert shortened("abcdefghij", 10) == "abcdefghij"
    assert shortened("abcdefghij", 7) == "ab…ghij"
    assert cell_len(shortened("漢字" * 10, 9)) <= 9


def test_confidence_has_a_column_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert "conf" not in hits_table("a", [hit()])


def test_pictures_are_drawn_in_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    path = str(write_raster(tmp_path / "a.tif", 1))
    hits = [hit(rank, source=path, window=(0, 0, 32, 32)) for rank in (1, 2, 3)]
    hits.append(hit(4, source="/none.tif"))
    shown = "".join(with_pictures([Answer("a", hits), Answer("b", [])]))
    for rank in (1, 2, 3, 4):
        assert f"#{rank}  0.123" in shown


def test_a_sheet_has_the_tiles_outline(tmp_path: Path) -> None:
    path = str(write_raster(tmp_path / "a.tif", 1))
    with Pictures() as pictures:
        whole = sheet([pictures.cut(path, Window(32, 32, 32, 32), sheets.SIDE), None])
    assert whole.size == (2 * sheets.SIDE + sheets.GAP, sheets.SIDE)
    white = [whole.getpixel((x, sheets.SIDE // 2)) == (255, 255, 255) for x in range(sheets.SIDE)]
    assert sum(white) == 4  # two sides, two pixels each
    assert whole.getpixel((2 * sheets.SIDE, 5)) == (30, 34, 40)


def test_pictures_need_a_terminal_and_a_package(ask: Ngcg, monkeypatch: pytest.MonkeyPatch) -> None:
    done = ask("a pond", "--pictures")
    assert done.status == 2
    assert "-o hits.html" in done.err
    monkeypatch.setattr(sys, "stdout", Terminal())
    with pytest.raises(UsageError, match="not with a file"):
        Delivery("csv", None, None, pictures=True)
    monkeypatch.setattr(sheets, "find_spec", lambda _: None)
    with pytest.raises(NgcgError, match=r"pip install 'ngcg\[pictures\]'"):
        Delivery(None, None, None, pictures=True)


def test_a_prompt_asks_only_who_types(monkeypatch: pytest.MonkeyPatch) -> None:
    err = Terminal()
    monkeypatch.setattr(sys, "stderr", err)
    monkeypatch.setattr(sys, "stdin", Terminal())
    assert list(terminal.prompted([1, 2])) == [1, 2]
    assert err.getvalue() == "query> query> query> \n"
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    quiet: Any = Terminal()
    monkeypatch.setattr(sys, "stderr", quiet)
    assert list(terminal.prompted([1, 2])) == [1, 2]
    assert quiet.getvalue() == ""


def test_a_silent_wait_is_told_to_who_sits_before_it(
    ask: Ngcg, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "loading" not in ask("a pond").err
    err = Terminal()
    monkeypatch.setattr(sys, "stderr", err)
    ask("a pond")
    assert err.getvalue().startswith("ngcg: loading ")
