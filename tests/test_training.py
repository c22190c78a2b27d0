"""`train` whole, on a small random-weight SmolVLM: LoRA and full, poolings, resume, processes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from ngcg_cli.encoder.checkpoint import load_encoder
from ngcg_cli.encoder.encoder import Encoder
from ngcg_cli.errors import DataError, UsageError
from ngcg_cli.training.batches import PairBatches
from ngcg_cli.training.loop import Interrupted
from ngcg_cli.training.settings import TrainSettings
from ngcg_cli.training.state import STATE_FILE
from ngcg_cli.training.train import train

pytestmark = pytest.mark.slow  # small models of torch that train or talk: seconds in all

COLOURS = {"red": (200, 40, 40), "green": (40, 180, 60), "blue": (50, 70, 200), "grey": (128,) * 3}
THINGS = {"a car park": 4, "a harbour": 16}


def picture(colour: tuple[int, ...], stripe: int, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(-12, 13, (32, 32, 3))
    image = np.tile(np.array(colour), (32, 32, 1)) + noise
    image[:, ::stripe] = 255
    return np.clip(image, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def captions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight kinds of picture, three of each, two captions a picture."""
    folder = tmp_path_factory.mktemp("captions")
    lines = []
    for kind, (colour, thing) in enumerate((c, t) for c in COLOURS for t in THINGS):
        for copy in range(3):
            name = f"{kind}-{copy}.png"
            Image.fromarray(picture(COLOURS[colour], THINGS[thing], 3 * kind + copy)).save(
                folder / name
            )
            sentences = [f"{thing} with a {colour} ground", f"{colour} ground around {thing}"]
            lines.append({"image": name, "captions": sentences, "place": f"place {kind}"})
    path = folder / "captions.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def setting(data: Path, base: Path, out: Path, **changes: Any) -> TrainSettings:
    usual: dict[str, Any] = {
        "data": data,
        "model": str(base),
        "out": out,
        "batch_size": 8,
        "micro_batch": 4,
        "steps": 3,
        "lr": 3e-3,
        "workers": 0,
        "log_every": 1,
    }
    return TrainSettings(**(usual | changes))


def vectors(encoder: Encoder) -> np.ndarray:
    images = [picture(COLOURS["red"], 4, 50), picture(COLOURS["blue"], 16, 51)]
    return np.concatenate(
        [encoder.encode_texts(["a harbour", "a red ground"]), encoder.encode_images(images)]
    )


def state_of(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / STATE_FILE)


def test_lora_learns_and_its_checkpoint_carries_everything(
    captions: Path, fake_backbone: Path, tmp_path: Path
) -> None:
    changes = {"val": captions, "steps": 40, "batch_size": 8, "micro_batch": None, "epochs": 1}
    settings = setting(captions, fake_backbone, tmp_path / "run", **changes, validate_every=10)
    result = train(settings)

    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").open()]
    losses = [row["loss"] for row in rows if "loss" in row]
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])
    means = [row["val_mean"] for row in rows if "val_mean" in row]
    assert max(means) == result.best["mean"] > 60, "eight kinds: chance is about a third"

    report = result.as_json()
    assert report.keys() == {
        "checkpoint", "steps", "trainable_parameters", "total_parameters", "best", "seconds",
    }  # fmt: skip
    assert report["steps"] == 40
    adapter = load_file(result.checkpoint / "adapter_model.safetensors")
    assert report["trainable_parameters"] == sum(t.numel() for t in adapter.values())
    assert report["total_parameters"] > report["trainable_parameters"]

    stamp = json.loads((result.checkpoint / "ngcg.json").read_text())
    assert stamp["metrics"] == result.best
    assert stamp["temperature"] == 0.03
    assert stamp["lora"]["rank"] == 16
    assert stamp["lora"]["alpha"] == 128
    assert stamp["lora"]["dora"] is True
    assert stamp["data"]["images"] == 24
    assert stamp["data"]["captions"] == 48
    assert len(stamp["data"]["fingerprint"]) == 64
    assert stamp["training"]["batch_size"] == 8
    assert stamp["versions"].keys() >= {"ngcg", "torch"}
    assert (tmp_path / "run" / "training.png").read_bytes().startswith(b"\x89PNG")

    best = vectors(load_encoder(tmp_path / "run" / "best", "cpu"))
    assert np.array_equal(vectors(load_encoder(result.checkpoint, "cpu")), best)
    assert np.abs(vectors(load_encoder(fake_backbone, "cpu")) - best).max() > 0.05

    from peft import PeftModel
    from transformers import SmolVLMModel

    plain = PeftModel.from_pretrained(
        SmolVLMModel.from_pretrained(fake_backbone), str(result.checkpoint)
    )
    encoder = load_encoder(fake_backbone, "cpu")
    encoder.module.base = plain.merge_and_unload()
    np.testing.assert_allclose(vectors(encoder), best, atol=1e-5)


