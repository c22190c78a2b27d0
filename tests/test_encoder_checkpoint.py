"""Model directories, adapters and checkpoints: written, read back, refused."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoint_samples import KEY, TEXTS, copied, edit_weights, some_images, train_a_step, vectors
from safetensors.torch import load_file, save_file

from ngcg_cli.encoder.checkpoint import load_encoder, save_checkpoint
from ngcg_cli.encoder.encoder import Encoder, build_encoder
from ngcg_cli.encoder.lora import LoraSettings, add_lora
from ngcg_cli.encoder.weights import digest_weights
from ngcg_cli.errors import ModelError

pytestmark = pytest.mark.slow  # small models of torch that train or talk: seconds in all


@pytest.fixture
def adapted(fake_backbone: Path, tmp_path: Path) -> tuple[Encoder, Path]:
    encoder = load_encoder(fake_backbone, "cpu", trainable=True)
    add_lora(encoder.module)
    train_a_step(encoder)
    return encoder, save_checkpoint(encoder, tmp_path / "lora", {"temperature": 0.03})


# --- names ------------------------------------------------------------------------------------


# --- LoRA -------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["smolvlm", "internvl"])
def test_lora_adapts_the_named_modules_of_both_towers(
    family: str, request: pytest.FixtureRequest, tokenizer_dir: Path
) -> None:
    config = request.getfixturevalue(f"{family}_config")
    encoder = build_encoder(config, tokenizer_dir, pooling="query")
    before = encoder.encode_texts(TEXTS)
    add_lora(encoder.module)
    trainable = [n for n, p in encoder.module.named_parameters() if p.requires_grad]
    adapted = {n.split(".lora_")[0] for n in trainable if ".lora_" in n}
    leaves = {n.rsplit(".", 1)[1] for n in adapted}
    vision = {"q_proj", "k_proj", "v_proj"} | ({"out_proj"} if family == "smolvlm" else set())
    assert leaves == vision | {"q_proj", "k_proj", "v_proj", "o_proj", "down_proj"}
    assert sum("vision" in n for n in adapted) == 2 * len(vision)
    assert sum("vision" not in n for n in adapted) == 2 * 5
    # The pooling has no pretrained weights, so it trains along.
    rest = {n.split(".")[0] for n in trainable if ".lora_" not in n}
    assert rest == {"query_pooling"}
    # B starts at zero: the adapter is the identity until it is trained.
    np.testing.assert_allclose(encoder.encode_texts(TEXTS), before, atol=1e-6)
    with pytest.raises(ModelError, match="carries an adapter already"):
        add_lora(encoder.module)


@pytest.mark.parametrize("dora", [True, False])
@pytest.mark.parametrize("pooling", ["eos", "query"])
def test_a_lora_checkpoint_gives_the_trained_vectors_merged_and_unmerged(
    fake_backbone: Path, tmp_path: Path, dora: bool, pooling: Any
) -> None:
    encoder = load_encoder(fake_backbone, "cpu", pooling=pooling, trainable=True)
    before = vectors(encoder)
    add_lora(encoder.module, LoraSettings(dora=dora))
    train_a_step(encoder)
    trained = vectors(encoder)
    assert np.abs(trained - before).max() > 1e-2
    folder = save_checkpoint(encoder, tmp_path / "out")
    merged = load_encoder(folder, "cpu")
    assert merged.module.adapter is None
    assert not any("lora" in n for n, _ in merged.module.named_modules())
    np.testing.assert_allclose(vectors(merged), trained, atol=2e-5)
    again = load_encoder(folder, "cpu", trainable=True)
    np.testing.assert_allclose(vectors(again), trained, atol=1e-6)
    names = [
        {n for n, p in e.module.named_parameters() if p.requires_grad} for e in (encoder, again)
    ]
    assert names[0] == names[1]
    assert (folder / "pooling.safetensors").exists() == (pooling == "query")
    assert len({e.fingerprint for e in (merged, again)}) == 1
    assert merged.fingerprint != load_encoder(fake_backbone, "cpu", pooling=pooling).fingerprint


@pytest.mark.filterwarnings("ignore::FutureWarning")  # peft's, of transformers 5.23's new names
def test_plain_peft_loads_the_adapter(adapted: tuple[Encoder, Path], fake_backbone: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModel

    encoder, folder = adapted
    plain = PeftModel.from_pretrained(AutoModel.from_pretrained(fake_backbone), str(folder)).eval()
    ids, mask = encoder.tokens(TEXTS[:1])
    with torch.inference_mode():
        hidden = plain(input_ids=ids, attention_mask=mask).last_hidden_state[:, -1]
    hidden = torch.nn.functional.normalize(hidden, dim=-1).numpy()
    np.testing.assert_allclose(encoder.encode_texts(TEXTS[:1]), hidden, atol=1e-5)


def test_an_adapted_model_lies_in_its_own_folder(
    adapted: tuple[Encoder, Path], fake_backbone: Path
) -> None:
    """There its confidence is looked for, which is none of its base."""
    encoder, folder = adapted
    assert (encoder.folder, load_encoder(folder, "cpu").folder) == (fake_backbone, folder)


def test_the_stamp_says_everything(adapted: tuple[Encoder, Path], fake_backbone: Path) -> None:
    _, folder = adapted
    stamp = json.loads((folder / "ngcg.json").read_text())
    assert stamp["tuning"] == "lora"
    assert stamp["temperature"] == 0.03
    assert stamp["pooling"] == "eos"
    assert stamp["base"]["name"] == str(fake_backbone.resolve())
    assert len(stamp["base"]["weights"]) == 64
    assert stamp["lora"] == {
        "rank": 16,
        "alpha": 128,
        "dropout": 0.1,
        "dora": True,
        "targets": ["down_proj", "k_proj", "o_proj", "out_proj", "q_proj", "v_proj"],
    }
    assert stamp["settings"]["image_size"] == 32
    assert set(stamp["versions"]) >= {"ngcg", "torch", "transformers"}
    assert sorted(p.name for p in folder.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "ngcg.json",
    ]


def test_training_on_top_of_an_adapted_model_keeps_both(
    adapted: tuple[Encoder, Path], tmp_path: Path
) -> None:
    encoder = load_encoder(adapted[1], "cpu")
    encoder.module.requires_grad_(True)
    add_lora(encoder.module, LoraSettings(rank=2))
    train_a_step(encoder)
    folder = save_checkpoint(encoder, tmp_path / "second")
    np.testing.assert_allclose(vectors(load_encoder(folder, "cpu")), vectors(encoder), atol=2e-5)


def test_a_checkpoint_that_does_not_fit_its_base_is_refused(
    adapted: tuple[Encoder, Path], fake_backbone: Path, tmp_path: Path
) -> None:
    _, folder = adapted

    def variant(name: str, **changes: Any) -> Path:
        copy = copied(folder, tmp_path / name)
        stamp = json.loads((copy / "ngcg.json").read_text())
        (copy / "ngcg.json").write_text(json.dumps(stamp | changes))
        return copy

    stamp = json.loads((folder / "ngcg.json").read_text())
    other = copied(fake_backbone, tmp_path / "other")
    edit_weights(other, **{KEY: torch.zeros(128, 64)})
    moved = variant("moved", base=stamp["base"] | {"name": str(other)})
    with pytest.raises(ModelError, match=r"trained on .* but .*other now has weights"):
        load_encoder(moved, "cpu")
    with pytest.raises(ModelError, match="no base model is named"):
        load_encoder(variant("nobase", base=None), "cpu")
    with pytest.raises(ModelError, match="checkpoint format 99"):
        load_encoder(variant("future", format=99), "cpu")
    with pytest.raises(ModelError, match="unknown encoder settings colour"):
        load_encoder(variant("settings", settings={"colour": 1}), "cpu")

    def adapter(name: str, **changes: torch.Tensor | None) -> Path:
        copy = variant(name)
        path = copy / "adapter_model.safetensors"
        state = load_file(path) | changes
        save_file({k: v for k, v in state.items() if v is not None}, path)
        return copy

    key = min(k for k in load_file(folder / "adapter_model.safetensors") if "lora_A" in k)
    with pytest.raises(ModelError, match="does not fit the base model: 1 missing weights"):
        load_encoder(adapter("missing", **{key: None}), "cpu")
    with pytest.raises(ModelError, match="does not fit the base model: 1 unexpected weights"):
        load_encoder(adapter("spare", **{"stray": torch.zeros(1)}), "cpu")
    with pytest.raises(ModelError, match=r"does not fit the base model: size mismatch"):
        load_encoder(adapter("shape", **{key: torch.zeros(16, 7)}), "cpu")
    broken = variant("broken")
    (broken / "adapter_model.safetensors").write_bytes(b"\x80\x04")
    with pytest.raises(ModelError, match="the adapter cannot be read"):
        load_encoder(broken, "cpu")


def test_a_full_checkpoint_carries_weights_tokenizer_and_settings(
    fake_backbone: Path, tmp_path: Path
) -> None:
    encoder = load_encoder(fake_backbone, "cpu", pooling="query", trainable=True)
    train_a_step(encoder)
    folder = save_checkpoint(encoder, tmp_path / "full", {"epochs": 1})
    again = load_encoder(folder, "cpu")
    assert again.module.pooling == "query"
    np.testing.assert_allclose(vectors(again), vectors(encoder), atol=1e-6)
    # Written over, not beside: the second save replaces the first and leaves no leftovers.
    save_checkpoint(again, folder)
    np.testing.assert_array_equal(vectors(load_encoder(folder, "cpu")), vectors(again))
    assert [p.name for p in tmp_path.iterdir()] == ["full"]
    (folder / "pooling.safetensors").write_bytes(b"\x80\x04")
    with pytest.raises(ModelError, match="the learned pooling cannot be loaded"):
        load_encoder(folder, "cpu")
    (folder / "pooling.safetensors").unlink()
    with pytest.raises(ModelError, match=r"pooling.safetensors: cannot be read"):
        load_encoder(folder, "cpu")


def test_a_fresh_encoder_round_trips(
    smolvlm_config: Any, tokenizer_dir: Path, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    encoder = build_encoder(smolvlm_config, tokenizer_dir, pooling="mean")
    again = load_encoder(save_checkpoint(encoder, tmp_path / "fresh"), "cpu")
    np.testing.assert_array_equal(vectors(again), vectors(encoder))
    assert str(tmp_path) not in (tmp_path / "fresh" / "config.json").read_text()
    add_lora(encoder.module)
    with pytest.raises(ModelError, match="its base is nowhere"):
        save_checkpoint(encoder, tmp_path / "lora")
    assert [p.name for p in tmp_path.iterdir()] == ["fresh"], "nothing half-written is left"


def test_a_sixteen_bit_base_takes_a_float32_adapter(fake_backbone: Path, tmp_path: Path) -> None:
    """As on a GPU: the base in bfloat16, adapter and pooling trained in float32."""
    encoder = load_encoder(
        fake_backbone, "cpu", pooling="query", trainable=True, precision="bfloat16"
    )
    add_lora(encoder.module)
    trained = {n: p.dtype for n, p in encoder.module.named_parameters() if p.requires_grad}
    assert set(trained.values()) == {torch.float32}
    assert encoder.module.dtype == torch.bfloat16
    train_a_step(encoder)
    folder = save_checkpoint(encoder, tmp_path / "out")
    # 8 bits of mantissa in every layer of the base.
    np.testing.assert_allclose(vectors(load_encoder(folder, "cpu")), vectors(encoder), atol=0.05)
    again = load_encoder(folder, "cpu", trainable=True, precision="bfloat16")
    assert {n: p.dtype for n, p in again.module.named_parameters() if p.requires_grad} == trained
    np.testing.assert_array_equal(vectors(again), vectors(encoder))


def test_gradients_reach_the_adapter_through_checkpointing(fake_backbone: Path) -> None:
    encoder = load_encoder(fake_backbone, "cpu", trainable=True)
    add_lora(encoder.module, LoraSettings(dropout=0))
    grads = []
    for on in (False, True):
        encoder.module.train().zero_grad()
        encoder.module.gradient_checkpointing(on)
        images = encoder.module.embed_images(encoder.pixels(some_images()))
        texts = encoder.module.embed_texts(*encoder.tokens(TEXTS[:2]))
        (images * texts).sum().backward()
        grads.append(
            {n: p.grad.clone() for n, p in encoder.module.named_parameters() if p.grad is not None}
        )
    assert sum("vision_model" in n for n in grads[0]) == 2 * 4 * 3, "A, B and magnitude"
    assert grads[0].keys() == grads[1].keys()
    for name, grad in grads[0].items():
        torch.testing.assert_close(grads[1][name], grad, atol=1e-6, rtol=1e-4)


def test_a_folder_of_checkpoints_points_to_them(fake_backbone: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        copied(fake_backbone, tmp_path / name)
    with pytest.raises(ModelError, match=rf"{tmp_path}: neither .* Perhaps .*one or .*two"):
        load_encoder(tmp_path, "cpu")


def test_a_run_that_is_not_done_is_its_best_checkpoint_else_its_last(
    adapted: tuple[Encoder, Path], fake_backbone: Path, tmp_path: Path
) -> None:
    copied(fake_backbone, tmp_path / "last")
    plain = load_encoder(tmp_path, "cpu").encode_texts(["a pond"])
    assert np.array_equal(plain, load_encoder(fake_backbone, "cpu").encode_texts(["a pond"]))
    shutil.copytree(adapted[1], tmp_path / "best")
    best = load_encoder(tmp_path, "cpu").encode_texts(["a pond"])
    assert np.array_equal(best, load_encoder(adapted[1], "cpu").encode_texts(["a pond"]))
    assert not np.array_equal(best, plain)


# --- fingerprints -----------------------------------------------------------------------------


def test_a_fingerprint_follows_everything_that_shapes_a_vector(
    fake_backbone: Path, tmp_path: Path
) -> None:
    first = load_encoder(fake_backbone, "cpu")
    assert load_encoder(copied(fake_backbone, tmp_path / "copy"), "cpu").fingerprint == (
        first.fingerprint
    ), "a copy is the same model"
    seen = {first.fingerprint, load_encoder(fake_backbone, "cpu", pooling="mean").fingerprint}
    weights = copied(fake_backbone, tmp_path / "weights")
    changed = load_file(weights / "model.safetensors")[KEY].clone()
    changed[0, 0] += 1e-3
    edit_weights(weights, **{KEY: changed})
    resample = copied(fake_backbone, tmp_path / "resample")
    (resample / "preprocessor_config.json").write_text('{"resample": 2}')
    eos = copied(fake_backbone, tmp_path / "eos")
    (eos / "tokenizer_config.json").write_text('{"eos_token": "<img>"}')
    seen |= {load_encoder(folder, "cpu").fingerprint for folder in (weights, resample, eos)}
    assert len(seen) == 5


def test_large_weight_files_are_sampled_from_first_to_last_byte(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    with path.open("wb") as file:
        file.truncate(100 << 20)
    seen = {digest_weights([path])}
    for place in (0, 50 << 20, 98 << 20):
        with path.open("r+b") as file:
            file.seek(place)
            file.write(b"\1" * (2 << 20))  # a tensor, not a byte: blocks lie apart
        seen.add(digest_weights([path]))
    assert len(seen) == 4


def test_a_query_on_a_model_directory_never_imports_peft(fake_backbone: Path) -> None:
    """peft alone costs seconds; a fresh process shows what the way really imports."""
    code = (
        "import sys; from ngcg_cli.encoder.checkpoint import load_encoder;"
        f"load_encoder({str(fake_backbone)!r}, 'cpu').encode_texts(['boats']);"
        "print(*sorted({'peft', 'rasterio', 'pyarrow', 'hnswlib', 'pyproj'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
    assert done.stderr == "", "nothing is said on the way"
