"""Models that are called whole: their vision tower speaks to more than the first layer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ngcg_cli.encoder.module import EncoderModule


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
