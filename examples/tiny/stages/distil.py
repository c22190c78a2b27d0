"""The step that trains `tiny` on cached patch tokens: what it is asked to match.

*Image* and *text*: the teachers' vectors, by cosine. *Map*: how near a photograph is to thousands
of captions, and a sentence to every photograph, as the teachers have it. *Contrast*: photographs
and their own captions (InfoNCE, equal captions are positives). *Lexicon*: photographs against
sentences that are true of their whole scene. *Codes*, *differ*: images and sentences against the
codes of drawn attributes (`codes.py`). *Hard*: a drawn tile's true sentence above the false one.
*Drawn*: tiles and statements that are true of them (InfoNCE).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from examples.tiny.stages.codes import Code
from examples.tiny.stages.contrasts import KINDS
from examples.tiny.stages.heads import WIDTH, many_positives, multi_positive, same
from ngcg_cli.encoder.convnet import ConvTower
from ngcg_cli.encoder.module import EncoderModule

TEMPERATURE = 0.05
WEIGHTS = {"image": 1.0, "text": 1.0, "map_image": 0.5, "map_text": 0.5, "contrast": 0.5,
           "lexicon": 0.25, "codes": 0.5, "differ": 1.0, "hard": 0.4, "drawn": 0.3}  # fmt: skip


class Lesson(nn.Module):
    """The student, the codes it learns beside, and the teachers' vectors of everything.

    Args:
        student: the encoder's module.
        code: of the drawn tiles.
        photographs: (N, 256) the teachers' vectors of all photographs.
        captions: (M, 256) the same of all captions.
    """

    weights: Tensor
    coefficients: Tensor
    kinds: Tensor
    photographs: Tensor
    captions: Tensor

    def __init__(
        self, student: EncoderModule, code: Code, photographs: np.ndarray, captions: np.ndarray
    ) -> None:
        super().__init__()
        self.student = student
        rows = torch.randn(
            code.coefficients.shape[1], WIDTH, generator=torch.Generator().manual_seed(7)
        )
        self.codes = nn.Parameter(functional.normalize(rows, dim=-1))
        for name, value in (
            ("weights", torch.from_numpy(code.weights)),
            ("coefficients", code.coefficients),
            ("kinds", torch.from_numpy(code.kinds)),
            ("photographs", torch.from_numpy(photographs)),
            ("captions", torch.from_numpy(captions)),
        ):
            self.register_buffer(name, value, persistent=False)


def step(lesson: nn.Module, batch: dict[str, Tensor]) -> dict[str, float]:
    """Forward, all terms, backward; for the project's training loop."""
    assert isinstance(lesson, Lesson)
    student = lesson.student
    tower = student.vision
    assert isinstance(tower, ConvTower)
    texts = embed_by_length(student, batch["ids"], batch["mask"])
    images = student.embed_vision_tokens(tower.located(batch["tokens"]))
    seen, said, keys = batch["seen"], batch["said"], batch["keys"]
    shown, tiles = images[: len(seen)], images[len(seen) :]
    photographs = shown[: len(keys)]
    spoken = texts[: len(said)]
    captions, rest = spoken[: len(keys)], spoken[len(keys) :]
    told = rest[: batch["of_scene"].shape[1]]
    bank = lesson.captions[batch["bank"]]
    terms = {
        "image": 1 - (shown * seen).sum(-1).mean(),
        "text": 1 - (spoken * said).sum(-1).mean(),
        "map_image": _map(shown, seen, bank),
        "map_text": _map(spoken, said, lesson.photographs),
        "contrast": multi_positive(
            photographs @ captions.T / TEMPERATURE, same(keys[:, 0]) | same(keys[:, 1])
        ),
        "lexicon": many_positives(photographs @ told.T / TEMPERATURE, batch["of_scene"]),
        **_drawn(lesson, tiles, texts[len(said) :], batch),
    }
    loss = torch.stack([WEIGHTS[name] * term for name, term in terms.items()]).sum()
    loss.backward()
    figures = {name: term.item() for name, term in terms.items()}
    return {"loss": loss.item(), **figures, "pairs": float(len(keys))}


def _map(ours: Tensor, theirs: Tensor, bank: Tensor) -> Tensor:
    """Divergence of our softmax over the bank from the teachers'."""
    wanted = functional.log_softmax(theirs @ bank.T / TEMPERATURE, 1)
    found = functional.log_softmax(ours @ bank.T / TEMPERATURE, 1)
    return functional.kl_div(found, wanted, log_target=True, reduction="batchmean")


def _drawn(
    lesson: Lesson, tiles: Tensor, texts: Tensor, batch: dict[str, Tensor]
) -> dict[str, Tensor]:
    tile, pair, label = batch["labels"].T
    near = tiles @ lesson.codes.T / TEMPERATURE
    margins = (near[tile] * lesson.coefficients[pair]).sum(1)
    weights = _of_label(lesson.weights[pair], label)
    said, judged = batch["pairs"], batch["judged"]
    first, second = texts[: 2 * len(said)].chunk(2)
    wanted = (lesson.coefficients[said] @ lesson.codes).detach()
    rows, columns = torch.nonzero(judged, as_tuple=True)
    signs, column_weights = judged[rows, columns], lesson.weights[said[columns]]
    told = (tiles @ (first - second).T / TEMPERATURE)[rows, columns]
    return {
        "codes": _by_kind(functional.softplus(-label * margins), weights, lesson.kinds[pair]),
        "differ": 1 - functional.cosine_similarity(first - second, wanted, dim=-1).mean(),
        "hard": _by_kind(
            functional.softplus(-signs * told),
            _of_label(column_weights, signs),
            lesson.kinds[said[columns]],
        ),
        "drawn": many_positives(tiles @ texts.T / TEMPERATURE, batch["true"]),
    }


def _by_kind(losses: Tensor, weights: Tensor, kinds: Tensor) -> Tensor:
    """Sum over the kinds of attributes of each kind's weighted mean."""
    share = functional.one_hot(kinds, len(KINDS)) * weights[:, None]
    return ((losses[:, None] * share).sum(0) / share.sum(0).clamp(min=1e-6)).sum()


def _of_label(weights: Tensor, labels: Tensor) -> Tensor:
    return torch.where(labels > 0, weights[:, 0], weights[:, 1])


def embed_by_length(module: EncoderModule, ids: Tensor, mask: Tensor, parts: int = 4) -> Tensor:
    """`module.embed_texts` over texts of like length at a time, so that little is padding."""
    lengths = mask.sum(1)
    order = torch.argsort(lengths, stable=True)
    vectors = []
    for rows in order.chunk(parts):
        longest = int(lengths[rows].max())
        vectors.append(module.embed_texts(ids[rows, :longest], mask[rows, :longest]))
    return torch.cat(vectors)[torch.argsort(order)]
