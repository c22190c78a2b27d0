"""Models that are called whole: their vision tower speaks to more than the first layer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ngcg_cli.encoder.module import EncoderModule, Pooling
from ngcg_cli.errors import ModelError


class WholeModule(EncoderModule):
    """A Qwen3-VL read as an encoder, by its own forward.

    Its image tokens have positions in two dimensions (M-RoPE), and features of earlier layers of
    the vision tower enter the language model's first layers (deepstack): both are the model's own
    doing.
    """

    _prefix: Tensor
    _suffix: Tensor

    def embed_ordered_texts(self, input_ids: Tensor, mask: Tensor) -> Tensor:
        """(B, L) token ids, real ones in front, to (B, dim) float32 unit vectors."""
        hidden = self.base(input_ids=input_ids, use_cache=False).last_hidden_state
        return functional.normalize(self._pool(hidden, mask.bool()).float(), dim=-1)

    def embed_images(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) prepared pixels to (B, dim) float32 unit vectors."""
        config: Any = self.base.config
        vision = config.vision_config
        side, merge = pixels.shape[-1] // vision.patch_size, vision.spatial_merge_size
        patches = patchify(pixels, vision.patch_size, merge, vision.temporal_patch_size)
        rows = len(pixels)
        tokens = self._prefix.new_full(((side // merge) ** 2,), config.image_token_id)
        ids = torch.cat([self._prefix, tokens, self._suffix]).expand(rows, -1)
        hidden = self.base(
            input_ids=ids,
            pixel_values=patches.to(self.dtype),
            image_grid_thw=torch.tensor([[1, side, side]] * rows, device=ids.device),
            mm_token_type_ids=(ids == config.image_token_id).int(),
            use_cache=False,
        ).last_hidden_state
        pooled = self._pool(hidden, torch.ones_like(ids, dtype=torch.bool))
        return functional.normalize(pooled.float(), dim=-1)


class GemmaModule(EncoderModule):
    """An EmbeddingGemma 2 read as an encoder, by its own forward.

    Attention goes both ways, so padding is masked. A vector is the mean of all tokens, each
    projected to more dimensions than the layers have.

    Args:
        base: transformers' `EmbeddingGemma2Model`.
        image_prefix, image_suffix: token ids around the image's own tokens.
        pooling: `mean`, also for `eos`, the default of those that have a choice.

    Raises:
        ModelError: another pooling; or it has no vision tower.
    """

    _prefix: Tensor
    _suffix: Tensor

    def __init__(
        self,
        base: nn.Module,
        *,
        image_prefix: list[int],
        image_suffix: list[int],
        pooling: Pooling = "eos",
    ) -> None:
        if pooling == "query":
            raise ModelError(
                "pooling 'query' is not possible: the model was trained to be read by its mean",
                hint="Leave --pooling out.",
            )
        super().__init__(base, image_prefix=image_prefix, image_suffix=image_suffix, pooling="mean")
        config: Any = base.config
        if config.vision_config is None:
            raise ModelError("has no vision tower: it reads texts alone")
        self.dim = int(config.text_config.embedding_dim)

    def embed_ordered_texts(self, input_ids: Tensor, mask: Tensor) -> Tensor:
        """(B, L) token ids, real ones in front, to (B, dim) float32 unit vectors."""
        hidden = self.base(input_ids=input_ids, attention_mask=mask.long()).last_hidden_state
        return functional.normalize(self._pool(hidden, mask.bool()), dim=-1)

    def embed_images(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) prepared pixels to (B, dim) float32 unit vectors."""
        config: Any = self.base.config
        patch, kernel = config.vision_config.patch_size, config.vision_config.pooling_kernel_size
        rows, grid = len(pixels), pixels.shape[-1] // patch
        cut = pixels.unflatten(3, (grid, patch)).unflatten(2, (grid, patch))
        patches = cut.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)
        line = torch.arange(grid, device=pixels.device)
        places = torch.cartesian_prod(line, line).flip(-1)  # of each patch, x before y
        tokens = self._prefix.new_full(((grid // kernel) ** 2,), config.image_token_id)
        ids = torch.cat([self._prefix, tokens, self._suffix]).expand(rows, -1)
        hidden = self.base(
            input_ids=ids,
            pixel_values=patches.to(self.dtype),
            image_position_ids=places.expand(rows, -1, -1),
        ).last_hidden_state
        pooled = self._pool(hidden, torch.ones_like(ids, dtype=torch.bool))
        return functional.normalize(pooled, dim=-1)


def within(base: nn.Module, targets: tuple[str, ...]) -> tuple[str, ...]:
    """The linear layers that are named by `targets` or lie right inside a module that is.

    Some towers wrap their layers, and peft adapts linear ones alone; so each is named in full.
    """
    return tuple(
        name
        for name, layer in base.named_modules()
        if isinstance(layer, nn.Linear) and set(name.split(".")[-2:]) & set(targets)
    )


def patchify(pixels: Tensor, patch: int, merge: int, frames: int) -> Tensor:
    """(B, 3, S, S) pixels to (patches, 3 * frames * patch * patch), as Qwen2-VL's processor.

    The patches of one token, `merge` x `merge`, follow one another; a picture is a film of `frames`
    equal frames.
    """
    rows, channels, side, _ = pixels.shape
    groups = side // (patch * merge)
    cut = pixels.reshape(rows, channels, groups, merge, patch, groups, merge, patch)
    cut = cut.permute(0, 2, 5, 3, 6, 1, 4, 7).unsqueeze(6)
    return cut.expand(*cut.shape[:6], frames, patch, patch).flatten(0, 4).flatten(1)
