"""InfoNCE over in-batch negatives (arXiv 2604.10721, "Training objective")."""

from __future__ import annotations

import math
from hashlib import blake2b

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional

from ngcg_cli.choices import Direction
from ngcg_cli.datasets.pairs import Pair
from ngcg_cli.errors import UsageError

# CLIP's bound: beyond a scale of 100 (a temperature of 0.01) a learned one runs away.
MAX_SCALE = 100.0


class Temperature(nn.Module):
    """The temperature of the softmax, fixed (the paper's choice, 0.03) or learned.

    It learns the logarithm of 1 / temperature, as CLIP does, so that a step changes it by a
    factor, and it is kept between temperatures 0.01 and 1.
    """

    def __init__(self, value: float = 0.03, learn: bool = False) -> None:
        super().__init__()
        if not 1 / MAX_SCALE <= value <= 1:
            raise UsageError(f"a temperature of {value} is outside 0.01 to 1", where="training")
        self.log_scale = nn.Parameter(torch.tensor(-math.log(value)), requires_grad=learn)

    def forward(self) -> Tensor:
        """1 / temperature, a scalar."""
        if self.log_scale.requires_grad:
            # On the parameter, not on the result: there the bound would end all its gradients.
            with torch.no_grad():
                self.log_scale.clamp_(0, math.log(MAX_SCALE))
        return self.log_scale.exp()

    @property
    def value(self) -> float:
        """The temperature as it stands."""
        return math.exp(-self.log_scale.item())


def pair_keys(pair: Pair, caption: str) -> tuple[int, int, int]:
    """Keys of a pair's place, image and caption, the same in every process.

    A pair without a place is a place of its own. Captions that differ in case, spacing or the
    full stop at the end are equal.
    """
    image = f"image {pair.name}"
    place = image if pair.place is None else f"place {pair.place}"
    words = " ".join(caption.casefold().split()).rstrip(".! ")
    return _key(place), _key(image), _key(words)


def _key(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big", signed=True)


def related(keys: Tensor) -> Tensor:
    """(N, 3) keys to a boolean (N, N): pairs of one place, one image, or one caption."""
    return (keys[:, None] == keys[None]).any(-1)


def info_nce(
    texts: Tensor,
    images: Tensor,
    scale: Tensor | float,
    keys: Tensor | None = None,
    direction: Direction = "symmetric",
) -> Tensor:
    """The mean cross-entropy of finding each text's image, each image's text, or both.

    Related pairs (see `related`) are left out of each other's sums: they are neither negatives,
    which would be false, nor positives, because the caption of a building's one side does not
    describe the image of the other.

    Args:
        texts: (N, dim) unit vectors; row i belongs to `images[i]`.
        images: (N, dim) unit vectors.
        scale: 1 / temperature.
        keys: (N, 3) from `pair_keys`; None takes every pair as unrelated to the others.
        direction: which rows are queries; "symmetric" is the mean of both ways.
    """
    with torch.autocast(texts.device.type, enabled=False):
        logits = scale * (texts.float() @ images.float().T)
        if keys is not None:
            others = related(keys)
            others.fill_diagonal_(False)
            logits = logits.masked_fill(others, -math.inf)
        truth = torch.arange(len(logits), device=logits.device)
        losses = []
        if direction != "image-to-text":
            losses.append(functional.cross_entropy(logits, truth))
        if direction != "text-to-image":
            losses.append(functional.cross_entropy(logits.T, truth))
        return torch.stack(losses).mean()


def gather(vectors: Tensor) -> Tensor:
    """(n, ...) of this process to (world * n, ...) of all, in rank order; alone, the same tensor.

    Only this process's rows carry a gradient. When every process takes the loss over all rows and
    the gradients of the weights are summed over the processes, that sum is the gradient of the
    loss over the whole batch, each row's part counted once.
    """
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return vectors
    parts = [torch.empty_like(vectors) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, vectors.detach().contiguous())
    parts[dist.get_rank()] = vectors
    return torch.cat(parts)
