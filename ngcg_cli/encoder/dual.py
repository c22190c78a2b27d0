"""Dual encoders (SigLIP): two towers, each with a pooled output of its own in one space."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from ngcg_cli.encoder.backbones import Backbone
from ngcg_cli.encoder.module import EncoderModule, Pooling
from ngcg_cli.encoder.whole import GemmaModule, WholeModule, within
from ngcg_cli.errors import ModelError


class DualModule(EncoderModule):
    """A SigLIP model read as an encoder (arXiv 2303.15343, 2502.14786).

    A text is the projected last position of the text tower, an image what the vision tower's
    attention head pools; both are what the model was trained to compare.

    Args:
        base: transformers' `SiglipModel`.
        pooling: only `eos`, the default, is possible: the towers pool themselves.

    Raises:
        ModelError: another pooling; or the towers do not meet in one space.
    """

    def __init__(self, base: nn.Module, *, pooling: Pooling = "eos") -> None:
        if pooling != "eos":
            raise ModelError(
                f"pooling '{pooling}' is not possible: a dual encoder pools each side itself",
                hint="Leave --pooling out.",
            )
        super().__init__(base, image_prefix=[], image_suffix=[])
        config: Any = base.config
        text, vision = config.text_config, config.vision_config
        if not vision.vision_use_head or text.projection_size != vision.hidden_size:
            raise ModelError(
                f"its texts have {text.projection_size} dimensions, its images "
                + (f"{vision.hidden_size}" if vision.vision_use_head else "no pooled output")
            )
        self.dim = int(vision.hidden_size)
        # Scale and bias of its own loss are not part of a vector.
        for name in ("logit_scale", "logit_bias"):
            getattr(base, name).requires_grad_(False)

    def embed_ordered_texts(self, input_ids: Tensor, mask: Tensor) -> Tensor:
        """(B, L) token ids, padded to the length of training, to (B, dim) unit vectors."""
        return _unit(self.language(input_ids=input_ids).pooler_output)

    def embed_images(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) prepared pixels to (B, dim) unit vectors, float32."""
        return _unit(self.vision(pixel_values=pixels.to(self.dtype)).pooler_output)

    def embed_vision_tokens(self, tokens: Tensor) -> Tensor:
        """Patch tokens (B, patches, width) to (B, dim) unit vectors, float32."""
        return _unit(self.vision.head(tokens))

    @property
    def dtype(self) -> Any:
        """The precision in which the base model's weights are held."""
        base: Any = self.base
        return base.get_input_embeddings().weight.dtype


def _unit(pooled: Tensor) -> Tensor:
    return functional.normalize(pooled.float(), dim=-1)


def module_for(
    base: nn.Module,
    backbone: Backbone,
    image_prompt: tuple[list[int], list[int]],
    pooling: Pooling = "eos",
) -> EncoderModule:
    """The module that `backbone` declares, around `base`.

    Args:
        base: the transformers base model.
        backbone: its declaration.
        image_prompt: token ids before and after the image's own tokens.
        pooling: see `EncoderModule`.
    """
    module: EncoderModule
    prefix, suffix = image_prompt
    if backbone.model_type == "siglip":
        module = DualModule(base, pooling=pooling)
    elif backbone.model_type == "qwen3_vl":
        module = WholeModule(base, image_prefix=prefix, image_suffix=suffix, pooling=pooling)
    elif backbone.model_type == "embedding_gemma2":
        module = GemmaModule(base, image_prefix=prefix, image_suffix=suffix, pooling=pooling)
        module.lora_targets = within(base, backbone.lora_targets)
        return module
    else:
        module = EncoderModule(base, image_prefix=prefix, image_suffix=suffix, pooling=pooling)
    module.lora_targets = backbone.lora_targets
    return module
