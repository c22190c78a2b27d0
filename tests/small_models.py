"""Models with random weights, small enough for tests: transformers' own classes and formats."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_CORPUS = [
    "many planes are parked next to a long building in an airport",
    "a red-roofed building beside a roundabout with four cars in 1984",
    "some boats are in a harbour near a green meadow and two ponds",
]
_SPECIAL = [
    "<|im_end|>",
    "<image>",
    "<global-img>",
    "<fake_token_around_image>",
    "<img>",
    "<IMG_CONTEXT>",
    "</img>",
]


def write_tokenizer(folder: Path) -> None:
    """A byte-level BPE tokenizer trained here, with the prompt tokens of both model families."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    folder.mkdir(exist_ok=True)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=384,
        special_tokens=_SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_CORPUS, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|im_end|>",
        "pad_token": "<|im_end|>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(names))


def smolvlm() -> Any:
    """The config of SmolVLM at 32 px: 16 patches, 4 image tokens, width 64."""
    from transformers import SmolVLMConfig

    return SmolVLMConfig(
        vision_config={
            "hidden_size": 48,
            "intermediate_size": 96,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "image_size": 32,
            "patch_size": 8,
        },
        text_config={
            "model_type": "llama",
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "vocab_size": 400,
            "pad_token_id": 0,
            "eos_token_id": 0,
            "bos_token_id": None,
        },
        image_token_id=1,
        scale_factor=2,
    )


def write_smolvlm(folder: Path) -> None:
    """A model directory: SmolVLM classes, random weights, the tokenizer above."""
    import torch
    from transformers import SmolVLMModel

    torch.manual_seed(7)
    SmolVLMModel(smolvlm()).save_pretrained(folder)
    write_tokenizer(folder)


def write_adapter(folder: Path, model: Path) -> None:
    """A LoRA checkpoint on a model directory, as training writes it, with `query` pooling."""
    from ngcg_cli.encoder.checkpoint import load_encoder, save_checkpoint
    from ngcg_cli.encoder.lora import LoraSettings, add_lora

    encoder = load_encoder(model, "cpu", pooling="query", trainable=True)
    add_lora(encoder.module, LoraSettings(rank=2, alpha=4))
    save_checkpoint(encoder, folder)
