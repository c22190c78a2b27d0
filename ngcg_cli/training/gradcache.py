"""Gradient cache: a large batch's gradients in a small batch's memory.

Source: Gao et al. 2021, "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup"
(arXiv 2101.06983).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Side:
    """One side of the pairs: `embed` maps each of `chunks` to its (n, dim) vectors."""

    embed: Callable[[Any], Tensor]
    chunks: Sequence[Any]


def backward(loss: Callable[..., Tensor], *sides: Side) -> Tensor:
    """Take `loss(*vectors)` over whole sides and leave its gradients in `.grad`.

    1. Embed every chunk without a graph, remembering the random state before each.
    2. Take the loss over all vectors, and its gradient with respect to the VECTORS: that is the
       cache, a matrix a side. What else the loss depends on (a learned temperature) gets its
       gradient here.
    3. Embed each chunk again, now with its graph and from the remembered random state (so that
       dropout drops the same units), and send the cached rows back through it.

    At any time the activations of one chunk are in memory. The gradients equal those of keeping
    all graphs, for the price of one more forward pass. When every side is a single chunk there
    is nothing to save, and the loss is taken directly.

    Returns:
        The loss, detached.
    """
    if all(len(side.chunks) == 1 for side in sides):
        value = loss(*(side.embed(side.chunks[0]) for side in sides))
        value.backward()
        return value.detach()

    states: list[list[_RandomState]] = []
    sizes: list[list[int]] = []
    vectors: list[Tensor] = []
    with torch.no_grad():
        for side in sides:
            states.append([])
            parts = []
            for chunk in side.chunks:
                states[-1].append(_RandomState())
                parts.append(side.embed(chunk))
            sizes.append([len(part) for part in parts])
            vectors.append(torch.cat(parts).requires_grad_())

    value = loss(*vectors)
    value.backward()

    after = _RandomState()
    for side, side_states, side_sizes, cached in zip(sides, states, sizes, vectors, strict=True):
        assert cached.grad is not None
        rows = cached.grad.split(side_sizes)
        for chunk, state, gradient in zip(side.chunks, side_states, rows, strict=True):
            state.restore()
            side.embed(chunk).backward(gradient)
    after.restore()
    return value.detach()


class _RandomState:
    """Where torch's generators stand, on the CPU and on the current accelerator."""

    def __init__(self) -> None:
        self.cpu = torch.get_rng_state()
        self.cuda = torch.cuda.get_rng_state() if torch.cuda.is_available() else None

    def restore(self) -> None:
        torch.set_rng_state(self.cpu)
        if self.cuda is not None:
            torch.cuda.set_rng_state(self.cuda)
