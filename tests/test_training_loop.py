"""The loop alone, on a small network with dropout: schedule, resume, signals, average."""

from __future__ import annotations

import json
import math
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ngcg_cli.errors import ModelError, NgcgError, UsageError
from ngcg_cli.training.course import LoopSettings
from ngcg_cli.training.loop import FitResult, Interrupted, Run, parameter_groups
from ngcg_cli.training.state import STATE_FILE

SETTINGS = LoopSettings(
    steps=9, lr=0.01, warmup=0.2, weight_decay=0.1, ema=0.9, log_every=2, save_every=4, seed=5
)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(6, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Dropout(0.3), nn.Linear(12, 2)
    )


def batch(index: int) -> tuple[Tensor, Tensor]:
    make = torch.Generator().manual_seed(100 + index)
    x = torch.randn(16, 6, generator=make)
    return x, (x[:, 0] > 0).long()


def learn(module: nn.Module, pair: tuple[Tensor, Tensor]) -> dict[str, float]:
    loss = nn.functional.cross_entropy(module(pair[0]), pair[1])
    loss.backward()
    return {"loss": loss.item(), "pairs": len(pair[0])}


def fit(module: nn.Module, *args: Any, **options: Any) -> FitResult:
    return Run(module, *args, **options).go()


def accuracy(module: nn.Module) -> Callable[[], dict[str, float]]:
    def measure() -> dict[str, float]:
        assert not module.training
        x, y = batch(999)
        return {"accuracy": (module(x).argmax(1) == y).float().mean().item()}

    return measure


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(
        torch.equal(x, y)
        for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    )


def rows(out: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "pairs_per_second"} for line in lines]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("stop_after", [1, 3, 4, 8])
def test_stopped_and_resumed_equals_uninterrupted(
    tmp_path: Path, stop_after: int, number: signal.Signals
) -> None:
    whole, parts = network(), network()
    options = {"best": "accuracy"}
    fit(whole, batch, learn, SETTINGS, tmp_path / "whole", validate=accuracy(whole), **options)

    seen = 0

    def stopping(module: nn.Module, pair: tuple[Tensor, Tensor]) -> dict[str, float]:
        nonlocal seen
        seen += 1
        if seen == stop_after:
            os.kill(os.getpid(), number)
        return learn(module, pair)

    with pytest.raises(Interrupted, match=rf"after step {stop_after} of 9.*--resume") as stopped:
        fit(
            parts, batch, stopping, SETTINGS, tmp_path / "parts", validate=accuracy(parts),
            **options,
        )  # fmt: skip
    assert stopped.value.exit_code == 130
    parts = network()
    options |= {"resume": True, "validate": accuracy(parts)}
    result = fit(parts, batch, learn, SETTINGS, tmp_path / "parts", **options)
    assert result.steps == 9
    assert same(whole, parts)
    assert rows(tmp_path / "whole") == rows(tmp_path / "parts")