@pytest.fixture(scope="module")
def fake_internvl(
    tmp_path_factory: pytest.TempPathFactory, internvl_config: Any, tokenizer_dir: Path
) -> Path:
    from transformers import InternVLModel

    folder = tmp_path_factory.mktemp("internvl")
    torch.manual_seed(2)
    InternVLModel(internvl_config).save_pretrained(folder)
    for file in tokenizer_dir.iterdir():
        shutil.copy(file, folder)
    return folder


@pytest.mark.parametrize(
    ("family", "tuning", "pooling"),
    [
        ("smolvlm", "lora", "mean"),
        ("smolvlm", "lora", "query"),
        ("smolvlm", "full", "eos"),
        ("smolvlm", "full", "query"),
        ("internvl", "lora", "eos"),
        ("internvl", "full", "mean"),
    ],
)
def test_every_pooling_tuning_and_family_trains_saves_and_loads(
    family: str,
    tuning: Any,
    pooling: Any,
    captions: Path,
    fake_backbone: Path,
    fake_internvl: Path,
    tmp_path: Path,
) -> None:
    base = fake_backbone if family == "smolvlm" else fake_internvl
    seen: dict[str, np.ndarray] = {}

    def remember(self: Any, folder: Path, figures: Any) -> None:
        save(self, folder, figures)
        seen["vectors"] = vectors(self.encoder)

    import ngcg_cli.training.objective as room

    save = room.Objective.save
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room.Objective, "save", remember)
        out = tmp_path / "run"
        result = train(
            setting(captions, base, out, tuning=tuning, pooling=pooling, steps=2),
        )
    loaded = load_encoder(result.checkpoint, "cpu")
    assert loaded.module.pooling == pooling
    np.testing.assert_allclose(vectors(loaded), seen["vectors"], atol=2e-6)
    if tuning == "full":
        assert result.trainable_parameters == result.total_parameters
    assert result.best == {}
    assert (
        np.abs(vectors(load_encoder(base, "cpu", pooling=pooling)) - vectors(loaded)).max() > 0.01
    )


