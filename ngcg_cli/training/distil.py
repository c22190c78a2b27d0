"""Distillation: a small encoder learns the relations that a larger one sees.

Vectors of two models cannot be compared where their dimensions differ, but who is near whom can:
the student's similarities within a batch are drawn towards the teacher's (relational distillation,
Park et al. 2019, arXiv 1904.05068; as distributions over neighbours, Fang et al. 2021, arXiv
2101.04731).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def relations(student: Tensor, teacher: Tensor, images: int, scale: Tensor | float) -> Tensor:
    """How far the student's similarities are from the teacher's, a scalar, at least 0.

    Each row asks its own side and the other side: image to images, image to texts, text to images,
    text to texts. A question is a softmax over `scale` times the similarities; the loss is the
    Kullback-Leibler divergence from the teacher's answer to the student's, the mean of all. Nobody
    is asked about itself. Where the dimensions are equal, 1 - cosine of the vectors themselves is
    added, so that the student comes to share the teacher's space.

    Args:
        student: (N, dim) unit vectors, first those of images, then those of texts.
        teacher: (N, other dim) unit vectors of the same things, without gradients.
        images: how many rows are of images.
        scale: 1 / temperature of both softmaxes.
    """
    with torch.autocast(student.device.type, enabled=False):
        student, teacher = student.float(), teacher.float()
        sides = (slice(0, images), slice(images, len(student)))
        losses = [
            _divergence(
                scale * student[asking] @ student[asked].T,
                scale * teacher[asking] @ teacher[asked].T,
                itself=asking == asked,
            )
            for asking in sides
            for asked in sides
            if len(student[asking]) > 1 and len(student[asked]) > 1
        ]
        if student.shape == teacher.shape:
            losses.append((1 - (student * teacher).sum(-1)).mean())
        return torch.stack(losses).mean() if losses else student.sum() * 0


def _divergence(student: Tensor, teacher: Tensor, *, itself: bool) -> Tensor:
    if itself:
        student, teacher = _without_diagonal(student), _without_diagonal(teacher)
    return functional.kl_div(
        functional.log_softmax(student, dim=-1),
        functional.log_softmax(teacher, dim=-1),
        reduction="batchmean",
        log_target=True,
    )


def _without_diagonal(table: Tensor) -> Tensor:
    """(n, n) to (n, n - 1)."""
    others = ~torch.eye(len(table), dtype=torch.bool, device=table.device)
    return table[others].view(len(table), -1)