def test_a_kill_between_saves_repeats_the_lost_steps(tmp_path: Path) -> None:
    whole, parts = network(), network()
    fit(whole, batch, learn, SETTINGS, tmp_path / "whole")

    def dying(module: nn.Module, pair: tuple[Tensor, Tensor]) -> dict[str, float]:
        if torch.equal(pair[0], batch(6)[0]):
            raise MemoryError
        return learn(module, pair)

    with pytest.raises(MemoryError):
        fit(parts, batch, dying, SETTINGS, tmp_path / "parts")
    with (tmp_path / "parts" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 7, "lo')  # a line cut short
    parts = network()
    fit(parts, batch, learn, SETTINGS, tmp_path / "parts", resume=True)
    assert same(whole, parts)
    assert rows(tmp_path / "whole") == rows(tmp_path / "parts")


def test_a_kill_after_the_last_state_leaves_no_old_model(tmp_path: Path) -> None:
    saved: dict[str, Tensor] = {}

    def keep(module: nn.Module) -> Callable[[Path, dict[str, float]], None]:
        def save(folder: Path, figures: dict[str, float]) -> None:
            saved[folder.name] = module.state_dict()["0.weight"].clone()

        return save

    def dying(folder: Path, figures: dict[str, float]) -> None:
        if rows(tmp_path / "killed")[-1]["step"] == 9:  # the last model is not written
            raise MemoryError
        saved["last"] = torch.zeros(1)

    with pytest.raises(MemoryError):
        fit(network(), batch, learn, SETTINGS, tmp_path / "killed", save=dying)
    whole, again = network(), network()
    fit(whole, batch, learn, SETTINGS, tmp_path / "whole", save=keep(whole))
    wanted = saved.pop("last")
    fit(again, batch, learn, SETTINGS, tmp_path / "killed", save=keep(again), resume=True)
    assert torch.equal(saved["last"], wanted)


@pytest.mark.slow
def test_workers_make_the_same_batches(tmp_path: Path) -> None:
    alone, helped = network(), network()
    fit(alone, batch, learn, SETTINGS, tmp_path / "alone")
    fit(helped, batch, learn, SETTINGS, tmp_path / "helped", workers=2)
    assert same(alone, helped)


def test_the_run_learns_and_keeps_its_best(tmp_path: Path) -> None:
    module, kept = network(), []

    def save(folder: Path, figures: dict[str, float]) -> None:
        kept.append((folder.name, figures["accuracy"]))
        folder.mkdir(exist_ok=True)
        (folder / "figures.json").write_text(json.dumps(figures))

    settings = LoopSettings(steps=60, lr=0.02, validate_every=10, save_every=30)
    result = fit(
        module, batch, learn, settings, tmp_path, validate=accuracy(module), best="accuracy",
        save=save,
    )  # fmt: skip
    values = [row["val_accuracy"] for row in rows(tmp_path) if "val_accuracy" in row]
    assert len(values) == 7, "before the first step, and six times after"
    assert result.start == {"step": 0, "accuracy": values[0]}
    assert result.best["accuracy"] == max(values[1:]) > 0.8
    assert json.loads((tmp_path / "best" / "figures.json").read_text()) == result.best
    assert json.loads((tmp_path / "last" / "figures.json").read_text()) == result.metrics
    assert not list(tmp_path.glob(".*")), "no leftovers of half-written folders"


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_rate_climbs_to_the_peak_and_falls_to_the_floor(schedule: str) -> None:
    settings = LoopSettings(steps=100, lr=2.0, warmup=0.1, floor=0.001, schedule=schedule)
    rates = [settings.rate(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.2)
    assert rates[9] == rates[10] == 2.0
    assert rates[-1] == pytest.approx(0.002)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    if schedule == "linear":
        assert rates[55] == pytest.approx(2.0 * (1 - 45 / 89 * 0.999))


def test_average_follows_its_formula_and_is_what_validation_sees(tmp_path: Path) -> None:
    module = network()
    live: list[Tensor] = []

    def remember(module: nn.Module, pair: tuple[Tensor, Tensor]) -> dict[str, float]:
        live.append(module[0].weight.detach().clone())
        return learn(module, pair)

    shown: list[Tensor] = []

    def look() -> dict[str, float]:
        shown.append(module[0].weight.detach().clone())
        return {}

    fit(module, batch, remember, SETTINGS, tmp_path, validate=look)
    live.append(module[0].weight.detach())
    average = live[0]
    for done, weight in enumerate(live[1:], start=1):
        decay = min(0.9, (1 + done) / (10 + done))
        average = decay * average + (1 - decay) * weight
    torch.testing.assert_close(shown[-1], average)
    assert not torch.equal(shown[-1], live[-1]), "the live weights are back after validation"


def test_decay_spares_norms_biases_and_scales() -> None:
    module = network()
    module.register_parameter("temperature", nn.Parameter(torch.zeros(())))
    decayed, spared = parameter_groups(module, 0.1)
    assert {tuple(p.shape) for p in decayed["params"]} == {(12, 6), (2, 12)}
    assert len(spared["params"]) == 5
    assert spared["weight_decay"] == 0


def test_a_run_is_neither_overwritten_nor_resumed_with_other_settings(tmp_path: Path) -> None:
    fit(network(), batch, learn, SETTINGS, tmp_path)
    with pytest.raises(UsageError, match=r"holds a run already.*--resume"):
        fit(network(), batch, learn, SETTINGS, tmp_path)
    other = LoopSettings(**{**SETTINGS.__dict__, "lr": 0.5})
    with pytest.raises(UsageError, match=r"lr = 0\.01, this one has 0\.5"):
        fit(network(), batch, learn, other, tmp_path, resume=True)
    with pytest.raises(UsageError, match="data = None, this one has b"):
        fit(network(), batch, learn, SETTINGS, tmp_path, resume=True, identity={"data": "b"})
    deeper = nn.Sequential(network(), nn.Linear(2, 2))
    with pytest.raises(ModelError, match="of another model"):
        fit(deeper, batch, learn, SETTINGS, tmp_path, resume=True)
    (tmp_path / STATE_FILE).write_bytes(b"no safetensors")
    with pytest.raises(ModelError, match="cannot read the saved state"):
        fit(network(), batch, learn, SETTINGS, tmp_path, resume=True)


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    def broken(module: nn.Module, pair: tuple[Tensor, Tensor]) -> dict[str, float]:
        return {**learn(module, pair), "loss": math.nan}

    module = network()
    with pytest.raises(NgcgError, match=r"step 1 has .*nan.*--lr"):
        fit(module, batch, broken, SETTINGS, tmp_path)


@pytest.mark.parametrize("value", [{"steps": 0}, {"warmup": 2.0}, {"lr": -1.0}, {"ema": 1.0}])
def test_settings_that_cannot_be(value: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(value))):
        LoopSettings(**{"steps": 1, **value})


def test_every_kind_of_model_has_a_learning_rate() -> None:
    from ngcg_cli.encoder.backbones import MODEL_TYPES
    from ngcg_cli.training.settings import LEARNING_RATES

    assert LEARNING_RATES.keys() == set(MODEL_TYPES)
