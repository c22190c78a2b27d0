"""`ngcg push` and `--model USER/NAME@REVISION`, against a hub on the loopback."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hub_server import TOKEN, Hub, Repo, serving
from samples import Ngcg, write_raster
from small_models import write_siglip, write_smolvlm

from ngcg_cli.encoder.checkpoint import load_encoder, save_checkpoint
from ngcg_cli.encoder.lora import LoraSettings, add_lora
from ngcg_cli.errors import ModelError

pytestmark = pytest.mark.slow  # small models of torch that train or talk: seconds in all

TEXTS = ["a pond", "two boats in a harbour"]
FIGURES = {"step": 20, "t2i R@1": 31.25, "mean": 40.5}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    with serving(monkeypatch, tmp_path / "hub-cache") as served:
        yield served


def adapter(folder: Path, seed: int = 0, model: str = "tiny") -> Path:
    """A run's folder with a LoRA checkpoint on a model, and with what nobody else may get."""
    import torch

    encoder = load_encoder(model, "cpu", trainable=True)
    add_lora(encoder.module, LoraSettings(rank=2, alpha=4, dropout=0.0, dora=False))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in encoder.module.named_parameters():
            if "lora_B" in name:
                weight.copy_(torch.randn(weight.shape, generator=generator) * 0.05)
    extra: dict[str, Any] = {
        "temperature": 0.03,
        "data": {
            "path": str(folder.parent / "secret-project" / "captions.jsonl"),
            "fingerprint": "f" * 8,
            "images": 12,
            "captions": 34,
        },
        "training": {"data": str(folder / "captions.jsonl"), "out": str(folder), "lr": 1e-4,
                     "batch_size": 8},
        "metrics": FIGURES,
    }  # fmt: skip
    save_checkpoint(encoder, folder, extra)
    (folder / "resume.safetensors").write_bytes(b"moments of the optimiser")
    (folder / "notes.txt").write_text("private")
    rows = [
        {"step": 0, "val_t2i R@1": 20.0, "val_mean": 30.25},
        {"step": 20, "loss": 1.5, "val_t2i R@1": 31.25, "val_mean": 40.5},
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_what_is_pushed_comes_back_the_same(ngcg: Ngcg, hub: Hub, tmp_path: Path) -> None:
    run = adapter(tmp_path / "run")
    sent = ngcg("push", run, "me/harbours", "--private", "-m", "first", "--license", "apache-2.0")
    assert sent.status == 0, sent.err
    model, _, commit = sent.out.strip().partition("@")
    repo = hub.repos["me/harbours"]
    assert (model, commit, repo.private) == ("me/harbours", repo.branches["main"], True)
    tree = repo.commits[commit]
    assert set(tree) == {
        ".gitattributes",
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
        "metrics.jsonl",
        "ngcg.json",
    }
    assert not [name for name, data in tree.items() if str(tmp_path).encode() in data]
    assert not [name for name, data in tree.items() if b"secret-project" in data]

    vectors = load_encoder(run, "cpu").encode_texts(TEXTS)
    fetched = load_encoder("me/harbours", "cpu")
    np.testing.assert_array_equal(fetched.encode_texts(TEXTS), vectors)
    assert fetched.revision == commit
    assert np.abs(load_encoder("tiny", "cpu").encode_texts(TEXTS) - vectors).max() > 1e-3
    assert TOKEN not in sent.out + sent.err


def test_the_card_tells_what_it_is(ngcg: Ngcg, hub: Hub, tmp_path: Path) -> None:
    run = adapter(tmp_path / "run")
    shown = ngcg("push", run, "me/harbours", "--dry-run")
    assert (shown.status, hub.asked) == (0, []), shown.err
    card = shown.out
    assert "| base model | tiny, which comes with ngcg |" in card
    assert "12 images, 34 captions (captions.jsonl)" in card
    assert "| t2i R@1 | 20.00 | 31.25 |" in card
    assert "| mean | 30.25 | 40.50 |" in card
    assert "lr 0.0001, batch-size 8" in card
    assert "--model me/harbours" in card
    assert "has not said under which licence" in card
    assert "resume.safetensors" not in shown.err
    (run / "README.md").write_text("# Mine\n")
    assert ngcg("push", run, "me/harbours", "--dry-run").out == "# Mine\n"


def test_an_index_goes_by_the_revision_it_was_made_with(
    ngcg: Ngcg, hub: Hub, tmp_path: Path
) -> None:
    run = adapter(tmp_path / "run")
    first = ngcg("push", run, "me/harbours").out.strip()
    raster = write_raster(tmp_path / "region.tif", 3)
    made = ngcg("index", raster, "--model", "me/harbours", "--tile", "64px", "--overlap", "0")
    assert made.status == 0, made.err
    commit = first.partition("@")[2]
    told = ngcg("info", "--json").rows[0]
    assert (told["model"], told["revision"]) == ("me/harbours", commit)
    assert f"revision {commit}" in ngcg("info").out

    shutil.rmtree(run)
    second = ngcg("push", adapter(run, seed=1), "me/harbours").out.strip()
    assert second != first
    ask = ("query", "a pond", "-k", "1")
    own = ngcg(*ask)
    assert own.status == 0, "the index's own revision is still there"
    moved = ngcg(*ask, "--model", "me/harbours")
    assert (moved.status, moved.err.count("\n")) == (1, 1)
    assert f"--model {first}" in moved.err
    typed = moved.err.partition("or: ")[2].split()
    assert ngcg(*ask, *(word.strip(".") for word in typed)).out == own.out

    # A branch is a revision too.
    third = ngcg("push", run, "me/harbours", "--revision", "try", "--json").rows[0]
    assert third["revision"] != second.partition("@")[2]
    same = load_encoder("me/harbours@try", "cpu")
    assert same.revision == third["revision"]
    assert same.fingerprint == load_encoder(second, "cpu").fingerprint


def test_a_whole_model_takes_the_place_of_an_adapter(ngcg: Ngcg, hub: Hub, tmp_path: Path) -> None:
    ngcg("push", adapter(tmp_path / "run"), "me/one")
    write_smolvlm(tmp_path / "base")
    encoder = load_encoder(tmp_path / "base", "cpu", trainable=True)
    save_checkpoint(encoder, tmp_path / "whole")
    assert ngcg("push", tmp_path / "whole", "me/one").status == 0
    repo = hub.repos["me/one"]
    tree = repo.commits[repo.branches["main"]]
    assert "adapter_config.json" not in tree
    assert not [name for name, data in tree.items() if str(tmp_path).encode() in data]
    fetched = load_encoder("me/one", "cpu")
    np.testing.assert_allclose(fetched.encode_texts(TEXTS), encoder.encode_texts(TEXTS), atol=1e-6)

    # And an adapter may stand on a model of the hub, which must then be in the cache.
    on_it = adapter(tmp_path / "second", model="me/one")
    assert ngcg("push", on_it, "me/two").status == 0
    np.testing.assert_array_equal(
        load_encoder("me/two", "cpu").encode_texts(TEXTS),
        load_encoder(on_it, "cpu").encode_texts(TEXTS),
    )


def one_line(outcome: Any, *told: str) -> None:
    assert (outcome.status, outcome.out, outcome.err.count("\n")) == (1, "", 1), outcome.err
    for part in told:
        assert part in outcome.err
    assert TOKEN not in outcome.err
    assert "hf_s" not in outcome.err


def test_what_cannot_be_pushed(ngcg: Ngcg, hub: Hub, tmp_path: Path) -> None:
    run = adapter(tmp_path / "run")
    one_line(ngcg("push", run, "others/harbours", "-q"), "does not let you write there")
    one_line(ngcg("push", tmp_path / "none", "me/a"), "no such folder")
    one_line(ngcg("push", tmp_path, "me/a"), "no ngcg.json")
    assert ngcg("push", run, "harbours").status == 2
    assert ngcg("push", run, "me/a", "--revision", "../x", "-q").status == 2
    write_smolvlm(tmp_path / "base")
    private = adapter(tmp_path / "private", model=str(tmp_path / "base"))
    one_line(ngcg("push", private, "me/a"), "a folder that only this machine has")
    (run / "adapter_model.safetensors").unlink()
    one_line(ngcg("push", run, "me/a"), "adapter_model.safetensors is missing")
    assert not hub.repos


def test_nobody_is_logged_in(ngcg: Ngcg, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    run = adapter(tmp_path / "run")
    with serving(monkeypatch, tmp_path / "cache", token=None):
        one_line(ngcg("push", run, "me/a", "-q"), "does not know who you are", "hf auth login")
    with serving(monkeypatch, tmp_path / "cache", token="hf_secretofanother"):
        one_line(ngcg("push", run, "me/a", "-q"), "does not know who you are")
    one_line(ngcg("push", run, "me/a", "-q"), "could not be sent to the hub")  # it is gone


def test_what_cannot_be_fetched(
    ngcg: Ngcg, hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = adapter(tmp_path / "run")
    ngcg("push", run, "me/harbours")

    def refused(model: str) -> str:
        with pytest.raises(ModelError) as caught:
            load_encoder(model, "cpu")
        assert TOKEN not in str(caught.value)
        return str(caught.value)

    assert "has none of that name that you may see" in refused("me/nothing")
    assert "no such revision" in refused("me/harbours@v2")
    assert "'no one' is no revision" in refused("me/harbours@no one")
    assert "has no revisions" in refused("tiny@main")
    hub.repos["me/harbours"].gated = True
    assert "accepted its terms" in refused("me/harbours")
    hub.repos["me/harbours"].gated = False

    commit = hub.repos["me/harbours"].branches["main"]
    load_encoder("me/harbours", "cpu")
    snapshot = tmp_path / "hub-cache/models--me--harbours/snapshots" / commit
    (snapshot / "adapter_model.safetensors").unlink()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    told = refused("me/harbours")
    assert "in the cache is not whole" in told
    assert "hf download me/harbours --revision main" in told
    assert "the hub has no answer" in refused("me/never-fetched")


def test_a_cached_commit_without_a_list_of_its_files_needs_no_network(
    ngcg: Ngcg, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    with serving(monkeypatch, cache) as hub:
        ngcg("push", adapter(tmp_path / "run"), "me/harbours")
        commit = hub.repos["me/harbours"].branches["main"]
        load_encoder(f"me/harbours@{commit}", "cpu")
    # The cache is as an older huggingface_hub leaves it, and the hub is gone.
    shutil.rmtree(cache / "models--me--harbours" / "trees")
    waits: list[float] = []
    monkeypatch.setattr("time.sleep", waits.append)
    assert load_encoder(f"me/harbours@{commit}", "cpu").origin is not None
    with pytest.raises(ModelError, match=r"the hub has no answer \(.*[Rr]efused") as caught:
        load_encoder("me/harbours@" + "0" * 40, "cpu")
    assert "\n" not in str(caught.value)
    assert not waits  # it was asked once, not again and again


@pytest.mark.parametrize("first", [0, 1], ids=["name first", "id first"])
def test_a_short_name_and_its_id_are_one_model(
    first: int, ngcg: Ngcg, hub: Hub, tmp_path: Path
) -> None:
    write_siglip(tmp_path / "model", 1)
    hub.repos["lcybuaa/Git-RSCLIP-base"] = repo = Repo()
    files = {file.name: file.read_bytes() for file in (tmp_path / "model").iterdir()}
    commit = repo.commit("main", files)
    names = ("git-rsclip-base", "lcybuaa/Git-RSCLIP-base")
    raster = write_raster(tmp_path / "region.tif", 3)
    cut = ("--tile", "64px", "--overlap", "0")
    made = ngcg("index", raster, "--model", names[first], *cut)
    assert made.status == 0, made.err
    told = ngcg("info", "--json").rows[0]
    assert (told["model"], told["revision"]) == ("git-rsclip-base", commit)
    answers = {
        model: ngcg("query", "boats", "-k", "2", "--model", model).out
        for model in (*names, f"{names[0]}@main", f"{names[1]}@{commit}")
    }
    assert answers[names[0]].count("\n") == 2
    assert len(set(answers.values())) == 1
    assert ngcg("query", "boats", "-k", "2").out == answers[names[0]]
