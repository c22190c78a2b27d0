"""The differentiable half of the encoder: token ids or pixels to unit vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ngcg_cli.choices import Pooling as Pooling
from ngcg_cli.encoder.backbones import LORA_TARGETS
from ngcg_cli.encoder.balance import Balance
from ngcg_cli.encoder.stamp import POOLINGS
from ngcg_cli.errors import ModelError


@dataclass(frozen=True)
class _Parts:
    """What the transformers classes of a model type call their parts."""

    vision: str
    connector: str
    language: str


_SMOLVLM = _Parts("vision_model", "connector", "text_model")
_INTERNVL = _Parts("vision_tower", "multi_modal_projector", "language_model")
_PARTS = {
    "smolvlm": _SMOLVLM,
    "idefics3": _SMOLVLM,
    "internvl": _INTERNVL,
    "internvl_conv": _INTERNVL,
    "siglip": _Parts("vision_model", "", "text_model"),
    "qwen3_vl": _Parts("visual", "", "language_model"),
    "embedding_gemma2": _Parts("vision_tower", "", "language_model"),
}


class QueryPooling(nn.Module):
    """A learned query that attends over all tokens (cross-attention pooling)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.randn(1, 1, dim) * dim**-0.5)
        heads = dim // 64 if dim % 64 == 0 else 1
        self.attention = nn.MultiheadAttention(dim, heads, batch_first=True)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """(B, L, dim) and a boolean (B, L) mask of real tokens to (B, dim)."""
        query = self.query.expand(hidden.shape[0], -1, -1)
        hidden = hidden.to(query.dtype)  # trained in float32 above a 16-bit base
        if torch.compiler.is_exporting():
            return self._written_out(query, hidden, mask)
        pooled, _ = self.attention(
            query, hidden, hidden, key_padding_mask=~mask, need_weights=False
        )
        return pooled[:, 0]

    def _written_out(self, query: Tensor, hidden: Tensor, mask: Tensor) -> Tensor:
        """The same in plain operations: the exporter never ends on the module's split weights."""
        attention, dim = self.attention, query.shape[-1]
        weight, bias = attention.in_proj_weight, attention.in_proj_bias
        parts = []
        for number, tokens in enumerate((query, hidden, hidden)):
            own = slice(number * dim, (number + 1) * dim)
            heads = functional.linear(tokens, weight[own], bias[own])
            parts.append(heads.unflatten(-1, (attention.num_heads, -1)).transpose(1, 2))
        asked, keys, values = parts
        real = mask[:, None, None]
        seen = functional.scaled_dot_product_attention(asked, keys, values, attn_mask=real)
        pooled: Tensor = attention.out_proj(seen.transpose(1, 2).flatten(2))
        return pooled[:, 0]


