"""Small real files that more than one test file uses."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Before torch is imported, here and in the processes that tests start. The models of the tests are
# so small that several threads wait for each other longer than they compute.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from graph_samples import use_small_graphs
from journey_samples import Index
from range_server import serving
from samples import SIDE, TILE, Ngcg, Outcome, write_raster
from small_models import internvl, smolvlm, write_smolvlm, write_talker, write_tokenizer

from ngcg_cli.app import run
from ngcg_cli.output import terminal


@pytest.fixture(scope="session", autouse=True)
def _state(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What the user has named before is remembered among the tests alone."""
    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.mktemp("state"))
    os.environ["XDG_DATA_HOME"] = str(tmp_path_factory.mktemp("data"))


# --- encoder: the same transformers classes as the real backbones, from small configs ---------


@pytest.fixture(scope="session")
def tokenizer_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A byte-level BPE tokenizer trained here, with the prompt tokens of both model families."""
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder)
    return folder


@pytest.fixture(scope="session")
def smolvlm_config() -> Any:
    """SmolVLM at 32 px: 16 patches, 4 image tokens, width 64."""
    return smolvlm()


@pytest.fixture(scope="session")
def internvl_config() -> Any:
    """InternVL with a Qwen3 language model at 28 px: 16 patches, 4 image tokens, width 64."""
    return internvl()


@pytest.fixture(scope="session")
def fake_backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory in transformers' own format: SmolVLM classes, random weights."""
    folder = tmp_path_factory.mktemp("fake_backbone")
    write_smolvlm(folder)
    return folder


@pytest.fixture(scope="session")
def talker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory that converses: SmolVLM with its head, random weights, a chat template."""
    folder = tmp_path_factory.mktemp("talker")
    write_talker(folder)
    return folder


# --- end of the encoder's fixtures -------------------------------------------------------------

# --- the commands, run in this process ----------------------------------------------------------


@pytest.fixture
def ngcg(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Ngcg:
    """Runs a command line; file descriptors are watched, so C libraries cannot hide."""
    monkeypatch.chdir(tmp_path)
    for name in ("NGCG_INDEX", "NGCG_MODEL", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)

    def command(*args: object, stdin: bytes = b"") -> Outcome:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capfd.readouterr()
        status = run([str(arg) for arg in args])
        captured = capfd.readouterr()
        return Outcome(status, captured.out, captured.err)

    return command


@pytest.fixture
def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Where `tmp_path` is served."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with serving(tmp_path) as served:
        yield served


@pytest.fixture(scope="session")
def town(tmp_path_factory: pytest.TempPathFactory, fake_backbone: Path) -> Path:
    """A folder with an index of two rasters, 16 tiles each, and the rasters."""
    folder = tmp_path_factory.mktemp("town")
    write_raster(folder / "a.tif", 1)
    write_raster(folder / "b.tif", 2, west=583_000.0 + 10 * SIDE)
    args = ["--index", folder / "index", "--model", fake_backbone, "--overlap", 0]
    sources = [folder / "a.tif", folder / "b.tif"]
    assert run(["index", *map(str, [*sources, "--tile", f"{TILE}px", *args, "-q"])]) == 0
    terminal.configure()  # quiet was for this run alone
    return folder


@pytest.fixture
def ask(ngcg: Ngcg, town: Path, monkeypatch: pytest.MonkeyPatch) -> Ngcg:
    def command(*args: object, **more: Any) -> Outcome:
        monkeypatch.setenv("NGCG_INDEX", str(town / "index"))
        return ngcg("query", *args, **more)

    return command


@pytest.fixture
def small_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Graphs for few tiles."""
    use_small_graphs(monkeypatch)


# --- runs of indexing, from Python ------------------------------------------------------------


@pytest.fixture(scope="session")
def _its_encoder(fake_backbone: Path) -> Any:
    from ngcg_cli.encoder.checkpoint import load_encoder

    return load_encoder(str(fake_backbone), "cpu")


@pytest.fixture
def reindex(
    tmp_path: Path, fake_backbone: Path, _its_encoder: Any, monkeypatch: pytest.MonkeyPatch
) -> Index:
    """Indexes into `tmp_path / "index"`; `added` of the report counts what was embedded."""
    from ngcg_cli.journeys.indexing import index_sources

    monkeypatch.setattr("ngcg_cli.journeys.indexing.load_model", lambda *_, **__: _its_encoder)

    def run(*sources: Path, **more: Any) -> Any:
        settings = {"tile": "32px", "overlap": 0.0, "model": str(fake_backbone), **more}
        return index_sources([str(s) for s in sources], tmp_path / "index", **settings)

    return run