def test_stopped_and_resumed_gives_bitwise_the_same_weights(
    captions: Path, fake_backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {"steps": 8, "learn_temperature": True, "dropout": 0.3}
    train(setting(captions, fake_backbone, tmp_path / "whole", **changes))

    make = PairBatches.__getitem__

    def stopping(self: PairBatches, index: int) -> Any:
        if index == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return make(self, index)

    parts = setting(captions, fake_backbone, tmp_path / "parts", **changes)
    monkeypatch.setattr(PairBatches, "__getitem__", stopping)
    with pytest.raises(Interrupted, match="stopped after step 5 of 8"):
        train(parts)
    monkeypatch.undo()
    assert not (tmp_path / "parts" / "ngcg.json").exists(), "no checkpoint before the end"
    assert load_encoder(tmp_path / "parts" / "last", "cpu").dim == 64, "but the last is usable"
    changes |= {"resume": True}
    # A resumed run may make its batches elsewhere.
    train(setting(captions, fake_backbone, tmp_path / "parts", **changes, workers=1))
    whole, parts_state = state_of(tmp_path / "whole"), state_of(tmp_path / "parts")
    assert whole.keys() == parts_state.keys()
    assert "weight/temperature.log_scale" in whole
    assert all(torch.equal(whole[key], parts_state[key]) for key in whole)
    stamps = [json.loads((tmp_path / n / "ngcg.json").read_text()) for n in ("whole", "parts")]
    assert stamps[0]["temperature"] == stamps[1]["temperature"] != 0.03

    other = setting(
        captions, fake_backbone, tmp_path / "parts", **{**changes, "direction": "text-to-image"}
    )
    with pytest.raises(UsageError, match="direction = symmetric, this one has text-to-image"):
        train(other)


def test_training_goes_on_from_a_checkpoint_with_the_same_adapter(
    captions: Path, fake_backbone: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = train(setting(captions, fake_backbone, tmp_path / "a", rank=4, alpha=8))
    second = train(setting(captions, first.checkpoint, tmp_path / "b", steps=1))
    assert "goes on with its own adapter: rank 4, alpha 8" in caplog.text
    assert second.trainable_parameters == first.trainable_parameters
    a, b = (vectors(load_encoder(r.checkpoint, "cpu")) for r in (first, second))
    assert np.abs(a - b).max() > 0
    whole = train(setting(captions, first.checkpoint, tmp_path / "c", tuning="full", steps=1))
    assert (whole.checkpoint / "model.safetensors").exists()
    with pytest.raises(UsageError, match="trained with eos pooling"):
        train(setting(captions, first.checkpoint, tmp_path / "d", pooling="mean"))


def test_a_broken_image_is_replaced_named_and_counted(
    captions: Path, fake_backbone: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = tmp_path / "captions.jsonl"
    rows = [json.loads(line) for line in captions.open()]
    for row in rows:
        row["image"] = str(captions.parent / row["image"])
    rows[5]["image"] = str(tmp_path / "broken.png")
    (tmp_path / "broken.png").write_bytes(b"not a picture")
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = train(setting(data, fake_backbone, tmp_path / "run", steps=6))
    assert list(result.broken) == [tmp_path / "broken.png"]
    assert caplog.text.count("another pair takes its place") == 1
    rows[6]["image"] = str(tmp_path / "missing.png")
    data.write_text("".join(json.dumps(row) + "\n" for row in rows[:8]))
    with pytest.raises(DataError, match=r"of 8 images could not be read, more than 5"):
        train(setting(data, fake_backbone, tmp_path / "run2", steps=6))


def test_batches_do_not_depend_on_who_makes_them(captions: Path, fake_backbone: Path) -> None:
    from ngcg_cli.choices import AUGMENTATIONS
    from ngcg_cli.datasets import load_pairs

    encoder = load_encoder(fake_backbone, "cpu")
    pairs = load_pairs(captions)
    options: dict[str, Any] = {"augmentations": AUGMENTATIONS, "seed": 3}
    whole = PairBatches(pairs, encoder, 8, **options)
    halves = [PairBatches(pairs, encoder, 8, **options, rank=r, world=2) for r in (0, 1)]
    for number in (7, 0, 4):
        one, two = whole[number], [half[number] for half in halves]
        assert torch.equal(one.keys, torch.cat([half.keys for half in two]))
        assert np.array_equal(one.images, np.concatenate([half.images for half in two]))
        assert len(set(one.keys[:, 0].tolist())) == 8, "each place once"
    assert not np.array_equal(whole[0].images, whole[6].images)


def test_checkpointed_activations_give_the_same_gradients(
    captions: Path, fake_backbone: Path, tmp_path: Path
) -> None:
    for name, on in (("plain", False), ("saving", True)):
        options = {"steps": 1, "gradient_checkpointing": on, "clip": 0.0}
        train(setting(captions, fake_backbone, tmp_path / name, **options))
    plain, saving = state_of(tmp_path / "plain"), state_of(tmp_path / "saving")
    for key in plain:
        if key.startswith("adamw/exp_avg/"):
            torch.testing.assert_close(saving[key], plain[key], rtol=1e-4, atol=1e-6)


def test_two_processes_equal_one_with_the_double_batch(
    captions: Path, fake_backbone: Path, tmp_path: Path
) -> None:
    """Through `torchrun` and the command: the first step's gradients, as AdamW's moments hold."""
    options = (
        f"train {captions} --model {fake_backbone} --batch-size 8 --steps 1 --clip 0 --dropout 0 "
        "--learn-temperature --workers 0 --micro-batch 2 --device cpu --json -q"
    ).split()
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    two = subprocess.run(
        [sys.executable, *launch, "-m", "ngcg_cli", *options, "--out", str(tmp_path / "two")],
        env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert two.returncode == 0, two.stderr
    report = json.loads(two.stdout)  # one object, from one of the two
    assert report["steps"] == 1

    train(
        setting(
            captions, fake_backbone, tmp_path / "one", steps=1, micro_batch=None, clip=0.0,
            dropout=0.0, learn_temperature=True, lr=1e-4,
        ),
    )  # fmt: skip
    one, both = state_of(tmp_path / "one"), state_of(tmp_path / "two")
    moments = [key for key in one if key.startswith("adamw/exp_avg/")]
    assert "adamw/exp_avg/temperature.log_scale" in moments
    assert both.keys() == one.keys()
    for key in moments:
        torch.testing.assert_close(both[key], one[key], rtol=1e-4, atol=1e-6, msg=key)
    losses = [
        json.loads((tmp_path / n / "metrics.jsonl").read_text())["loss"] for n in ("one", "two")
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_without_matplotlib_training_succeeds_and_names_the_command(
    captions: Path,
    fake_backbone: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    result = train(setting(captions, fake_backbone, tmp_path / "run", steps=1))
    assert "pip install 'ngcg[plot]'" in caplog.text
    assert (result.checkpoint / "ngcg.json").exists()
    assert not (result.checkpoint / "training.png").exists()
