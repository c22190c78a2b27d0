"""What all commands have in common: help, usage errors, exit statuses, streams."""

from __future__ import annotations

from pathlib import Path

import pytest
from samples import Ngcg


def test_version_and_help_are_results(ngcg: Ngcg) -> None:
    assert ngcg("--version").out.startswith("ngcg 0.")
    for command in ((), ("index",), ("query",), ("models",), ("eval",)):
        outcome = ngcg(*command, "--help")
        assert (outcome.status, outcome.err) == (0, "")
        assert "Example:" in outcome.out
        assert "  ngcg " in outcome.out


def test_no_command_shows_the_help_on_stderr(ngcg: Ngcg) -> None:
    outcome = ngcg()
    assert (outcome.status, outcome.out) == (2, "")
    assert "Commands:" in outcome.err


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["indx"], "No such command 'indx'. Did you mean 'index'?"),
        (["query", "--nope", "x"], "--nope"),
        (["index"], "Missing argument"),
        (["query"], "TEXT or --image"),
        (["query", "--subtract", "x"], "TEXT or --image"),
        (["query", "  "], "TEXT is empty"),
        (["query", ""], "an argument is empty"),
        (["query", "a", "--source", ""], "--source is empty"),
        (["query", "a", "--after="], "--after is empty"),
        (["index", "a.tif", "--index", ""], "--index is empty"),
        (["index", "", "a.tif"], "an argument is empty"),
        (["query", "a", "-k", "0"], "-k"),
        (["query", "a", "--format", "xml"], "jsonl"),
        (["query", "a", "--near", "1,2"], "--within"),
        (["query", "a", "--within", "10"], "--near"),
        (["query", "a", "--near", "1,2", "--within", "-5"], "above 0"),
        (["query", "a", "--near", "1,2", "--within", "nan"], "above 0"),
        (["query", "a", "--near", "95,2", "--within", "5"], "latitude 95"),
        (["query", "a", "--near", "1", "--within", "5"], "LAT,LON"),
        (["query", "a", "--bbox", "1,2,3"], "W,S,E,N"),
        (["query", "a", "--bbox", "1,2,3,x"], "'1,2,3,x'"),
        (["query", "a", "--bbox", "1,2,3,nan"], "W,S,E,N"),
        (["query", "a", "--bbox", "1,4,3,2"], "south 4 lies above north 2"),
        (["query", "a", "--bbox", "-190,1,3,2"], "longitude -190"),
        (["index", "a.tif", "--tile", "224"], "px"),
        (["index", "a.tif", "--min-valid", "2"], "--min-valid"),
        (["index", "a.tif", "--batch-size", "0"], "--batch-size"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(ngcg: Ngcg, args: list[str], told: str) -> None:
    outcome = ngcg(*args)
    assert (outcome.status, outcome.out) == (2, "")
    assert told in outcome.err
    assert outcome.err.startswith("ngcg: ")
    assert outcome.err.count("\n") == 1


def test_overlap_out_of_range_is_wrong_usage(ngcg: Ngcg, town: Path) -> None:
    outcome = ngcg("index", town / "a.tif", "--overlap", "1.5", "--index", "new")
    assert (outcome.status, outcome.out) == (2, "")
    assert "overlap" in outcome.err


def test_an_unexpected_error_is_one_line_and_a_traceback_only_with_v(
    ngcg: Ngcg, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(*_: object, **__: object) -> None:
        raise RuntimeError("a bug\nover two lines")

    monkeypatch.setattr("ngcg_cli.journeys.querying.Finder.__init__", explode)
    outcome = ngcg("query", "a")
    assert (outcome.status, outcome.out) == (1, "")
    assert outcome.err.count("\n") == 1
    assert "RuntimeError: a bug over two lines" in outcome.err
    assert "-v" in outcome.err
    for args in (["query", "a", "-v"], ["-v", "query", "a"]):
        assert "Traceback" in ngcg(*args).err


def test_an_interruption_ends_with_130(ngcg: Ngcg, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ngcg_cli.journeys.querying.Finder.__init__", interrupt)
    outcome = ngcg("query", "a")
    assert (outcome.status, outcome.out, outcome.err) == (130, "", "ngcg: interrupted\n")
