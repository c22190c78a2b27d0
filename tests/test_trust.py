"""What an index names is loaded only if it is bundled or this user named it for that index."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from index_edits import manifest_of, rewrite
from raster_files import listening
from samples import Ngcg

from ngcg_cli.errors import RasterError
from ngcg_cli.journeys import trust
from ngcg_cli.raster.servers import require, servers


@pytest.fixture
def stranger(town: Path, tmp_path: Path) -> Path:
    """The town's index as somebody else would receive it."""
    return Path(shutil.copytree(town / "index", tmp_path / "received"))


def _names(index: Path, model: str) -> None:
    manifest = manifest_of(index)
    manifest["model"]["name"] = model
    rewrite(index, manifest)


def test_a_received_index_asks_for_its_model_once(
    ngcg: Ngcg, stranger: Path, fake_backbone: Path
) -> None:
    query = ("query", "a pond", "--index", stranger, "-k", "1")
    refused = ngcg(*query)
    assert (refused.status, refused.out, refused.err.count("\n")) == (1, "", 1)
    assert f"--model {fake_backbone}" in refused.err
    assert ngcg(*query, "--model", fake_backbone).status == 0
    assert ngcg(*query).status == 0  # this very path was used with it


def test_neither_a_folder_inside_nor_the_hub_is_asked(
    ngcg: Ngcg,
    stranger: Path,
    fake_backbone: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ngcg_cli.encoder.checkpoint.load_encoder", None)
    shutil.copytree(fake_backbone, stranger / "model")
    for name in ("received/model", str(stranger / "model"), "evil/repo", "smolvlm-256m"):
        _names(stranger, name)
        refused = ngcg("query", "-", "--index", stranger, stdin=b"a pond\ny\n1\n")
        assert (refused.status, refused.out, refused.err.count("\n")) == (1, "", 1)
        assert f"--model {name}" in refused.err


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/data/a.tif", set()),
        ("file:///data/a.tif", set()),
        ("/vsizip//data/a.zip/a.tif", set()),
        ("https://me:secret@example.org:8080/a/b.tif?x=http", {"https://example.org:8080"}),
        ("/vsicurl/https://example.org/a.tif", {"https://example.org"}),
        ("/vsizip//vsicurl/https://example.org/a.zip/a.tif", {"https://example.org"}),
        (
            "/vsizip/{/vsicurl/http://a.org/b.zip}/vsicurl/http://c.org",
            {"http://a.org", "http://c.org"},
        ),
        ("s3://bucket/a.tif", {"s3://bucket"}),
        ("/vsis3/bucket/a.tif", {"/vsis3/bucket"}),
        ("/vsizip//vsis3/bucket/a.zip/a.tif", {"/vsis3/bucket"}),
        (
            "/vsicurl?url=http%3A//a.org&b=https://c.org",
            {"/vsicurl?url=http%3A//a.org&b=https://c.org"},
        ),
    ],
)
def test_the_servers_of_a_raster(path: str, asked: set[str]) -> None:
    assert servers(path) == asked


def test_what_an_index_names_on_the_web_is_not_fetched_for_pictures(
    ngcg: Ngcg,
    stranger: Path,
    fake_backbone: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ngcg_cli.raster.servers._allowed", set())
    with listening() as (port, asked):
        manifest = manifest_of(stranger)
        for source in manifest["sources"]:
            source["path"] = f"http://127.0.0.1:{port}/{Path(source['path']).name}"
        rewrite(stranger, manifest)
        query = ("query", "a pond", "--index", stranger, "-k", "1", "--model", fake_backbone)
        for look in (("--crops", "crops"), ("--refine",)):
            outcome = ngcg(*query, *look)
            assert f"only the index names the server http://127.0.0.1:{port}" in outcome.err
        assert not asked


def test_servers_that_the_user_named_are_remembered_for_that_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ngcg_cli.raster.servers._allowed", set())
    trust.remember(tmp_path / "a", "mine")
    trust.remember_servers(tmp_path / "a", ["/data/a.tif", "https://example.org/a.tif"])
    trust.remember_servers(tmp_path / "a", ["s3://bucket/a.tif"])
    trust.require(tmp_path / "a", "mine")
    trust.allow_servers(tmp_path / "b")
    with pytest.raises(RasterError, match=r"NGCG_SERVERS='https://example\.org'"):
        require("https://example.org/b.tif")
    trust.pass_on([tmp_path / "a", tmp_path / "b"], tmp_path / "both", "mine")
    trust.allow_servers(tmp_path / "both")
    require("https://example.org/b.tif")
    require("s3://bucket/b.tif")
    require("/data/b.tif")
    with pytest.raises(RasterError, match="only the index names"):
        require("https://example.com/b.tif")
    monkeypatch.setenv("NGCG_SERVERS", "https://example.net https://example.com")
    require("https://example.com/b.tif")
    with pytest.raises(RasterError, match="standard input"):
        require("/vsistdin/")


def test_a_home_that_cannot_be_written_is_no_hindrance(
    ngcg: Ngcg,
    stranger: Path,
    fake_backbone: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    query = ("query", "a pond", "--index", stranger, "-k", "1")
    for _ in range(2):
        answered = ngcg(*query, "--model", fake_backbone)
        assert (answered.status, answered.err) == (0, "")
    assert ngcg(*query).status == 1


def test_a_merged_index_is_as_well_known_as_its_parts(
    ngcg: Ngcg, town: Path, stranger: Path, tmp_path: Path
) -> None:
    shutil.copytree(town / "index", tmp_path / "second")
    assert ngcg("merge", town / "index", stranger, "--out", "strange").status == 0
    assert ngcg("query", "a pond", "--index", "strange").status == 1
