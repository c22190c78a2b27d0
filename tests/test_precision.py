"""What a model computes in is a setting that the index remembers, on every machine alike."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from index_edits import manifest_of, rewrite
from samples import TILE, Ngcg, write_raster

from ngcg_cli.encoder.checkpoint import load_encoder
from ngcg_cli.encoder.precision import settle
from ngcg_cli.search import TileIndex
from ngcg_cli.search.format import Manifest


@pytest.fixture
def args(tmp_path: Path, fake_backbone: Path) -> list[object]:
    write_raster(tmp_path / "in" / "a.tif", 1)
    cut = ["--tile", f"{TILE}px", "--overlap", "0", "--index", tmp_path / "ix"]
    return ["index", tmp_path / "in", *cut, "--model", fake_backbone]


def test_auto_asks_for_the_device_alone() -> None:
    assert [settle("auto", kind) for kind in ("cpu", "mps", "cuda")] == [
        *("float32", "float32", "bfloat16")
    ]
    assert settle("bfloat16", "cpu") == "bfloat16"
    assert settle("float32", "cuda") == "float32"


def test_an_index_remembers_it_and_goes_on_in_it(
    ngcg: Ngcg, args: list[object], tmp_path: Path
) -> None:
    first = ngcg(*args, "--precision", "bfloat16", "-v")
    assert first.status == 0, first.err
    assert "computes in bfloat16 on cpu" in first.err
    shown = ngcg("info", "--index", tmp_path / "ix")
    assert "precision" in shown.out
    assert "bfloat16" in shown.out
    assert json.loads(ngcg("info", "--json", "--index", tmp_path / "ix").out)["precision"] == (
        "bfloat16"
    )
    write_raster(tmp_path / "in" / "b.tif", 2, west=590_000.0)
    refused = ngcg(*args, "--precision", "float32")
    assert refused.status == 1
    assert "made in the precision bfloat16, not in float32" in refused.err
    assert "computes in bfloat16" in ngcg(*args, "-v").err
    assert TileIndex.open(tmp_path / "ix").model.precision == "bfloat16"
    # A question changes nothing in the index, so it may be asked otherwise.
    query = ["query", "boats", "--index", tmp_path / "ix", "-k", "1"]
    own, other = (ngcg(*query, *more) for more in ([], ["--precision", "float32", "-v"]))
    assert own.status == other.status == 0
    assert "computes in float32" in other.err
    assert own.rows[0]["score"] == pytest.approx(other.rows[0]["score"], abs=0.02)


def test_indexes_of_two_precisions_are_not_joined(
    ngcg: Ngcg, args: list[object], tmp_path: Path
) -> None:
    assert ngcg(*args).status == 0
    args[args.index(tmp_path / "ix")] = tmp_path / "other"
    assert ngcg(*args, "--precision", "bfloat16").status == 0
    joined = ngcg("merge", "ix", "other", "--out", "both")
    assert joined.status == 1
    assert "made in the precision bfloat16, not in float32" in joined.err


def test_an_index_of_before_is_float32(ngcg: Ngcg, args: list[object], tmp_path: Path) -> None:
    assert ngcg(*args).status == 0
    data = manifest_of(tmp_path / "ix")
    assert data["model"].pop("precision") == "float32"
    rewrite(tmp_path / "ix", {**data, "version": 2})
    assert Manifest.read(tmp_path / "ix").model.precision == "float32"
    assert "precision float32, not in bfloat16" in ngcg(*args, "--precision", "bfloat16").err


def test_a_copy_in_another_precision_is_what_the_checkpoint_loads_as(fake_backbone: Path) -> None:
    texts = ["boats in a harbour", "a pond"]
    encoder = load_encoder(fake_backbone, "cpu")
    copy = encoder.rounded("bfloat16")
    loaded = load_encoder(fake_backbone, "cpu", precision="bfloat16")
    np.testing.assert_array_equal(copy.encode_texts(texts), loaded.encode_texts(texts))
    assert (encoder.precision, copy.precision) == ("float32", "bfloat16")
    assert encoder.rounded("float32") is encoder
    assert copy.fingerprint == encoder.fingerprint
