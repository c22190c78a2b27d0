"""A model that has no room is refused before its weights are read."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest
import torch
from samples import Ngcg

from ngcg_cli.encoder import memory
from ngcg_cli.encoder.checkpoint import load_encoder
from ngcg_cli.encoder.memory import Place, check_room, free_memory
from ngcg_cli.errors import ModelError

CPU = Place(torch.device("cpu"), torch.float32)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with 400 kB left; the model of the tests has 640 kB of weights."""
    monkeypatch.setattr(memory, "free_memory", lambda: 400_000)


def test_one_line_says_what_is_needed_and_what_is_there(
    ngcg: Ngcg, fake_backbone: Path, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = sum(p.numel() for p in _weights(fake_backbone))
    monkeypatch.setattr("ngcg_cli.encoder.weights._filled", None)  # nothing may be read
    (Path("a.jsonl")).write_text('{"image": "a.png", "captions": ["a"]}\n')
    Path("a.png").write_bytes(b"")
    refused = ngcg(
        "eval", "a.jsonl", "--model", fake_backbone, "--no-cache", "--max-unreadable", 1, "-q"
    )
    assert (refused.status, refused.out, refused.err.count("\n")) == (1, "", 1), refused.err
    assert f"({4 * weights:,} bytes) of memory" in refused.err
    assert "(400,000 bytes) are free" in refused.err
    assert f"--precision bfloat16 takes 0.00 GB ({2 * weights:,} bytes)" in refused.err


def _weights(folder: Path) -> list[torch.Tensor]:
    from safetensors.torch import load_file

    return list(load_file(folder / "model.safetensors").values())


def test_half_the_bytes_have_room(fake_backbone: Path, small: None) -> None:
    assert load_encoder(fake_backbone, "cpu", precision="bfloat16").precision == "bfloat16"


def test_a_gpu_is_asked_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_memory", lambda: 4_000)
    monkeypatch.setattr(memory, "free_on_gpu", lambda _: 2_000)
    gpu = torch.device("cuda", 0)
    check_room(1_000, torch.float32, Place(gpu, torch.bfloat16), "m")
    with pytest.raises(ModelError, match=r"needs .*\(4,000 bytes\) on the GPU, and .*\(2,000"):
        check_room(1_000, torch.float32, Place(gpu, torch.float32), "m")
    with pytest.raises(ModelError, match=r"\(4,004 bytes\) of memory, and .*take a smaller model"):
        check_room(1_001, torch.float32, Place(gpu, torch.bfloat16), "m")


def test_a_container_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = psutil.virtual_memory().available
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    assert free_memory() == pytest.approx(free, rel=0.5), "no limit is known"
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("900\n")
    (tmp_path / "memory.stat").write_text("anon 500\ninactive_file 300\n")
    assert free_memory() == 400
    (tmp_path / "memory.max").write_text("max\n")
    assert free_memory() == pytest.approx(free, rel=0.5)
    check_room(100, torch.float32, CPU, "m")
