"""Images a second of the encoder, against a bare loop and against the method's reference way.

    python tests/bench/gpu_throughput.py [--device cuda] [--size 500m|small] [--images 512]
        [--compile]

SmolVLM-500M with random weights (`small`: the same classes with two layers, for a CPU). The ways
take the same uint8 images, in turn, three rounds; the best counts:

- `encode`: `Encoder.encode_images`: batches made ready and copied ahead, SDPA, no language-model
  head, nothing kept but the last hidden state;
- `loop`: the bare module over batches that lie on the device already, normalised;
- `compiled` (with `--compile`): the same loop under `torch.compile`, whose compilation is told
  apart; `Encoder` does not use it, and this says whether it would pay;
- `reference`: the same tokens with eager attention, all hidden states and attentions kept, a cache
  filled, and the head's logits, as the method's published way of reading an embedding does.

Prints one JSON object with the ratios. On a CPU it counts processor seconds: it is a check that it
runs.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from small_models import smolvlm, write_tokenizer

from ngcg_cli.encoder.catalogue import backbone_config
from ngcg_cli.encoder.encoder import Encoder, build_encoder


def main() -> None:
    """Build the model, time the three ways, tell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--size", choices=["500m", "small"], default="500m")
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--compile", action="store_true", help="torch.compile besides")
    args = parser.parse_args()
    config = smolvlm() if args.size == "small" else backbone_config("smolvlm-500m")
    dtype = torch.bfloat16 if args.device.startswith("cuda") else torch.float32
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        write_tokenizer(Path(folder))
        encoder = build_encoder(config, folder, device=args.device)
        encoder.module.to(dtype).requires_grad_(False).eval()
        side = encoder.image_size
        images = np.random.default_rng(0).integers(0, 256, (args.images, side, side, 3), np.uint8)
        ways = {
            "encode": lambda: encoder.encode_images(images, args.batch_size),
            "loop": _loop(encoder, images, args.batch_size),
            "reference": _reference(encoder, config, images, args.batch_size, dtype),
        }
        compiling = None
        if args.compile:
            embed = torch.compile(encoder.module.embed_images)
            ways["compiled"] = _loop(encoder, images, args.batch_size, embed)
            compiling = round(_seconds(ways["compiled"], args.device), 2)
        best = dict.fromkeys(ways, float("inf"))
        for _ in range(args.rounds):
            for name, way in ways.items():
                best[name] = min(best[name], _seconds(way, args.device))
    rates = {name: round(args.images / seconds, 2) for name, seconds in best.items()}
    ratios = {
        f"encode_to_{name}": round(best[name] / best["encode"], 3)
        for name in best
        if name != "encode"
    }
    device = torch.cuda.get_device_name() if args.device.startswith("cuda") else "a CPU"
    told = {**vars(args), "precision": str(dtype), "on": device, "compile_seconds": compiling}
    print(json.dumps({**told, "images_per_second": rates, **ratios}))


def _loop(
    encoder: Encoder,
    images: np.ndarray,
    size: int,
    embed: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> Callable[[], Any]:
    embed = embed or encoder.module.embed_images
    pixels = encoder.pixels(images[:size]).to(encoder.device)

    def run() -> None:
        with torch.no_grad():
            for start in range(0, len(images), size):
                embed(pixels[: len(images) - start])

    return run


def _reference(
    encoder: Encoder, config: Any, images: np.ndarray, size: int, dtype: torch.dtype
) -> Callable[[], Any]:
    from transformers import AutoModel

    with torch.device(encoder.device):
        base = AutoModel.from_config(config, attn_implementation="eager").to(dtype).eval()
        rows = config.text_config.vocab_size, config.text_config.hidden_size
        head = torch.empty(rows, dtype=dtype).normal_(0, 0.02)
    pixels = encoder.pixels(images[:size]).to(encoder.device, dtype)
    prompt = encoder.module._prefix, encoder.module._suffix

    def run() -> None:
        with torch.inference_mode():
            for start in range(0, len(images), size):
                _reference_batch(base, head, pixels[: len(images) - start], *prompt)

    return run


def _reference_batch(
    base: Any, head: torch.Tensor, pixels: torch.Tensor, before: torch.Tensor, after: torch.Tensor
) -> torch.Tensor:
    seen = base.vision_model(
        pixel_values=pixels, output_hidden_states=True, output_attentions=True
    ).last_hidden_state
    words = base.text_model.get_input_embeddings()
    ahead, behind = (words(ids).expand(len(pixels), -1, -1) for ids in (before, after))
    told = base.text_model(
        inputs_embeds=torch.cat([ahead, base.connector(seen), behind], dim=1),
        use_cache=True,
        output_hidden_states=True,
        output_attentions=True,
    )
    torch.nn.functional.linear(told.hidden_states[-1], head)
    return torch.nn.functional.normalize(told.hidden_states[-1][:, -1].float(), dim=-1)


def _seconds(way: Callable[[], Any], device: str) -> float:
    """Of the clock on a GPU; of the processor on a CPU, where other work may spoil the clock."""
    cuda = device.startswith("cuda")
    now = time.perf_counter if cuda else time.process_time
    if cuda:
        torch.cuda.synchronize()
    began = now()
    way()
    if cuda:
        torch.cuda.synchronize()
    return now() - began


if __name__ == "__main__":
    main()
