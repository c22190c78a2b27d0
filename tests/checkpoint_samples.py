"""What the tests of checkpoints share: vectors to compare, and a step of training."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from ngcg_cli.encoder.encoder import Encoder

TEXTS = ["many planes are parked next to a long building", "boats", "a red roof"]


def some_images() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (2, 40, 50, 3), dtype=np.uint8)


def vectors(encoder: Encoder) -> np.ndarray:
    return np.concatenate([encoder.encode_texts(TEXTS), encoder.encode_images(some_images())])


def train_a_step(encoder: Encoder) -> None:
    torch.manual_seed(11)
    module = encoder.module.train()
    parameters = [p for p in module.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=1e-2)
    for _ in range(2):  # LoRA's B starts at zero: A moves from the second step on
        scores = (
            module.embed_texts(*encoder.tokens(TEXTS[:2]))
            @ module.embed_images(encoder.pixels(some_images())).T
        )
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(scores / 0.03, torch.arange(2)).backward()
        optimiser.step()
    module.eval()


def copied(folder: Path, to: Path) -> Path:
    return Path(shutil.copytree(folder, to))


def edit_weights(folder: Path, **changes: torch.Tensor | None) -> None:
    state = load_file(folder / "model.safetensors") | changes
    save_file({k: v for k, v in state.items() if v is not None}, folder / "model.safetensors")


KEY = "text_model.layers.0.mlp.up_proj.weight"
