"""The vision tower in training: fast on a CPU, with its first blocks as they were.

torch's own backward pass of a depthwise convolution takes most of a step on a CPU. So the kernels
of these stay (their biases learn), and the gradient to what lies below is a forward convolution
with the kernel turned round, three times as fast in all. The first blocks, at the highest
resolution, are dear and see edges and colours only: they stay, too, without gradients.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ngcg_cli.encoder.convnet import CHUNK, Block, ConvTower

_ROWS = torch.channels_last


def open_eyes(tower: ConvTower, frozen: int | None) -> None:
    """Let the tower learn, but for its first `frozen` blocks and all depthwise kernels.

    With None all of it rests.
    """
    tower.requires_grad_(frozen is not None)
    if frozen is None:
        return
    blocks = _blocks(tower)
    for part in (tower.stem, *blocks[:frozen]):
        part.requires_grad_(False)
    for block in blocks:
        block.depthwise.weight.requires_grad_(False)


def tokens(tower: ConvTower, pixels: Tensor, frozen: int, dtype: torch.dtype) -> Tensor:
    """Pixels (B, 3, S, S) to patch tokens (B, patches, content_size), as `ConvTower.content`.

    Args:
        tower: after `open_eyes`.
        pixels: float32.
        frozen: how many blocks stay; at most those up to the detail stage.
        dtype: what the others compute in.
    """
    blocks = _blocks(tower)
    detailed = sum(len(_stage(tower, n)) for n in range(tower.config.detail_stage + 1))
    if frozen > detailed:
        raise ValueError(f"{frozen} blocks cannot stay: the tokens' detail is that of {detailed}")
    with torch.no_grad():
        parts = []
        for some in pixels.split(CHUNK):
            image = tower.stem(some.contiguous(memory_format=_ROWS))
            for block in blocks[:frozen]:
                image = block(image)
            parts.append(image)
    image = torch.cat(parts).to(dtype).contiguous(memory_format=_ROWS)
    detail = image
    for number, block in enumerate(blocks[frozen:], frozen + 1):
        image = _through(block, image)
        if number == detailed:
            detail = image
    head = functional.relu6(_pointwise(tower.head, image))
    cells = functional.pixel_unshuffle(detail, 2)
    return torch.cat([head, cells], 1).flatten(2).transpose(1, 2)


def _stage(tower: ConvTower, number: int) -> Any:
    return tower.stages[number]


def _blocks(tower: ConvTower) -> list[Any]:
    return [module for module in tower.modules() if isinstance(module, Block)]


def _pointwise(conv: Any, image: Tensor) -> Tensor:
    return functional.conv2d(image, conv.weight.to(image.dtype), conv.bias.to(image.dtype))


def _through(block: Any, image: Tensor) -> Tensor:
    out = image
    if not isinstance(block.expand, nn.Identity):
        out = functional.relu6(_pointwise(block.expand, out))
    conv = block.depthwise
    weight, bias = conv.weight.detach().to(out.dtype), conv.bias.to(out.dtype)
    out = _Depthwise.apply(out, weight, bias, conv.stride[0], conv._pad)
    out = _pointwise(block.project, out)
    return image + out if block.residual else out


class _Depthwise(torch.autograd.Function):
    """A depthwise convolution with a kernel that stays, then ReLU6."""

    @staticmethod
    def forward(
        ctx: Any, image: Tensor, weight: Tensor, bias: Tensor, stride: int, pad: Any
    ) -> Tensor:
        reach = weight.shape[-1] // 2
        padded = functional.pad(image, pad) if stride == 2 else image
        out = functional.conv2d(
            padded, weight, bias, stride, reach if stride == 1 else 0, 1, len(weight)
        )
        out = functional.relu6(out)
        ctx.save_for_backward(out, weight)
        ctx.stride, ctx.pad, ctx.shape = stride, pad, image.shape
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        out, weight = ctx.saved_tensors
        size = weight.shape[-1]
        grad = grads[0].contiguous(memory_format=_ROWS) * ((out > 0) & (out < 6))
        turned = weight.flip(2, 3)
        if ctx.stride == 1:
            below = functional.conv2d(grad, turned, None, 1, size // 2, 1, len(weight))
        else:
            count, width, down, across = grad.shape
            spread = grad.new_zeros(count, width, 2 * down - 1, 2 * across - 1)
            spread = spread.contiguous(memory_format=_ROWS)
            spread[:, :, ::2, ::2] = grad
            below = functional.conv2d(spread, turned, None, 1, size - 1, 1, len(weight))
            at = ctx.pad[0]
            below = below[:, :, at : at + ctx.shape[2], at : at + ctx.shape[3]]
            below = below.contiguous(memory_format=_ROWS)
        return below, None, grad.sum((0, 2, 3)), None, None
