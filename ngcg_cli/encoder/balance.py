"""Vectors without hubs: what lies near to everything is not found for every question.

In a space of many dimensions some images come up for nearly any sentence, and some sentences for
nearly any image. Querybank normalisation (arXiv 2112.12777) measures on a bank how near each one
lies to all of the other side, and takes that off its scores. Here both sides are corrected, and the
correction is part of the vectors: a score less a number of each side is an inner product still, if
two directions in which the vectors hardly differ are given up for the two numbers. (The vectors are
then brought to length one again, which makes their scores a few percent smaller.) So an index, a
graph or a script needs to know nothing of it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

#: Clusters that a model may have of each side.
MOST_POINTS = 1 << 14


class Balance(nn.Module):
    """Takes off an image's vector, or a sentence's, how near it lies to a bank of the other side.

    The banks are clusters: `points` unit vectors, and the logarithm of each one's share. All of it
    is kept with the weights, but nothing of it is trained. `measures` holds the share of the
    nearness that is taken off; the heat of the soft maximum that tells how near (the smaller, the
    more the nearest decide); and what the two directions hold of each vector's length of one.

    Args:
        dim: of the vectors.
        points: in each bank.

    Raises:
        ValueError: no such number of points.
    """

    measures: Tensor
    images: Tensor
    image_shares: Tensor
    sentences: Tensor
    sentence_shares: Tensor
    usual: Tensor
    axes: Tensor

    def __init__(self, dim: int, points: int) -> None:
        super().__init__()
        if type(points) is not int or not 0 < points <= MOST_POINTS:
            raise ValueError(f"a balance of {points!r} points")
        for name, shape in (
            ("measures", (3,)),
            ("images", (points, dim)),
            ("image_shares", (points,)),
            ("sentences", (points, dim)),
            ("sentence_shares", (points,)),
            ("usual", (2,)),  # how near images lie on average, and sentences
            ("axes", (2, dim)),  # where it is held what is taken off images, and off sentences
        ):
            self.register_buffer(name, torch.zeros(shape))

    def of_images(self, vectors: Tensor) -> Tensor:
        """Unit vectors (B, dim) of images, balanced; float32, of length one again."""
        return self._balanced(vectors, of_images=True)

    def of_sentences(self, vectors: Tensor) -> Tensor:
        """The same of sentences."""
        return self._balanced(vectors, of_images=False)

    def nearness(self, vectors: Tensor, *, of_images: bool) -> Tensor:
        """(B,) the soft maximum of each one's cosines (B, dim) with all of the other side."""
        bank, shares = self.images, self.image_shares
        if of_images:
            bank, shares = self.sentences, self.sentence_shares
        heat = self.measures[1].float()
        near = vectors @ bank.float().T / heat + shares.float()
        return torch.logsumexp(near, 1) * heat

    def _balanced(self, vectors: Tensor, *, of_images: bool) -> Tensor:
        share, _, size = self.measures.float()
        usual = self.usual[0 if of_images else 1].float()
        off = share * (self.nearness(vectors, of_images=of_images) - usual)
        held = [-off / size, size.expand_as(off)]
        axes = self.axes.float()
        change = torch.stack(held if of_images else held[::-1], 1) - vectors @ axes.T
        return functional.normalize(vectors + change @ axes, dim=-1)
