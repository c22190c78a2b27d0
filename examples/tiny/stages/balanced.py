"""The last stage: the trained student's vectors are balanced (`ngcg_cli/encoder/balance.py`).

What its vectors of the training photographs, and of their captions and the vocabulary, lie around
becomes the banks. Nothing is trained: two directions of the vectors are given up, and they are
brought to length one again.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from sklearn.cluster import KMeans

from examples.tiny.stages.corpus import Part
from examples.tiny.stages.panel import bare, unit
from examples.tiny.stages.vocabulary import phrases
from ngcg_cli.encoder.balance import Balance
from ngcg_cli.encoder.encoder import Encoder

#: Clusters of each side.
POINTS = 1024
#: How much of the nearness is taken off; the heat of the soft maximum that tells how near; what the
#: two directions that are given up hold in vectors of length one.
SHARE, HEAT, SIZE = 0.635, 0.057, 0.2


def balance(encoder: Encoder, train: Part) -> None:
    """Balance the encoder's vectors, by the training photographs and what is said of them."""
    photographs = bare(encoder).encode_images(list(train.images))
    encoder.module.set_balance(fitted(photographs, encoder.encode_texts(said(train), 256)))


def said(train: Part) -> list[str]:
    """The photographs' different captions, and the vocabulary's phrases."""
    captions = {" ".join(text.split()) for own in train.captions for text in own}
    return sorted(captions) + sorted(set(phrases()))


def fitted(photographs: np.ndarray, sentences: np.ndarray, share: float = SHARE) -> Balance:
    """The balance of such vectors.

    Args:
        photographs: (N, D) unit vectors.
        sentences: (M, D) likewise.
        share: of the nearness that is taken off.
    """
    points = min(POINTS, *(len(np.unique(each, axis=0)) for each in (photographs, sentences)))
    out = Balance(photographs.shape[1], points)
    out.measures.copy_(torch.tensor([share, HEAT, SIZE]))
    for name, vectors in (("image", photographs), ("sentence", sentences)):
        centres, shares = _clusters(vectors, points)
        getattr(out, f"{name}s").copy_(torch.from_numpy(centres))
        getattr(out, f"{name}_shares").copy_(torch.from_numpy(shares))
    out.axes.copy_(torch.from_numpy(spare([photographs, sentences])))
    for side, vectors in enumerate((photographs, sentences)):
        near = out.nearness(torch.from_numpy(vectors), of_images=side == 0)
        out.usual[side] = near.mean()
    return out


def spare(vectors: Sequence[np.ndarray]) -> np.ndarray:
    """(2, D) the two directions in which these vectors, (N, D) each, hold least."""
    squares = sum(each.T.astype(np.float64) @ each for each in vectors)
    _, directions = np.linalg.eigh(squares)
    out: np.ndarray = directions[:, :2].T.astype(np.float32)
    return out


def _clusters(vectors: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(count, D) unit vectors that the others lie around, and the logarithm of each one's share."""
    found = KMeans(count, n_init=1, random_state=0).fit(vectors)
    shares = np.bincount(found.labels_, minlength=count) / len(vectors)
    return unit(found.cluster_centers_), np.log(shares).astype(np.float32)
