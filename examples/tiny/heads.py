"""Training of the two small heads that join the teachers' spaces (seconds, no images)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

from examples.tiny.teachers import Head

WIDTH = 256
TEMPERATURE = 0.07
BATCH = 1024
EPOCHS = 24


def train_heads(
    pooled: np.ndarray, sentences: np.ndarray, captions: list[list[int]], path: Path, seed: int = 0
) -> tuple[Head, Head]:
    """The two heads, trained with symmetric InfoNCE; equal captions count as positives.

    Args:
        pooled: (N, 1280) features of the captioned images.
        sentences: (M, 384) features of the distinct sentences.
        captions: for each image, the indices of its sentences.
        path: where the heads are kept; read from there when the file exists.
        seed: of the initial weights and the order of the pairs.
    """
    torch.manual_seed(seed)
    see, read = Head(pooled.shape[1], WIDTH), Head(sentences.shape[1], WIDTH)
    if path.exists():
        for name, head in (("see", see), ("read", read)):
            stored = load_file(path)
            head.load_state_dict(
                {k.removeprefix(f"{name}."): v for k, v in stored.items() if k.startswith(name)}
            )
        return see.eval(), read.eval()
    images, texts = torch.from_numpy(pooled), torch.from_numpy(sentences)
    pairs = torch.tensor([(i, c) for i, own in enumerate(captions) for c in set(own)])
    parameters = [*see.parameters(), *read.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.05)
    steps = EPOCHS * len(pairs) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=steps)
    for step in range(steps):
        chosen = pairs[torch.randint(len(pairs), (BATCH,))]
        scores = see(images[chosen[:, 0]]) @ read(texts[chosen[:, 1]]).T / TEMPERATURE
        loss = multi_positive(scores, same(chosen[:, 0]) | same(chosen[:, 1]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 50 == 0:
            print(f"heads: step {step}/{steps}, loss {loss.item():.3f}", flush=True)
    both = {f"see.{k}": v for k, v in see.state_dict().items()}
    save_file(both | {f"read.{k}": v for k, v in read.state_dict().items()}, path)
    return see.eval(), read.eval()


def same(keys: Tensor) -> Tensor:
    """(B,) keys to the boolean (B, B) matrix of equal ones."""
    return keys[:, None] == keys[None, :]


def multi_positive(scores: Tensor, positive: Tensor) -> Tensor:
    """Symmetric InfoNCE in which every positive of a row is an equally good answer.

    Args:
        scores: (B, B), already divided by the temperature.
        positive: boolean (B, B), symmetric, true on the diagonal.
    """
    target = positive.float() / positive.sum(1, keepdim=True)
    rows = functional.cross_entropy(scores, target)
    return (rows + functional.cross_entropy(scores.T, target)) / 2
