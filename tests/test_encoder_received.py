"""Model folders from a stranger: what could run, fetch, hang or fill memory is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from ngcg_cli.encoder.checkpoint import load_encoder
from ngcg_cli.encoder.weights import digest_weights
from ngcg_cli.errors import ModelError

Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def received(fake_backbone: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(fake_backbone, tmp_path / "model"))


def _edit(path: Path, change: Change) -> None:
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def _refused(folder: Path, told: str) -> None:
    with pytest.raises(ModelError, match=told) as caught:
        load_encoder(folder, "cpu")
    assert "\n" not in str(caught.value)


def test_code_that_a_model_brings_is_neither_run_nor_asked_about(
    received: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked"))
    code = {"AutoModel": "modeling_evil.Evil", "AutoConfig": "modeling_evil.Evil"}
    (received / "modeling_evil.py").write_text("open('ran', 'w')\nclass Evil: pass\n")

    def name_code(config: dict[str, Any]) -> None:
        config |= {"auto_map": code, "_attn_implementation": "evil/kernel"}
        config["text_config"] |= {"auto_map": code, "attn_implementation": "evil/kernel"}

    _edit(received / "config.json", name_code)
    load_encoder(received, "cpu")  # the words are passed over: the classes are transformers' own
    _edit(
        received / "config.json", lambda c: c["text_config"].update(model_type="align_text_model")
    )
    _refused(received, r"text_config.model_type 'align_text_model' is not supported")
    assert not (tmp_path / "ran").exists()


def test_transformers_cannot_ask(monkeypatch: pytest.MonkeyPatch, received: Path) -> None:
    """Not even where it is called without a word on trust, as it calls itself for parts."""
    from transformers.dynamic_module_utils import resolve_trust_remote_code

    load_encoder(received, "cpu")
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked"))
    with pytest.raises(ValueError, match="custom code"):
        resolve_trust_remote_code(None, "evil/repo", has_local_code=False, has_remote_code=True)


CONFIGS: list[tuple[Change, str]] = [
    (lambda c: c["text_config"].update(num_hidden_layers=10**7), "num_hidden_layers is 10000000"),
    (lambda c: c["text_config"].update(head_dim=10**12), "head_dim is 1000000000000"),
    (lambda c: c["text_config"].update(vocab_size=10**7, hidden_size=10**6), "usable|asks for"),
    (lambda c: c["vision_config"].update(image_size=10**6), "image_size is 1000000"),
    (lambda c: c["vision_config"].update(model_type="timm_wrapper"), "'timm_wrapper' is not supp"),
    (lambda c: c.update(text_config=7), "not supported"),
    (lambda c: c.update(quantization_config={"quant_method": "quark"}), "quantised"),
    (lambda c: c["text_config"].update(num_attention_heads=0), "usable|loaded"),
    (lambda c: c["text_config"].update(hidden_act="os.system"), "usable model config"),
]


@pytest.mark.parametrize(("change", "told"), CONFIGS)
def test_configs_that_ask_for_more_than_came(received: Path, change: Change, told: str) -> None:
    _edit(received / "config.json", change)
    _refused(received, told)


def _replace(content: str, times: int) -> dict[str, Any]:
    step = {"type": "Replace", "pattern": {"String": "a"}, "content": content}
    return {"type": "Sequence", "normalizers": [step] * times}


def _split(expression: str) -> dict[str, Any]:
    pattern = {"Regex": expression}
    return {"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False}


TOKENIZERS: list[tuple[Change, str]] = [
    (lambda t: t.update(normalizer=_replace("a" * 40, 7)), "times longer"),
    (lambda t: t.update(pre_tokenizer=_split(r"(a+)+$|(\w+\s?)+!")), "pattern"),
    (lambda t: t.update(pre_tokenizer=_split(r"a*a*a*a*b")), "pattern"),
    (lambda t: t.update(normalizer={"type": "Precompiled", "precompiled_charsmap": "AA"}), "Prec"),
    (lambda t: t.update(model={"type": "WordPiece", "vocab": {}}), "model 'WordPiece'"),
    (lambda t: t.update(pre_tokenizer=None, added_tokens={}), "added|prompt|read"),
    (lambda t: t["model"].update(vocab=[[]]), "tokenizer"),
]


@pytest.mark.parametrize(("change", "told"), TOKENIZERS)
def test_tokenizers_that_blow_up(
    received: Path, capfd: pytest.CaptureFixture[str], change: Change, told: str
) -> None:
    _edit(received / "tokenizer.json", change)
    _refused(received, told)
    assert "panicked" not in capfd.readouterr().err


def test_published_tokenizers_are_taken(received: Path) -> None:
    """Qwen's steps, as InternVL has them; and Llama's in transformers' older form."""
    from ngcg_cli.encoder.tokenizer_file import _CL100K

    qwen = {"type": "Sequence", "pretokenizers": [_split(_CL100K % r"\p{N}")]}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False}
    qwen["pretokenizers"] += [{**byte_level, "use_regex": False}]
    _edit(
        received / "tokenizer.json",
        lambda t: t.update(normalizer={"type": "NFC"}, pre_tokenizer=qwen),
    )
    ids = load_encoder(received, "cpu").tokens(["Two ponds, 12 boats!"])[0]
    assert ids.shape[1] > 5


