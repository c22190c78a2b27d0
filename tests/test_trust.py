"""What an index names is loaded only if it is bundled or this user named it for that index."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from index_edits import manifest_of, rewrite
from samples import Ngcg


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
