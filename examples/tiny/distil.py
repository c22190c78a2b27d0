"""The step that trains `tiny` on cached patch tokens: what it is asked to match.

Contrast: images and their own sentences (InfoNCE, equal captions are positives). Lexicon:
every photograph against sentences that are true of its whole scene. Image and text: the vectors of
the heads over the teachers, by cosine. Hard: a drawn tile's true caption above the false one, which
differs from it in one word.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from examples.tiny.heads import many_positives, multi_positive, same
from ngcg_cli.encoder.module import EncoderModule

TEMPERATURE = 0.05
WEIGHTS = {"contrast": 1.0, "text": 1.0, "image": 0.5, "lexicon": 0.5, "hard": 2.0}


def step(module: nn.Module, batch: dict[str, Tensor]) -> dict[str, float]:
    """Forward, the terms that the batch's kind has, backward; for the project's training loop."""
    assert isinstance(module, EncoderModule)
    texts = embed_by_length(module, batch["ids"], batch["mask"])
    images = module.embed_vision_tokens(batch["tokens"])
    count, keys, said = len(images), batch["keys"], batch["said"]
    scores = images @ texts[:count].T / TEMPERATURE
    terms = {
        "contrast": multi_positive(scores, same(keys[:, 0]) | same(keys[:, 1])),
        "text": 1 - (texts[-len(said) :] * said).sum(-1).mean(),
    }
    if "seen" in batch:
        terms["image"] = 1 - (images * batch["seen"]).sum(-1).mean()
        of_scene = batch["of_scene"]
        told = texts[count : count + of_scene.shape[1]]
        terms["lexicon"] = many_positives(images @ told.T / TEMPERATURE, of_scene)
    if "false" in batch:
        wrong = (images * texts[count : 2 * count]).sum(-1) / TEMPERATURE
        terms["hard"] = functional.softplus(wrong - scores.diagonal()).mean()
    loss = torch.stack([WEIGHTS[name] * term for name, term in terms.items()]).sum()
    loss.backward()
    figures = {name: term.item() for name, term in terms.items()}
    return {"loss": loss.item(), **figures, "pairs": float(count)}


def embed_by_length(module: EncoderModule, ids: Tensor, mask: Tensor, parts: int = 4) -> Tensor:
    """`module.embed_texts` over texts of like length at a time, so that little is padding."""
    lengths = mask.sum(1)
    order = torch.argsort(lengths, stable=True)
    vectors = []
    for rows in order.chunk(parts):
        longest = int(lengths[rows].max())
        vectors.append(module.embed_texts(ids[rows, :longest], mask[rows, :longest]))
    return torch.cat(vectors)[torch.argsort(order)]
