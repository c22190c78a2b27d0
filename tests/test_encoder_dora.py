"""DoRA's norm, taken once for several passes, changes no gradient; a head is left out."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from ngcg_cli.encoder.checkpoint import load_encoder
from ngcg_cli.encoder.dora import norms_taken_once
from ngcg_cli.encoder.encoder import Encoder, build_encoder
from ngcg_cli.encoder.lora import LoraSettings, add_lora


@pytest.fixture
def encoder(smolvlm_config: Any, tokenizer_dir: Path) -> Encoder:
    torch.manual_seed(0)
    made = build_encoder(copy.deepcopy(smolvlm_config), tokenizer_dir)
    add_lora(made.module, LoraSettings(rank=4, dropout=0.0))
    with torch.no_grad():  # as after some steps: B is no longer zero
        for name, parameter in made.module.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.02)
    return made


def gradients(encoder: Encoder) -> dict[str, torch.Tensor]:
    encoder.module.zero_grad()
    ids, mask = encoder.tokens(["a pond", "two boats in a harbour"])
    vectors = encoder.module.embed_texts(ids, mask)
    images = encoder.module.embed_images(torch.randn(2, 3, 32, 32, generator=_generator()))
    (vectors @ images.T).square().sum().backward()
    return {n: p.grad.clone() for n, p in encoder.module.named_parameters() if p.grad is not None}


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def test_gradients_are_the_same_and_the_norm_is_taken_once(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    from peft.tuners.lora.dora import DoraLinearLayer

    taken = 0
    norm = DoraLinearLayer.get_weight_norm

    def counting(self: Any, *args: Any, **more: Any) -> Any:
        nonlocal taken
        taken += 1
        return norm(self, *args, **more)

    monkeypatch.setattr(DoraLinearLayer, "get_weight_norm", counting)
    layers = sum(isinstance(part, DoraLinearLayer) for part in encoder.module.modules())
    plain = gradients(encoder)
    each_pass, taken = taken, 0
    with norms_taken_once(encoder.module):
        once = gradients(encoder)
        again = gradients(encoder)
    assert taken == layers < each_pass
    assert plain.keys() == once.keys()
    assert any("lora_magnitude_vector" in name for name in plain)
    assert all(torch.equal(plain[name], once[name]) for name in plain)
    assert all(torch.equal(plain[name], again[name]) for name in plain)


def test_after_an_update_the_norm_is_a_new_one(encoder: Encoder) -> None:
    with norms_taken_once(encoder.module):
        before = gradients(encoder)
    with torch.no_grad():
        for name, parameter in encoder.module.named_parameters():
            if "lora_B" in name:
                parameter.mul_(3)
    plain = gradients(encoder)
    with norms_taken_once(encoder.module):
        once = gradients(encoder)
    assert all(torch.equal(plain[name], once[name]) for name in plain)
    assert any(not torch.equal(before[name], once[name]) for name in plain)


def test_a_model_without_dora_is_left_alone(smolvlm_config: Any, tokenizer_dir: Path) -> None:
    made = build_encoder(copy.deepcopy(smolvlm_config), tokenizer_dir)
    with norms_taken_once(made.module):
        pass
    add_lora(made.module, LoraSettings(dora=False))
    with norms_taken_once(made.module):
        gradients(made)


def test_an_internvl_with_a_head_of_its_own_loads(
    internvl_config: Any, tokenizer_dir: Path, tmp_path: Path
) -> None:
    """2B and larger of the family are untied: `language_model.lm_head.weight` in the file."""
    import shutil

    from safetensors.torch import load_file, save_file
    from transformers import InternVLForConditionalGeneration

    config = copy.deepcopy(internvl_config)
    config.tie_word_embeddings = config.text_config.tie_word_embeddings = False
    torch.manual_seed(1)
    model = InternVLForConditionalGeneration(config)
    folder = tmp_path / "untied"
    model.save_pretrained(folder)
    for file in tokenizer_dir.iterdir():
        shutil.copy(file, folder)
    weights = load_file(folder / "model.safetensors")
    (head,) = [name for name in weights if name.endswith("lm_head.weight")]
    tied = load_encoder(folder, "cpu").encode_texts(["a pond"])
    for name in ("lm_head.weight", "language_model.lm_head.weight"):
        weights[name] = weights.pop(head)
        head = name
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        assert (load_encoder(folder, "cpu").encode_texts(["a pond"]) == tied).all()
