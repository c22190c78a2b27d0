"""Backbones as declarations: how an image prompt and its pixels look, and what LoRA adapts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ngcg_cli.encoder.received import check_settings
from ngcg_cli.errors import ModelError

Resample = Literal["bilinear", "bicubic", "lanczos"]
#: Every supported `config.model_type`.
MODEL_TYPES = (
    "smolvlm",
    "idefics3",
    "internvl",
    "internvl_conv",
    "siglip",
    "qwen3_vl",
    "embedding_gemma2",
)
#: Pillow's numbers, as `preprocessor_config.json` writes them.
PILLOW_RESAMPLE: dict[int, Resample] = {1: "lanczos", 2: "bilinear", 3: "bicubic"}

#: Where LoRA sits (arXiv 2604.10721, "Adaptation"): attention and the MLPs' way down, by name,
#: wherever they occur, vision tower included. `gate_proj` and `up_proj` are not adapted.
LORA_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "out_proj", "down_proj")
#: The same of SigLIP, but for the attention that pools an image: torch's own layer reads its
#: weights past any adapter.
SIGLIP_TARGETS = ("q_proj", "k_proj", "v_proj", "self_attn.out_proj")
#: Settings that came later are told only where they differ, so that fingerprints stay.
_LATER: dict[str, Any] = {
    "pad_text": False,
    "lowercase": False,
    "text_prefix": "",
    "text_lead": "",
    "text_suffix": "",
}

_HALF = (0.5, 0.5, 0.5)
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)
#: EfficientNet-Lite's own: (x - 127) / 128 on 0..255.
_LITE_MEAN = (127 / 255,) * 3
_LITE_STD = (128 / 255,) * 3


@dataclass(frozen=True)
class Backbone:
    """What the encoder must know about a model beyond its own config.

    The image goes in as ONE global view of `image_size` x `image_size` pixels; of a multimodal
    language model in the prompt `image_prefix`, `image_tokens` x `image_token`, `image_suffix`,
    without an instruction. A dual encoder (`siglip`) has no image prompt.
    """

    name: str
    hub_id: str | None
    model_type: str
    image_size: int
    image_tokens: int
    image_prefix: str
    image_token: str
    image_suffix: str
    resample: Resample
    #: The SmolVLM/Idefics3 processors first bring the longest edge to `image_size`, then squash.
    aspect_first: bool
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    revision: str = "main"
    max_text_tokens: int = 300
    lora_targets: tuple[str, ...] = LORA_TARGETS
    #: A folder inside the package that holds the weights, for the model that needs no hub.
    bundled: str | None = None
    #: Every text is padded to `max_text_tokens`, and the model sees the padding.
    pad_text: bool = False
    #: Texts are brought to lower case before they are cut into tokens.
    lowercase: bool = False
    #: What stands around every text; the suffix in place of [EOS].
    text_prefix: str = ""
    text_suffix: str = ""
    #: What stands before every text, behind the prefix, and is cut into tokens together with it.
    text_lead: str = ""
    #: The fewest leading components that the model was trained to be searched by (Matryoshka);
    #: 0 where it was not. A property of weights, so only a named model declares it.
    least_dim: int = 0

    def settings(self) -> dict[str, Any]:
        """What shapes a vector besides weights and tokenizer: written to `ngcg.json`."""
        names = (
            "model_type image_size image_tokens image_prefix image_token image_suffix "
            "resample aspect_first mean std max_text_tokens"
        )
        settings = {name: _plain(getattr(self, name)) for name in names.split()}
        later = {name: getattr(self, name) for name in _LATER}
        return settings | {name: it for name, it in later.items() if it != _LATER[name]}

    def with_settings(self, settings: dict[str, Any], where: str | Path) -> Backbone:
        """The same backbone with `settings` (from `ngcg.json`) in place of its own."""
        known = _LATER | self.settings()
        unknown = sorted(settings.keys() - known.keys())
        if unknown:
            raise ModelError(f"unknown encoder settings {', '.join(unknown)}", where=where)
        check_settings(settings, known, where)
        values: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()
        }
        return dataclasses.replace(self, **values)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _smolvlm(name: str, hub_id: str | None, **more: Any) -> Backbone:
    values: dict[str, Any] = {
        "model_type": "idefics3",
        "image_size": 512,
        "image_tokens": 64,
        "image_prefix": "<fake_token_around_image><global-img>",
        "image_token": "<image>",
        "image_suffix": "<fake_token_around_image>",
        "resample": "lanczos",
        "aspect_first": True,
        "mean": _HALF,
        "std": _HALF,
    }
    return Backbone(name=name, hub_id=hub_id, **(values | more))


def _internvl(name: str, hub_id: str | None, **more: Any) -> Backbone:
    values: dict[str, Any] = {
        "model_type": "internvl",
        "image_size": 448,
        "image_tokens": 256,
        "image_prefix": "<img>",
        "image_token": "<IMG_CONTEXT>",
        "image_suffix": "</img>",
        "resample": "bicubic",
        "aspect_first": False,
        "mean": _IMAGENET_MEAN,
        "std": _IMAGENET_STD,
    }
    return Backbone(name=name, hub_id=hub_id, **(values | more))


def _siglip(name: str, hub_id: str | None, **more: Any) -> Backbone:
    """A dual encoder: two towers, each with an output of its own in one space."""
    values: dict[str, Any] = {
        "model_type": "siglip",
        "image_size": 256,
        "image_tokens": 256,
        "image_prefix": "",
        "image_token": "",
        "image_suffix": "",
        "resample": "bicubic",
        "aspect_first": False,
        "mean": _HALF,
        "std": _HALF,
        "max_text_tokens": 64,
        "lora_targets": SIGLIP_TARGETS,
        "pad_text": True,
        # SigLIP 2 was trained so (arXiv 2502.14786); its published tokenizer does not say it.
        "lowercase": True,
    }
    return Backbone(name=name, hub_id=hub_id, **(values | more))


def _qwen(name: str, hub_id: str | None, **more: Any) -> Backbone:
    """A Qwen3-VL trained to embed: its chat with an instruction, which differs by side."""
    system, user = "<|im_start|>system\n{}<|im_end|>\n", "<|im_start|>user\n"
    answer = "<|im_end|>\n<|im_start|>assistant\n"
    tile = "Represent the user's input."
    question = "Retrieve images or text relevant to the user's query."
    values: dict[str, Any] = {
        "model_type": "qwen3_vl",
        "image_size": 512,
        "image_tokens": 256,
        "image_prefix": system.format(tile) + user + "<|vision_start|>",
        "image_token": "<|image_pad|>",
        "image_suffix": "<|vision_end|>" + answer,
        "resample": "bicubic",
        "aspect_first": False,
        "mean": _HALF,
        "std": _HALF,
        "max_text_tokens": 512,
        "text_prefix": system.format(question) + user,
        "text_suffix": answer,
    }
    return Backbone(name=name, hub_id=hub_id, **(values | more))


def _gemma(name: str, hub_id: str | None, **more: Any) -> Backbone:
    """An EmbeddingGemma 2: attention goes both ways, the mean of all tokens, a task in front."""
    values: dict[str, Any] = {
        "model_type": "embedding_gemma2",
        "image_size": 768,
        "image_tokens": 256,
        "image_prefix": "<bos><|image>",
        "image_token": "<|image|>",
        "image_suffix": "<image|><eos>",
        "resample": "bicubic",
        "aspect_first": False,
        "mean": (0.0, 0.0, 0.0),
        "std": (1.0, 1.0, 1.0),
        "max_text_tokens": 512,
        "text_prefix": "<bos>",
        "text_lead": "task: search result | query: ",
        "text_suffix": "<eos>",
    }
    return Backbone(name=name, hub_id=hub_id, **(values | more))


#: The named backbones, in the order in which `ngcg models` lists them.
BACKBONES: dict[str, Backbone] = {
    backbone.name: backbone
    for backbone in (
        _internvl(
            "tiny",
            None,
            model_type="internvl_conv",
            image_size=256,
            image_tokens=16,
            mean=_LITE_MEAN,
            std=_LITE_STD,
            bundled="tiny",
        ),
        _smolvlm("smolvlm-256m", "HuggingFaceTB/SmolVLM-256M-Instruct"),
        _smolvlm("smolvlm-500m", "HuggingFaceTB/SmolVLM-500M-Instruct"),
        _internvl("internvl3.5-1b", "OpenGVLab/InternVL3_5-1B-HF"),
        _siglip("git-rsclip-base", "lcybuaa/Git-RSCLIP-base", image_size=224, image_tokens=196),
        _siglip("git-rsclip", "lcybuaa/Git-RSCLIP"),
        _siglip("siglip2-base", "google/siglip2-base-patch16-256", resample="bilinear"),
        _qwen("qwen3-vl-embedding-2b", "Qwen/Qwen3-VL-Embedding-2B", least_dim=64),
        _qwen("qwen3-vl-embedding-8b", "Qwen/Qwen3-VL-Embedding-8B", least_dim=64),
        _gemma("embeddinggemma-2", "google/embeddinggemma-2", least_dim=128),
    )
}


def short_name(model: str) -> str:
    """The short name that means the same as a hub id; other names as they are."""
    same = (name for name, backbone in BACKBONES.items() if backbone.hub_id == model)
    return next(same, model)


def _sides(config: Any, family: Callable[..., Backbone]) -> tuple[int, int, int]:
    """Side of an image and of a patch, in pixels; and how many patches a token's side spans."""
    vision = config.vision_config
    patch = _side(vision.patch_size)
    if family in (_qwen, _gemma):  # images of any size: one of 16 x 16 tokens is our choice
        merged = vision.spatial_merge_size if family is _qwen else vision.pooling_kernel_size
        return 16 * merged * patch, patch, merged
    size = _side(vision.image_size)
    if family is _siglip:
        return size, patch, 1
    if family is _internvl:
        return size, patch, round(1 / config.downsample_ratio)
    return size, patch, config.scale_factor


