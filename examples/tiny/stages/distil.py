"""The step that trains `tiny`: what it is asked to match.

*Image* and *text*: the teachers' vectors, by cosine. *Map*: how near a photograph is to thousands
of captions, and a sentence to every photograph, as the teachers have it. *Own*: a photograph's own
captions among these thousands, a caption's own photographs among all (InfoNCE with all of them as
negatives; a caption that was written often counts as often, as in a batch). *Contrast*: photographs
and their own captions in the batch (InfoNCE, equal captions are positives).
*Lexicon*: photographs against sentences that are true of their whole scene. *Codes*, *differ*:
images and sentences against the codes of drawn attributes (`codes.py`). *Hard*: a drawn tile's true
sentence above the false one. *Drawn*, *pasted*: tiles, and photographs with drawn things, and
statements that are true of them (InfoNCE).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from examples.tiny.recipe import Course
from examples.tiny.stages.codes import Code
from examples.tiny.stages.contrasts import KINDS
from examples.tiny.stages.eyes import tokens
from examples.tiny.stages.heads import WIDTH, many_positives, multi_positive, same
from ngcg_cli.encoder.convnet import ConvTower
from ngcg_cli.encoder.module import EncoderModule

#: Of a sentence that is true of many photographs, so many count as its own.
_OWN = 24


class Lesson(nn.Module):
    """The student, the codes it learns beside, and the teachers' vectors of everything.

    Args:
        student: the encoder's module.
        code: of the drawn tiles.
        photographs: (N, 256) the teachers' vectors of all photographs.
        captions: (M, 256) the same of all captions.
        own: for each photograph, the indices of its captions.
        course: what of it all counts.
    """

    weights: Tensor
    coefficients: Tensor
    kinds: Tensor
    photographs: Tensor
    captions: Tensor
    photographs_now: Tensor
    captions_now: Tensor
    often: Tensor
    kind_weights: Tensor
    said_of: Tensor
    shown_by: Tensor

    def __init__(
        self,
        student: EncoderModule,
        code: Code,
        photographs: np.ndarray,
        captions: np.ndarray,
        own: Sequence[Sequence[int]],
        course: Course,
    ) -> None:
        super().__init__()
        self.student, self.course = student, course
        rows = torch.randn(
            code.coefficients.shape[1], WIDTH, generator=torch.Generator().manual_seed(7)
        )
        self.codes = nn.Parameter(functional.normalize(rows, dim=-1))
        shown_by: list[list[int]] = [[] for _ in captions]
        for row in np.random.default_rng(0).permutation(len(own)).tolist():
            for caption in set(own[row]):
                if len(shown_by[caption]) < _OWN:
                    shown_by[caption].append(row)
        often = np.bincount(np.concatenate([list(set(o)) for o in own]), minlength=len(captions))
        by_kind = [course.sizes.counts if kind == "count" else 1.0 for kind in KINDS]
        for name, value in (
            ("weights", torch.from_numpy(code.weights)),
            ("coefficients", code.coefficients),
            ("kinds", torch.from_numpy(code.kinds)),
            ("photographs", torch.from_numpy(photographs)),
            ("captions", torch.from_numpy(captions)),
            ("said_of", _table(own)),
            ("shown_by", _table(shown_by)),
            ("often", torch.from_numpy(np.log(np.maximum(often, 1))).float()),
            ("kind_weights", torch.tensor(by_kind)),
        ):
            self.register_buffer(name, value, persistent=False)
        # What the student itself says of them, as the course goes on: kept with a stopped run.
        for name in ("photographs", "captions"):
            self.register_buffer(
                f"{name}_now", getattr(self, name).clone(), persistent=course.renewed > 0
            )

    @torch.no_grad()
    def know_codes(self, differences: Tensor) -> None:
        """Let the codes start as what a trained student says already.

        Args:
            differences: (P, 256), its vectors of the pairs' first statements less the second ones'.
        """
        rows = self.coefficients
        square = rows.T @ rows + torch.eye(rows.shape[1])
        self.codes.copy_(torch.linalg.solve(square, rows.T @ differences))

    @torch.no_grad()
    def renew(self, keys: Tensor, photographs: Tensor, captions: Tensor) -> None:
        """Move what is known of photographs and captions towards what the student says now.

        Args:
            keys: (B, 2) their numbers.
            photographs: (B, 256) the student's vectors.
            captions: likewise.
        """
        share = self.course.renewed
        for known, rows, vectors in (
            (self.photographs_now, keys[:, 0], photographs),
            (self.captions_now, keys[:, 1], captions),
        ):
            known[rows] = functional.normalize(known[rows].lerp(vectors.float(), share), dim=-1)

    def look(self, images: Tensor) -> Tensor:
        """Unit vectors (B, 256) of cached patch tokens, or of pixels."""
        tower = self.student.vision
        assert isinstance(tower, ConvTower)
        if images.dim() == 3:
            content = images
        elif self.course.frozen is None:
            with torch.no_grad():
                content = tower.content(images)
        else:
            precise = torch.float32
            if self.course.loop.precision == "bfloat16":
                precise = torch.bfloat16
            content = tokens(tower, images, self.course.frozen, precise)
        return self.student.embed_vision_tokens(tower.located(content))


def _table(rows: Sequence[Sequence[int]]) -> Tensor:
    """Rows of numbers (N, longest), filled up with -1."""
    out = torch.full((len(rows), max(map(len, rows), default=0)), -1)
    for n, row in enumerate(rows):
        out[n, : len(row)] = torch.tensor(row, dtype=torch.long)
    return out


def step(lesson: nn.Module, batch: dict[str, Tensor]) -> dict[str, float]:
    """Forward, all terms of the course, backward; for the project's training loop."""
    assert isinstance(lesson, Lesson)
    course = lesson.course
    place = lesson.said_of.device
    batch = {name: value.to(place) for name, value in batch.items()}
    with course.loop.autocast(place):
        texts = embed_by_length(lesson.student, batch["ids"], batch["mask"])
        images = lesson.look(batch["images"])
    seen, said, keys = batch["seen"], batch["said"], batch["keys"]
    pasted = batch.get("true_pasted", torch.zeros(0, 0, dtype=torch.bool, device=place))
    rest = [len(images) - len(seen) - len(pasted), len(pasted)]
    shown, tiles, glued = images.split([len(seen), *rest])
    rest = [len(texts) - len(said) - len(pasted), len(pasted)]
    spoken, of_tiles, of_pasted = texts.split([len(said), *rest])
    photographs, captions = shown[: len(keys)], spoken[: len(keys)]
    told = spoken[len(keys) : len(keys) + batch["of_scene"].shape[1]]
    bank, heat = lesson.captions[batch["bank"]], course.temperature
    everything = torch.arange(len(lesson.photographs), device=place)
    terms: dict[str, Callable[[], Tensor]] = {
        "image": lambda: 1 - (shown * seen).sum(-1).mean(),
        "text": lambda: 1 - (spoken * said).sum(-1).mean(),
        "map_image": lambda: _map(shown, seen, bank, heat),
        "map_text": lambda: _map(spoken, said, lesson.photographs, heat),
        "own_image": lambda: _own(
            photographs,
            lesson.captions_now[batch["bank"]],
            lesson.said_of[keys[:, 0]],
            batch["bank"],
            heat,
            lesson.often[batch["bank"]],
        ),
        "own_text": lambda: _own(
            captions, lesson.photographs_now, lesson.shown_by[keys[:, 1]], everything, heat
        ),
        "contrast": lambda: multi_positive(
            photographs @ captions.T / heat, same(keys[:, 0]) | same(keys[:, 1])
        ),
        "lexicon": lambda: many_positives(photographs @ told.T / heat, batch["of_scene"]),
        "pasted": lambda: many_positives(glued @ of_pasted.T / heat, pasted),
    }
    found = {name: term() for name, term in terms.items() if name in course.weights}
    found |= _drawn(lesson, tiles, of_tiles, batch)
    loss = torch.stack([weight * found[name] for name, weight in course.weights.items()]).sum()
    loss.backward()
    if course.renewed:
        lesson.renew(keys, photographs, captions)
    figures = {name: found[name].item() for name in course.weights}
    return {"loss": loss.item(), **figures, "pairs": float(len(keys))}


