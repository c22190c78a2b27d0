"""Models with random weights, small enough for tests: transformers' own classes and formats."""

from __future__ import annotations

import base64
import json
import re
import string
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


def write_smolvlm(folder: Path, **vision: Any) -> None:
    """A model directory: SmolVLM classes, random weights, the tokenizer above.

    Args:
        folder: where to.
        vision: settings of the vision tower in place of those of `smolvlm`.
    """
    import torch
    from transformers import SmolVLMModel

    config = smolvlm()
    for name, value in vision.items():
        setattr(config.vision_config, name, value)
    torch.manual_seed(7)
    SmolVLMModel(config).save_pretrained(folder)
    write_tokenizer(folder)


#: The chat templates of the published models, each as its family writes it.
SMOLVLM_CHAT = (
    "<|im_start|>{% for message in messages %}{{message['role'] | capitalize}}"
    "{% if message['content'][0]['type'] == 'image' %}{{':'}}{% else %}{{': '}}{% endif %}"
    "{% for line in message['content'] %}{% if line['type'] == 'text' %}{{line['text']}}"
    "{% elif line['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}<end_of_utterance>\n"
    "{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
QWEN_CHAT = (
    "{%- for message in messages %}{{- '<|im_start|>' + message.role + '\n' }}"
    "{%- for content in message.content %}{%- if content.type == 'image' %}"
    "{{- PICTURE }}{%- elif 'text' in content %}{{- content.text }}{%- endif %}"
    "{%- endfor %}{{- '<|im_end|>\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"
)


def lively(model: Any) -> Any:
    """Makes a random model's answers depend on what it is shown, and vary within an answer."""
    import torch

    torch.manual_seed(11)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() > 1:
                weight.normal_(0, 1.2 * weight.shape[-1] ** -0.5)
            elif name.endswith("bias"):
                weight.normal_(0, 0.1)
    return model


def internvl() -> Any:
    """InternVL with a Qwen3 language model at 28 px: 16 patches, 4 image tokens, width 64."""
    from transformers import InternVLConfig

    return InternVLConfig(
        vision_config={
            "hidden_size": 48,
            "intermediate_size": 96,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "image_size": [28, 28],
            "patch_size": [7, 7],
        },
        text_config={
            "model_type": "qwen3",
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "vocab_size": 400,
            "eos_token_id": 0,
            "bos_token_id": None,
        },
        image_token_id=5,
        image_seq_length=4,
    )


def write_talker(folder: Path, family: str = "smolvlm") -> None:
    """A model that converses, with its language-model head, random weights and a chat template.

    Args:
        folder: where to.
        family: `smolvlm`, `internvl` or `qwen3_vl`; each keeps its template in a file of its own.
    """
    from transformers import AutoModelForImageTextToText

    folder.mkdir(exist_ok=True)
    write_tokenizer(folder)
    if family == "smolvlm":
        config, chat = smolvlm(), SMOLVLM_CHAT
        (folder / "chat_template.json").write_text(json.dumps({"chat_template": chat}))
    elif family == "internvl":
        config, chat = internvl(), QWEN_CHAT.replace("PICTURE", r"'<IMG_CONTEXT>\n'")
        (folder / "chat_template.jinja").write_text(chat)
    else:
        config = qwen(folder)
        picture = "'<|vision_start|><|image_pad|><|vision_end|>'"
        named = json.loads((folder / "tokenizer_config.json").read_text())
        named["chat_template"] = QWEN_CHAT.replace("PICTURE", picture)
        (folder / "tokenizer_config.json").write_text(json.dumps(named))
    lively(AutoModelForImageTextToText.from_config(config)).save_pretrained(folder)


def qwen(folder: Path, patch: int = 4) -> Any:
    """The config of a small Qwen3-VL; its tokenizer, with the tokens of its chat, is written."""
    from tokenizers import Tokenizer
    from transformers import Qwen3VLConfig

    write_tokenizer(folder)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.add_special_tokens(
        ["<|im_start|>", "<|vision_start|>", "<|image_pad|>", "<|vision_end|>", "<|video_pad|>"]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    return Qwen3VLConfig(
        text_config={
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "vocab_size": 400,
            "eos_token_id": 0,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10000.0,
                "mrope_interleaved": True,
                "mrope_section": [4, 2, 2],
            },
        },
        vision_config={
            "depth": 3,
            "hidden_size": 48,
            "intermediate_size": 96,
            "num_heads": 4,
            "patch_size": patch,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "out_hidden_size": 64,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [0, 1],
        },
        image_token_id=tokenizer.token_to_id("<|image_pad|>") or 0,
        video_token_id=tokenizer.token_to_id("<|video_pad|>") or 0,
        tie_word_embeddings=True,
    )


def write_qwen(folder: Path, patch: int = 4) -> None:
    """Qwen3-VL with random weights, under the names of a published checkpoint with its head."""
    import torch
    from transformers import Qwen3VLForConditionalGeneration

    config = qwen(folder, patch)
    torch.manual_seed(9)
    Qwen3VLForConditionalGeneration(config).save_pretrained(folder)


def letters(key: str, value: str) -> str:
    """SentencePiece's table of letters in base64: a double-array trie of one key of three bytes."""
    trie, place = [0] * 4096, 0
    trie[0] = 256 << 10
    for step, byte in enumerate(key.encode()):
        place ^= 256 << step ^ byte
        trie[place] = 256 << 10 + step + 1 | byte | (step == 2) << 8
    data = b"".join(unit.to_bytes(4, "little") for unit in trie)
    table = len(data).to_bytes(4, "little") + data + value.encode() + b"\0"
    return base64.b64encode(table).decode()


def write_siglip(folder: Path, version: int, **vision: Any) -> None:
    """SigLIP or SigLIP 2 with random weights at 32 px, width 48, and a tokenizer of its kind."""
    import torch
    from transformers import SiglipConfig, SiglipModel

    side = {"hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2}
    side |= {"num_attention_heads": 4}
    config = SiglipConfig(
        text_config={**side, "vocab_size": 400, "bos_token_id": None, "eos_token_id": None},
        vision_config={**side, "image_size": 32, "patch_size": 8, **vision},
    )
    torch.manual_seed(5)
    model = SiglipModel(config)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * 0.05)
    model.save_pretrained(folder)
    preprocessor = {
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "image_processor_type": "SiglipImageProcessor",
        "resample": 3 if version == 1 else 2,
        "size": {"height": 32, "width": 32},
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    _write_siglip_tokenizer(folder, version)


def _write_siglip_tokenizer(folder: Path, version: int) -> None:
    from tokenizers import (
        Regex,
        Tokenizer,
        models,
        normalizers,
        pre_tokenizers,
        processors,
        trainers,
    )

    trainer: Any
    if version == 1:  # SentencePiece's unigrams; lower case without punctuation
        special, eos, pad = ["</s>", "<unk>"], "</s>", "</s>"
        tokenizer = Tokenizer(models.Unigram())
        tokenizer.normalizer = normalizers.Sequence(
            [
                normalizers.Lowercase(),
                normalizers.Replace(Regex("[" + re.escape(string.punctuation) + "]"), ""),
                normalizers.Replace(Regex(r"\s+"), " "),
                normalizers.Strip(),
                normalizers.Precompiled(base64.b64decode(letters("\ufb01", "fi"))),
            ]
        )
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        trainer = trainers.UnigramTrainer(
            vocab_size=300, special_tokens=special, unk_token="<unk>", show_progress=False
        )
    else:  # Gemma's pairs of bytes
        special, eos, pad = ["<pad>", "<eos>", "<bos>", "<unk>"], "<eos>", "<pad>"
        tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
        tokenizer.normalizer = normalizers.Replace(" ", "\u2581")
        tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
        trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(_CORPUS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {eos}", special_tokens=[(eos, tokenizer.token_to_id(eos))]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": eos, "pad_token": pad}
    names |= {"unk_token": "<unk>", "padding_side": "right"}
    (folder / "tokenizer_config.json").write_text(json.dumps(names))


def write_adapter(folder: Path, model: Path) -> None:
    """A LoRA checkpoint on a model directory, as training writes it, with `query` pooling."""
    from ngcg_cli.encoder.checkpoint import load_encoder, save_checkpoint
    from ngcg_cli.encoder.lora import LoraSettings, add_lora

    encoder = load_encoder(model, "cpu", pooling="query", trainable=True)
    add_lora(encoder.module, LoraSettings(rank=2, alpha=4))
    save_checkpoint(encoder, folder)


def write_gemma(folder: Path) -> None:
    """EmbeddingGemma 2 with random weights at 96 px, and a tokenizer of its kind."""
    import torch
    from tokenizers import Tokenizer, processors
    from transformers import EmbeddingGemma2Config, EmbeddingGemma2Model

    folder.mkdir(exist_ok=True)
    _write_siglip_tokenizer(folder, 2)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.add_special_tokens(["<|image>", "<image|>", "<|image|>", "<|video|>", "<|audio|>"])
    ends = [(name, tokenizer.token_to_id(name)) for name in ("<bos>", "<eos>")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>", special_tokens=ends
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    side = {"hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 3}
    config = EmbeddingGemma2Config(
        text_config={
            **side,
            "vocab_size": 400,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "global_head_dim": 32,
            "num_global_key_value_heads": 1,
            "sliding_window": 4,
            "sliding_window_pattern": 3,
            "hidden_size_per_layer_input": 16,
            "embedding_dim": 64,
            "bos_token_id": ends[0][1],
            "eos_token_id": ends[1][1],
            "pad_token_id": tokenizer.token_to_id("<pad>"),
        },
        vision_config={
            **side,
            "model_type": "gemma4_vision",
            "num_attention_heads": 4,
            "num_key_value_heads": 4,
            "head_dim": 12,
            "patch_size": 2,
            "position_embedding_size": 64,
        },
        boi_token_id=tokenizer.token_to_id("<|image>"),
        eoi_token_id=tokenizer.token_to_id("<image|>"),
        image_token_id=tokenizer.token_to_id("<|image|>"),
        video_token_id=tokenizer.token_to_id("<|video|>"),
        audio_token_id=tokenizer.token_to_id("<|audio|>"),
    )
    torch.manual_seed(11)
    model = EmbeddingGemma2Model(config)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * 0.1)
    model.save_pretrained(folder)