def _resizing(preprocessor: dict[str, Any]) -> dict[str, Any]:
    """What a `preprocessor_config.json` says of filter, mean and std."""
    told: dict[str, Any] = {}
    if resample := PILLOW_RESAMPLE.get(preprocessor.get("resample", -1)):
        told["resample"] = resample
    for ours, theirs in (("mean", "image_mean"), ("std", "image_std")):
        if preprocessor.get(theirs):
            told[ours] = tuple(preprocessor[theirs])
    return told


def derive_backbone(
    config: Any,
    *,
    name: str,
    hub_id: str | None = None,
    revision: str = "main",
    preprocessor: dict[str, Any] | None = None,
    where: str | Path | None = None,
) -> Backbone:
    """The declaration of a model that is not among the named ones, from its transformers config.

    Args:
        config: a transformers config with `vision_config`.
        name: what the model is called in an index and in messages.
        hub_id: its model id on the hub, if it has one.
        revision: its revision on the hub.
        preprocessor: its `preprocessor_config.json`; resize filter, mean and std are read from it.
        where: named in errors.

    Raises:
        ModelError: `config.model_type` is not supported, or the image does not tile into tokens.
    """
    model_type = config.model_type
    if model_type not in MODEL_TYPES:
        raise ModelError(
            f"model type '{model_type}' is not supported",
            where=where or name,
            hint=f"Supported are {', '.join(MODEL_TYPES)}.",
        )
    family = _family(model_type)
    size, patch, shuffle = _sides(config, family)
    grid = size // patch
    if size % patch or grid % shuffle:
        raise ModelError(
            f"image size {size} does not divide into patches of {patch} and groups of {shuffle}",
            where=where or name,
        )
    more: dict[str, Any] = {
        "model_type": model_type,
        "image_size": size,
        "image_tokens": (grid // shuffle) ** 2,
        "revision": revision,
        **_resizing(preprocessor or {}),
    }
    if model_type == "internvl_conv":
        more = {"mean": _LITE_MEAN, "std": _LITE_STD, **more}
    if family is _siglip:
        more["max_text_tokens"] = config.text_config.max_position_embeddings
    return family(name, hub_id, **more)


def _family(model_type: str) -> Callable[..., Backbone]:
    if model_type == "siglip":
        return _siglip
    if model_type == "qwen3_vl":
        return _qwen
    if model_type == "embedding_gemma2":
        return _gemma
    return _internvl if model_type.startswith("internvl") else _smolvlm


def backbone_from_settings(name: str, settings: dict[str, Any], where: str | Path) -> Backbone:
    """The declaration of an export, from what its `ngcg.json` says; see `Backbone.settings`."""
    family = _family(str(settings.get("model_type")))
    return family(name, None).with_settings(settings, where)


def _side(value: Any) -> int:
    return int(value[0]) if isinstance(value, (list, tuple)) else int(value)
