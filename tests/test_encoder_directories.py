"""Model directories and names: loaded, found in the cache, or refused in a line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoint_samples import KEY, TEXTS, copied, edit_weights, some_images, vectors

from ngcg_cli.encoder.backbones import BACKBONES
from ngcg_cli.encoder.checkpoint import load_encoder, save_checkpoint
from ngcg_cli.encoder.lora import add_lora
from ngcg_cli.encoder.weights import pick_device, resolve
from ngcg_cli.errors import ModelError, UsageError


def test_a_model_directory_gives_transformers_own_vectors(fake_backbone: Path) -> None:
    from transformers import AutoModel

    encoder = load_encoder(fake_backbone, "cpu")
    theirs = AutoModel.from_pretrained(fake_backbone).eval()
    ids, mask = encoder.tokens(TEXTS[:1])
    with torch.inference_mode():
        hidden = theirs(input_ids=ids, attention_mask=mask).last_hidden_state[:, -1]
    hidden = torch.nn.functional.normalize(hidden, dim=-1).numpy()
    np.testing.assert_allclose(encoder.encode_texts(TEXTS[:1]), hidden, atol=1e-6)
    assert encoder.name == str(fake_backbone)
    assert encoder.device.type == "cpu"
    assert not any(p.requires_grad for p in encoder.module.parameters())


@pytest.mark.parametrize("family", ["smolvlm", "internvl"])
def test_a_checkpoint_with_a_language_model_head_loads_without_it(
    family: str, request: pytest.FixtureRequest, tokenizer_dir: Path, tmp_path: Path
) -> None:
    from transformers import InternVLForConditionalGeneration, SmolVLMForConditionalGeneration

    kinds: dict[str, Any] = {
        "smolvlm": SmolVLMForConditionalGeneration,
        "internvl": InternVLForConditionalGeneration,
    }
    torch.manual_seed(5)
    whole = kinds[family](request.getfixturevalue(f"{family}_config")).eval()
    whole.save_pretrained(tmp_path / "model", max_shard_size="200KB")
    assert len(list((tmp_path / "model").glob("*.safetensors"))) > 1, "in shards"
    shutil.copytree(tokenizer_dir, tmp_path / "model", dirs_exist_ok=True)
    encoder = load_encoder(tmp_path / "model", "cpu")
    ids, mask = encoder.tokens(TEXTS[:1])
    with torch.inference_mode():
        hidden = whole.model(input_ids=ids, attention_mask=mask).last_hidden_state[:, -1]
    hidden = torch.nn.functional.normalize(hidden, dim=-1).numpy()
    np.testing.assert_allclose(encoder.encode_texts(TEXTS[:1]), hidden, atol=1e-6)


def test_sixteen_bit_weights_are_computed_with_in_float32(
    fake_backbone: Path, tmp_path: Path
) -> None:
    encoder = load_encoder(fake_backbone, "cpu")
    half = load_encoder(save_checkpoint(encoder, tmp_path / "half", dtype=torch.float16), "cpu")
    assert {p.dtype for p in half.module.parameters()} == {torch.float32}
    size = (tmp_path / "half" / "model.safetensors").stat().st_size
    assert size < 0.6 * (fake_backbone / "model.safetensors").stat().st_size
    np.testing.assert_allclose(vectors(half), vectors(encoder), atol=5e-3)
    assert half.fingerprint != encoder.fingerprint


def test_scale_factor_follows_the_weights(fake_backbone: Path, tmp_path: Path) -> None:
    folder = copied(fake_backbone, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"scale_factor": 1}))
    encoder = load_encoder(folder, "cpu")
    assert encoder.backbone.image_tokens == 4
    np.testing.assert_array_equal(vectors(encoder), vectors(load_encoder(fake_backbone, "cpu")))


@pytest.mark.filterwarnings("ignore::FutureWarning")  # peft's, of transformers 5.23's new names
def test_plain_peft_is_told_the_scale_factor(fake_backbone: Path, tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoConfig, AutoModel

    published = copied(fake_backbone, tmp_path / "model")
    config = json.loads((published / "config.json").read_text())
    (published / "config.json").write_text(json.dumps(config | {"scale_factor": 1}))
    encoder = load_encoder(published, "cpu", trainable=True)
    add_lora(encoder.module)
    folder = save_checkpoint(encoder, tmp_path / "out")
    told = json.loads((folder / "ngcg.json").read_text())["config"]
    assert told == {"scale_factor": 2}
    with pytest.raises(RuntimeError):
        AutoModel.from_pretrained(published)
    settled = AutoConfig.from_pretrained(published)
    for name, value in told.items():
        setattr(settled, name, value)
    plain = AutoModel.from_pretrained(published, config=settled)
    adapted = PeftModel.from_pretrained(plain, str(folder)).eval()
    pixels = encoder.pixels(some_images()[:1])
    with torch.inference_mode():
        module = encoder.module.eval()
        ours = module.base.connector(module.vision_tokens(pixels))
        theirs = torch.stack(list(adapted.get_image_features(pixels[None]).pooler_output))
    assert ours.shape[-2] == encoder.backbone.image_tokens
    torch.testing.assert_close(theirs.reshape(ours.shape), ours, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({KEY: None}, "1 missing weights .*up_proj"),
        ({"stray.weight": torch.zeros(2)}, "1 unexpected weights .*stray"),
        ({KEY: torch.zeros(3, 3)}, "weights do not fit config.json"),
    ],
)
def test_weights_that_do_not_match_key_by_key_are_refused(
    fake_backbone: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    folder = copied(fake_backbone, tmp_path / "model")
    edit_weights(folder, **changes)
    with pytest.raises(ModelError, match=message):
        load_encoder(folder, "cpu")


def test_damaged_directories_say_what_is_wrong(fake_backbone: Path, tmp_path: Path) -> None:
    def broken(name: str, file: str, content: bytes | None) -> Path:
        folder = copied(fake_backbone, tmp_path / name)
        (folder / file).unlink()
        if content is not None:
            (folder / file).write_bytes(content)
        return folder

    weights = (fake_backbone / "model.safetensors").read_bytes()
    cases = [
        (broken("a", "model.safetensors", None), r"no \*.safetensors weights"),
        (broken("b", "model.safetensors", weights[:-100]), "weights do not fit|incomplete"),
        (broken("c", "model.safetensors", b"pickle"), "not a safetensors file"),
        (broken("d", "config.json", b"{}"), "no usable model config"),
        (broken("e", "config.json", b"[1]"), "expected a JSON object"),
        (broken("f", "config.json", b'{"model_type": "llama"}'), "'llama' is not supported"),
        (broken("g", "config.json", None), "neither a model nor a checkpoint"),
        (broken("h", "tokenizer.json", None), r"tokenizer.json: is not there. .* fetch the model"),
        (broken("i", "tokenizer.json", b'{"model": 1}'), "the tokenizer cannot be read"),
    ]
    for folder, message in cases:
        with pytest.raises(ModelError, match=message) as caught:
            load_encoder(folder, "cpu")
        assert "\n" not in str(caught.value)
        assert str(folder) in str(caught.value)


@pytest.mark.parametrize("name", ["smolvlm-256m", "some-org/some-model"])
def test_a_hub_that_cannot_be_reached_is_one_clear_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    hub_id = BACKBONES[name].hub_id if name in BACKBONES else name
    with pytest.raises(ModelError, match=rf"^{hub_id} at revision main: .*HF_HOME.*tiny") as caught:
        load_encoder(name, "cpu")
    assert "\n" not in str(caught.value)


def test_a_cached_hub_model_needs_no_network(
    fake_backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub.constants as constants

    commit = "0123456789" * 4
    cache = tmp_path / "models--some-org--some-model"
    copied(fake_backbone, cache / "snapshots" / commit)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text(commit)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    encoder = load_encoder("some-org/some-model", "cpu", trainable=True)
    assert encoder.name == "some-org/some-model"
    assert encoder.origin is not None
    assert (encoder.origin["hub_id"], encoder.origin["revision"]) == (encoder.name, commit)
    add_lora(encoder.module)
    folder = save_checkpoint(encoder, tmp_path / "out")
    adapter = json.loads((folder / "adapter_config.json").read_text())
    assert adapter["base_model_name_or_path"] == "some-org/some-model"
    assert adapter["revision"] == commit
    load_encoder(folder, "cpu")


@pytest.mark.parametrize("name", ["huge", "/nowhere/at/all", "./nowhere", "a/b/c", ""])
def test_an_unknown_name_lists_what_there_is(name: str) -> None:
    with pytest.raises(ModelError, match=r"no model '.*tiny, smolvlm-256m"):
        resolve(name)


@pytest.mark.parametrize("device", ["cuda:99", "abacus"])
def test_a_device_that_is_not_there_is_wrong_usage(device: str) -> None:
    with pytest.raises(UsageError, match=f"device '{device}' is not available"):
        pick_device(device)
