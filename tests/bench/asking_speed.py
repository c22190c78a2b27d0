"""What asking a large model costs on this machine: CPU or GPU seconds a tile.

    python tests/bench/asking_speed.py smolvlm-256m FOLDER [DEVICE]

The weights are random, at the model's real size: speed does not depend on them, and no answer ends
early. FOLDER has the tokenizer and the chat template of the model, as the hub has them.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForImageTextToText

from ngcg_cli.encoder.backbones import BACKBONES
from ngcg_cli.encoder.catalogue import backbone_config
from ngcg_cli.encoder.chat import read_chat
from ngcg_cli.encoder.generator import Generator
from ngcg_cli.encoder.tokens import TextTokenizer

TILES = 4


def told(what: str, work: Callable[[], object]) -> None:
    work()
    began, busy = time.monotonic(), time.process_time()
    work()
    wall, cpu = time.monotonic() - began, time.process_time() - busy
    print(f"{what}: {cpu / TILES:.1f} CPU s a tile ({wall / TILES:.1f} s)", flush=True)


def main(name: str, folder: Path, device: str = "cpu") -> None:
    backbone = BACKBONES[name]
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    torch.manual_seed(0)
    with torch.device(device):
        model = AutoModelForImageTextToText.from_config(backbone_config(name), dtype=dtype).eval()
    tokenizer = TextTokenizer(folder, backbone=backbone)
    chat = read_chat(folder, backbone)
    generator = Generator(model, tokenizer, backbone, chat, name=name, stops=[])
    rng = np.random.default_rng(0)
    side = backbone.image_size
    tiles = list(rng.integers(0, 256, (TILES, side, side, 3), np.uint8))
    print(f"{sum(weight.numel() for weight in model.parameters()):,} parameters, {dtype}, {device}")
    question = "Does this image show a stadium beside a river? Answer yes or no."
    told("yes or no", lambda: generator.chances(tiles, [question] * TILES))
    told("a caption of 40 tokens", lambda: generator.answers(tiles, [question] * TILES, 40))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
