"""EfficientNet-Lite as a vision tower that transformers' own classes can hold.

transformers has no EfficientNet without squeeze-and-excitation, and the Lite family (EfficientNet,
arXiv 1905.11946, adapted by its authors for mobile inference: no squeeze-and-excitation, ReLU6)
is what sees well on a laptop's CPU. Registered with `AutoModel`, it takes the place of the ViT
in `InternVLModel`: patch tokens out, row by row.

Batch normalisation is folded into the convolutions: the tower is used frozen or tuned from trained
weights, where its statistics would be fixed anyway, and folded it is faster and batch-independent.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import (
    AutoConfig,
    AutoModel,
    InternVLConfig,
    InternVLModel,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import BaseModelOutputWithPooling

from ngcg_cli.encoder.balance import Balance

#: Images that go through the convolutions together on a CPU: their activations stay in its cache,
#: which is worth a factor of up to two against a batch of 16.
CHUNK = 4
#: Lite0's stages: kernel, stride, expansion, channels, blocks.
LITE0 = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
#: Channels that tell where a token stands: sine and cosine of two frequencies, along x and y.
POSITIONS = 8


class ConvTowerConfig(PreTrainedConfig):
    """Shapes of the tower.

    Args:
        stages: (kernel, stride, expansion, channels, blocks) of each stage.
        stem_channels: of the first convolution, which halves the sides.
        head_channels: of the 1 x 1 convolution at the end.
        detail_stage: the stage whose output, at half the patch size, joins each token with its
            2 x 2 cells: what is small is gone from the last map.
        image_size: pixels a side, a multiple of `patch_size`.
        position: amplitude of the channels that tell where a token stands, 0 for none. Convolutions
            hardly know it (CoordConv, arXiv 1807.03247), and "left of" needs it.
    """

    model_type = "ngcg_convnet"

    def __init__(
        self,
        stages: Any = LITE0,
        stem_channels: int = 32,
        head_channels: int = 1280,
        detail_stage: int = 4,
        image_size: int = 256,
        position: float = 0.0,
        **more: Any,
    ) -> None:
        self.stages = [list(stage) for stage in stages]
        self.stem_channels = stem_channels
        self.head_channels = head_channels
        self.detail_stage = detail_stage
        self.image_size = image_size
        self.patch_size = 32
        self.position = position
        self.hidden_size = self.content_size + (POSITIONS if position else 0)
        self.num_channels = 3
        super().__init__(**more)

    @property
    def content_size(self) -> int:
        """Channels of a token that hold what is seen there."""
        return self.head_channels + 4 * self.stages[self.detail_stage][3]


class _Conv(nn.Conv2d):
    """A convolution with TensorFlow's "same" padding on even sides, then ReLU6 where asked."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, *, groups: int = 1, act: bool
    ) -> None:
        padding = (kernel - 1) // 2 if stride == 1 else 0
        super().__init__(inputs, outputs, kernel, stride, padding, groups=groups)
        spare = kernel - 2
        self._pad = (spare // 2, spare - spare // 2) * 2 if stride == 2 else None
        self._act = act

    def forward(self, image: Tensor) -> Tensor:
        if self._pad:
            image = functional.pad(image, self._pad)
        if not _learning(self, image) and _fusible(image):
            # One pass over memory for convolution, bias and ReLU6, as torch's compiler emits it.
            name, bounds = ("hardtanh", [0.0, 6.0]) if self._act else ("none", [])
            fused: Tensor = torch.ops.mkldnn._convolution_pointwise(
                image.contiguous(memory_format=torch.channels_last),
                self.weight,
                self.bias,
                list(self.padding),
                list(self.stride),
                [1, 1],
                self.groups,
                name,
                bounds,
                "",
            )
            return fused
        image = super().forward(image)
        return functional.relu6(image) if self._act else image


def _learning(module: nn.Module, image: Tensor) -> bool:
    """Whether gradients will flow back through here; a frozen tower in training needs none."""
    if not torch.is_grad_enabled():
        return False
    return image.requires_grad or any(weight.requires_grad for weight in module.parameters())


def _fusible(image: Tensor) -> bool:
    return (
        image.device.type == "cpu"
        and image.dtype == torch.float32
        and not torch.compiler.is_exporting()
        and not torch.is_autocast_enabled("cpu")
        and torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_convolution_pointwise")
    )


class Block(nn.Module):
    """An inverted residual: widen, convolve each channel, narrow."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = inputs * expansion
        self.expand = _Conv(inputs, inner, 1, act=True) if expansion > 1 else nn.Identity()
        self.depthwise = _Conv(inner, inner, kernel, stride, groups=inner, act=True)
        self.project = _Conv(inner, outputs, 1, act=False)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, image: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H / stride, W / stride)."""
        out: Tensor = self.project(self.depthwise(self.expand(image)))
        return image + out if self.residual else out


class ConvTower(PreTrainedModel):
    """Pixels (B, 3, S, S) to patch tokens (B, (S / 32)^2, hidden_size), row by row."""

    config_class = ConvTowerConfig
    main_input_name = "pixel_values"
    base_model_prefix = "tower"
    _no_split_modules = ["Block"]  # noqa: RUF012 -- transformers' own attribute
    _supports_sdpa = True  # there is no attention in it to support
    _supports_flash_attn = True

    def __init__(self, config: ConvTowerConfig) -> None:
        super().__init__(config)
        self.stem = _Conv(3, config.stem_channels, 3, 2, act=True)
        stages, channels = [], config.stem_channels
        for kernel, stride, expansion, outputs, blocks in config.stages:
            stage = []
            for number in range(blocks):
                step = stride if number == 0 else 1
                stage.append(Block(channels, outputs, kernel, step, expansion))
                channels = outputs
            stages.append(nn.Sequential(*stage))
        self.stages = nn.ModuleList(stages)
        self.head = _Conv(channels, config.head_channels, 1, act=True)
        self.post_init()

    def forward(self, pixel_values: Tensor, **_: Any) -> BaseModelOutputWithPooling:
        """Pixels to tokens; keyword arguments of other towers are accepted and have no meaning."""
        return BaseModelOutputWithPooling(
            last_hidden_state=self.located(self.content(pixel_values))
        )

    def content(self, pixel_values: Tensor) -> Tensor:
        """What is seen, (B, (S / 32)^2, content_size), without where."""
        whole = pixel_values.device.type != "cpu" or _learning(self, pixel_values)
        if whole or torch.compiler.is_exporting():
            return self._tokens(pixel_values)
        return torch.cat([self._tokens(chunk) for chunk in pixel_values.split(CHUNK)])

    def located(self, tokens: Tensor) -> Tensor:
        """Tokens (B, patches, content_size) with the channels that tell where each one stands."""
        if not self.config.position:
            return tokens
        side = round(tokens.shape[1] ** 0.5)
        centres = (torch.arange(side, device=tokens.device) + 0.5) * (2 / side) - 1
        down, right = torch.meshgrid(centres, centres, indexing="ij")
        waves = [wave(math.pi / 2 * times * way) for way in (right, down) for times in (1, 2)
                 for wave in (torch.sin, torch.cos)]  # fmt: skip
        where = self.config.position * torch.stack(waves, -1).flatten(0, 1).to(tokens.dtype)
        return torch.cat([tokens, where.expand(tokens.shape[0], -1, -1)], -1)

    def _tokens(self, image: Tensor) -> Tensor:
        image = self.stem(image.contiguous(memory_format=torch.channels_last))
        detail = image
        for number, stage in enumerate(self.stages):
            image = stage(image)
            if number == self.config.detail_stage:
                detail = image
        cells = functional.pixel_unshuffle(detail, 2)
        return torch.cat([self.head(image), cells], 1).flatten(2).transpose(1, 2)


class ConvInternVLConfig(InternVLConfig):
    """InternVL's config around the tower: InternVL's own knows no other tower than its ViT.

    `balance_points`, where it is not None, is how many clusters a side its `Balance` has.
    """

    model_type = "internvl_conv"
    sub_configs_defaults: ClassVar[dict[str, Any]] = {
        **InternVLConfig.sub_configs_defaults,
        "vision_config": ConvTowerConfig,
    }


class ConvInternVLModel(InternVLModel):
    """InternVL's base model with the tower in place of its ViT, and a balance of its vectors."""

    config_class = ConvInternVLConfig

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.balance: Balance | None = None
        points = getattr(config, "balance_points", None)
        if points is not None:
            self.balance = Balance(config.text_config.hidden_size, points)

    def forward(
        self, input_ids: Any = None, pixel_values: Any = None, *args: Any, **others: Any
    ) -> Any:
        """As InternVL's, whose hidden states then are of length one, and balanced."""
        found = super().forward(input_ids, pixel_values, *args, **others)
        if self.balance is None:
            return found
        hidden = functional.normalize(found[0].float(), dim=-1)
        side = self.balance.of_sentences if pixel_values is None else self.balance.of_images
        hidden = side(hidden.flatten(0, 1)).unflatten(0, hidden.shape[:2])
        if isinstance(found, tuple):
            return hidden, *found[1:]
        found.last_hidden_state = hidden
        return found

    def set_balance(self, balance: Balance | None) -> None:
        """Put on, or take off, what balances the vectors; the config says so, too."""
        self.balance = balance
        self.config.balance_points = None if balance is None else len(balance.images)


for _config, _model in ((ConvTowerConfig, ConvTower), (ConvInternVLConfig, ConvInternVLModel)):
    AutoConfig.register(_config.model_type, _config, exist_ok=True)
    AutoModel.register(_config, _model, exist_ok=True)