class EncoderModule(nn.Module):
    """A multimodal language model read as an encoder; both sides share all its weights.

    The text goes through the language model; the image goes through the vision tower, the
    connector, and the same language model as image tokens (arXiv 2604.10721, "Encoder").

    Args:
        base: the transformers base model, without the language-model head.
        image_prefix: token ids before the image tokens.
        image_suffix: token ids after them, [EOS] last.
        pooling: `eos` (hidden state at [EOS]), `mean` (over real tokens), or `query`.
    """

    #: What LoRA adapts, by name; the backbone says it.
    lora_targets: tuple[str, ...] = LORA_TARGETS

    def __init__(
        self,
        base: nn.Module,
        *,
        image_prefix: list[int],
        image_suffix: list[int],
        pooling: Pooling = "eos",
    ) -> None:
        super().__init__()
        if pooling not in POOLINGS:
            raise ModelError(f"unknown pooling '{pooling}'", hint=f"One of {', '.join(POOLINGS)}.")
        config: Any = base.config
        layer = getattr(config, "vision_feature_layer", -1)
        if layer != -1:
            raise ModelError(f"vision_feature_layer {layer} is not supported, only -1 (the last)")
        self.base = base
        self.pooling: Pooling = pooling
        self.dim = int(config.get_text_config().hidden_size)
        self._parts = _PARTS[config.model_type]
        self.adapter: Any = None
        if pooling != "eos":
            self.set_balance(None)  # it was fitted to vectors at [EOS]
        self.query_pooling = QueryPooling(self.dim) if pooling == "query" else None
        self.register_buffer("_prefix", torch.tensor(image_prefix), persistent=False)
        self.register_buffer("_suffix", torch.tensor(image_suffix), persistent=False)

    def set_adapter(self, adapter: Any) -> None:
        """Remember the peft model around `base`, whose layers it has replaced in place."""
        # Past nn.Module's registration: as a submodule it would list every parameter twice.
        object.__setattr__(self, "adapter", adapter)

    def merge_adapter(self) -> None:
        """Add the adapter to the weights of `base`, and forget it; without one, do nothing."""
        if self.adapter is not None:
            self.base = self.adapter.merge_and_unload()
            self.set_adapter(None)

    @property
    def vision(self) -> Any:
        """The vision tower."""
        return getattr(self.base, self._parts.vision)

    @property
    def language(self) -> Any:
        """The language model."""
        return getattr(self.base, self._parts.language)

    @property
    def balance(self) -> Balance | None:
        """What takes hubs off the vectors, in a model that has it."""
        return getattr(self.base, "balance", None)

    def set_balance(self, balance: Balance | None) -> None:
        """Put a balance on a base model whose class can have one, or take it off."""
        if balance is not self.balance:
            base: Any = self.base
            base.set_balance(balance)

    @property
    def dtype(self) -> torch.dtype:
        """The precision in which the base model's weights are held."""
        dtype: torch.dtype = self.language.get_input_embeddings().weight.dtype
        return dtype

    def embed_texts(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Sentences to unit vectors.

        Args:
            input_ids: (B, L), each row ending in [EOS]; padding on either side.
            attention_mask: (B, L), 1 at real tokens.

        Returns:
            (B, dim) float32, L2-normalised. Padding and batch-mates do not change a row: the
            real tokens are moved to the front, where causal attention cannot see what follows.
        """
        mask = attention_mask.bool()
        order = torch.argsort(mask.logical_not().to(torch.uint8), dim=1, stable=True)
        return self.embed_ordered_texts(input_ids.gather(1, order), mask.gather(1, order))

    def embed_ordered_texts(self, input_ids: Tensor, mask: Tensor) -> Tensor:
        """The same of rows whose real tokens stand in front already; `mask` is boolean."""
        vectors = self._finish(self.language.get_input_embeddings()(input_ids), mask)
        return vectors if self.balance is None else self.balance.of_sentences(vectors)

    def embed_images(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) prepared pixels to (B, dim) unit vectors, float32."""
        return self.embed_vision_tokens(self.vision_tokens(pixels))

    def vision_tokens(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) prepared pixels to the vision tower's patch tokens (B, patches, width).

        The tower is called on the images themselves: the whole-model forward of the
        SmolVLM/Idefics3 classes drops an image whose pixels are all exactly zero, as padding,
        and a constant mid-grey tile is such an image.
        """
        tokens: Tensor = self.vision(pixel_values=pixels.to(self.dtype)).last_hidden_state
        config: Any = self.base.config
        if getattr(config, "vision_feature_select_strategy", "full") == "default":
            tokens = tokens[:, 1:]  # the class token in front
        return tokens

    def embed_vision_tokens(self, tokens: Tensor) -> Tensor:
        """Patch tokens (B, patches, width), row by row, to (B, dim) unit vectors, float32."""
        connector = getattr(self.base, self._parts.connector)
        base: Any = self.base
        if hasattr(base, "pixel_shuffle"):  # InternVL's is on the model, SmolVLM's in the connector
            side = round(tokens.shape[1] ** 0.5)
            grid = tokens.unflatten(1, (side, side))
            ratio = base.config.downsample_ratio
            tokens = base.pixel_shuffle(grid, scale_factor=ratio).flatten(1, 2)
        image = connector(tokens)
        embed = self.language.get_input_embeddings()
        prefix, suffix = (
            embed(ids).to(image.dtype).expand(image.shape[0], -1, -1)
            for ids in (self._prefix, self._suffix)
        )
        hidden = torch.cat([prefix, image, suffix], dim=1)
        mask = hidden.new_ones(hidden.shape[:2], dtype=torch.bool)
        vectors = self._finish(hidden, mask)
        return vectors if self.balance is None else self.balance.of_images(vectors)

    def _finish(self, embedded: Tensor, mask: Tensor) -> Tensor:
        """Embedded tokens (B, L, dim), real ones in front, through the language model, pooled."""
        # No attention mask: padding stands behind, and attention is causal.
        hidden = self.language(inputs_embeds=embedded, use_cache=False).last_hidden_state
        return functional.normalize(self._pool(hidden, mask).float(), dim=-1)

    def _pool(self, hidden: Tensor, mask: Tensor) -> Tensor:
        if self.query_pooling is not None:
            return self.query_pooling(hidden, mask)
        if self.pooling == "mean":
            weights = mask.to(torch.float32).unsqueeze(-1)
            return (hidden.float() * weights).sum(1) / weights.sum(1)
        last = mask.sum(1) - 1
        return hidden[torch.arange(hidden.shape[0], device=hidden.device), last]

    def gradient_checkpointing(self, on: bool = True) -> None:
        """Trade time for memory in training: activations are computed again going back."""
        # transformers 5.23 renamed the pair and warns about the old names.
        base, state = self.base, "enable" if on else "disable"
        names = (f"activation_checkpointing_{state}", f"gradient_checkpointing_{state}")
        toggle: Any = next(getattr(base, name) for name in names if hasattr(base, name))
        # Reentrant checkpointing gives no gradients to adapters behind frozen inputs.
        toggle(*([{"use_reentrant": False}] if on else []))