def _own(
    ours: Tensor,
    bank: Tensor,
    own: Tensor,
    numbers: Tensor,
    heat: float,
    often: Tensor | float = 0.0,
) -> Tensor:
    """InfoNCE of vectors (B, 256) against a bank (M, 256), of which several are right.

    Args:
        ours: the vectors.
        bank: what they are compared with.
        own: (B, K) the numbers of what is right for each, filled up with -1.
        numbers: (M,) those of the bank.
        heat: the temperature.
        often: (M,) logarithms of how often each of the bank stands there.
    """
    right = (own[:, :, None] == numbers).any(1)
    held = right.any(1)
    target = right[held] / right[held].sum(1, keepdim=True)
    return functional.cross_entropy(ours[held] @ bank.T / heat + often, target)


def _map(ours: Tensor, theirs: Tensor, bank: Tensor, heat: float) -> Tensor:
    """Divergence of our softmax over the bank from the teachers'."""
    wanted = functional.log_softmax(theirs @ bank.T / heat, 1)
    found = functional.log_softmax(ours @ bank.T / heat, 1)
    return functional.kl_div(found, wanted, log_target=True, reduction="batchmean")


def _drawn(
    lesson: Lesson, tiles: Tensor, texts: Tensor, batch: dict[str, Tensor]
) -> dict[str, Tensor]:
    heat = lesson.course.temperature
    tile, pair, label = batch["labels"].T
    near = tiles @ lesson.codes.T / heat
    margins = (near[tile] * lesson.coefficients[pair]).sum(1)
    weights = _of_label(lesson.weights[pair], label)
    said, judged = batch["pairs"], batch["judged"]
    first, second = texts[: 2 * len(said)].chunk(2)
    wanted = (lesson.coefficients[said] @ lesson.codes).detach()
    rows, columns = torch.nonzero(judged, as_tuple=True)
    signs, column_weights = judged[rows, columns], lesson.weights[said[columns]]
    told = (tiles @ (first - second).T / heat)[rows, columns]
    return {
        "codes": _by_kind(
            functional.softplus(-label * margins), weights, lesson.kinds[pair], lesson.kind_weights
        ),
        "differ": 1 - functional.cosine_similarity(first - second, wanted, dim=-1).mean(),
        "hard": _by_kind(
            functional.softplus(-signs * told),
            _of_label(column_weights, signs),
            lesson.kinds[said[columns]],
            lesson.kind_weights,
        ),
        "drawn": many_positives(tiles @ texts.T / heat, batch["true"]),
    }


def _by_kind(losses: Tensor, weights: Tensor, kinds: Tensor, worth: Tensor) -> Tensor:
    """Sum over the kinds of attributes of each kind's weighted mean, times the kind's worth."""
    share = functional.one_hot(kinds, len(KINDS)) * weights[:, None]
    means = (losses[:, None] * share).sum(0) / share.sum(0).clamp(min=1e-6)
    return (means * worth).sum()


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