def test_a_tokenizer_is_no_larger_than_its_model(received: Path) -> None:
    _edit(received / "tokenizer.json", lambda t: t.update(padding_of_a_bomb="a" * (2 << 20)))
    _refused(received, "more than")


def test_a_panic_is_told_in_one_line(
    received: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """An expression that passes all checks and yet overruns the library's limit."""
    monkeypatch.setattr("ngcg_cli.encoder.tokenizer_file._is_simple", lambda _: True)
    _edit(received / "tokenizer.json", lambda t: t.update(pre_tokenizer=_split(r"(a+)+$")))
    encoder = load_encoder(received, "cpu")
    with pytest.raises(ModelError, match="tokenizer cannot be used") as caught:
        encoder.encode_texts(["a" * 40 + " b"])
    assert "\n" not in str(caught.value)


def test_a_pipe_in_place_of_a_config(received: Path) -> None:
    import os

    (received / "config.json").unlink()
    os.mkfifo(received / "config.json")
    _refused(received, "neither a model|no regular file")
    (received / "config.json").unlink()
    (received / "config.json").write_text("[" * 100_000)
    _refused(received, "cannot be read")


# --- adapters ---------------------------------------------------------------------------------

ADAPTERS: list[tuple[dict[str, Any], str]] = [
    ({"r": 10_000_000}, "rank 10000000"),
    ({"r": 60_000}, "rank 60000 is asked for"),
    ({"target_modules": "(.*.*.*.*.*.*.*.*.*.*)*zz"}, "plain layer names"),
    ({"target_modules": ["(.*)*"]}, "plain layer names"),
    ({"rank_pattern": {"(.*)*zz": 4}}, "plain layer names"),
    ({"rank_pattern": {"q_proj": 50_000}}, "rank 50000 is asked for"),
    ({"layer_replication": [[0, 100_000]]}, "layer_replication"),
    ({"megatron_config": {"x": 1}, "megatron_core": "evil_module"}, "megatron_config"),
    ({"exclude_modules": "(.*)*zz"}, "exclude_modules"),
    ({"peft_type": "VERA"}, "only LoRA"),
    ({"lora_alpha": "1e9999"}, "not numbers"),
]


def _adapter(folder: Path, base: Path, **changes: Any) -> Path:
    folder.mkdir()
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(config | changes))
    save_file({"x": torch.zeros(1)}, folder / "adapter_model.safetensors")
    weights = digest_weights([base / "model.safetensors"])
    stamp = {"format": 1, "base": {"name": str(base), "revision": None, "weights": weights}}
    (folder / "ngcg.json").write_text(json.dumps(stamp))
    return folder


@pytest.mark.parametrize(("changes", "told"), ADAPTERS)
def test_adapters_that_fill_memory_or_run_for_ever(
    fake_backbone: Path, tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    _refused(_adapter(tmp_path / "adapter", fake_backbone, **changes), told)


def test_adapters_on_one_another_in_a_circle(fake_backbone: Path, tmp_path: Path) -> None:
    folder = _adapter(tmp_path / "adapter", fake_backbone)
    _edit(folder / "ngcg.json", lambda stamp: stamp["base"].update(name=str(folder)))
    _refused(folder, "adapters on one another")


def test_the_base_of_a_checkpoint_is_not_fetched(
    fake_backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    asked = []
    fetch = huggingface_hub.snapshot_download

    def watched(*args: Any, **more: Any) -> str:
        asked.append(more["local_files_only"])
        return str(fetch(*args, **more))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", watched)
    folder = _adapter(tmp_path / "adapter", fake_backbone)
    _edit(folder / "ngcg.json", lambda stamp: stamp["base"].update(name="evil/repo"))
    _refused(folder, "hub is asked only for what you name.*hf download evil/repo")
    assert asked == [True]
    _edit(folder / "ngcg.json", lambda stamp: stamp["base"].update(revision="../../refs"))
    _refused(folder, "no revision")


@pytest.mark.parametrize(
    "settings",
    [{"image_size": 10**9}, {"max_text_tokens": 0}, {"mean": [1, 2]}, {"std": [0, 1, 1]}, []],
)
def test_settings_out_of_bounds(received: Path, settings: Any) -> None:
    (received / "ngcg.json").write_text(json.dumps({"format": 1, "settings": settings}))
    _refused(received, "setting")
