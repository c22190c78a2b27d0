"""Images a second of the encoder, against a bare loop and against the method's reference way.

    python tests/bench/gpu_throughput.py [--device cuda] [--size 500m|small] [--images 512]

SmolVLM-500M with random weights (`small`: the same classes with two layers, for a CPU). Three ways
take the same uint8 images, in turn, three rounds; the best counts:

- `encode`: `Encoder.encode_images`: batches made ready and copied ahead, SDPA, no language-model
  head, nothing kept but the last hidden state;
- `loop`: the bare module over batches that lie on the device already, normalised;
- `reference`: eager attention, all hidden states and attentions kept, and the head's logits, as
  the method's published way of reading an embedding does.

Prints one JSON object with the ratios. On a CPU it tells what it is: a check that it runs.
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
        best = dict.fromkeys(ways, float("inf"))
        for _ in range(args.rounds):
            for name, way in ways.items():
                best[name] = min(best[name], _seconds(way, args.device))
    rates = {name: round(args.images / seconds, 2) for name, seconds in best.items()}
    ratios = {
        "encode_to_loop": round(best["loop"] / best["encode"], 3),
        "encode_to_reference": round(best["reference"] / best["encode"], 3),
    }
    device = torch.cuda.get_device_name() if args.device.startswith("cuda") else "a CPU"
    told = {**vars(args), "precision": str(dtype), "on": device}
    print(json.dumps({**told, "images_per_second": rates, **ratios}))


def _loop(encoder: Encoder, images: np.ndarray, size: int) -> Callable[[], Any]:
    pixels = encoder.pixels(images[:size]).to(encoder.device)

    def run() -> None:
        with torch.inference_mode():
            for start in range(0, len(images), size):
                encoder.module.embed_images(pixels[: len(images) - start])

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

    def run() -> None:
        with torch.inference_mode():
            for start in range(0, len(images), size):
                _reference_batch(base, head, pixels[: len(images) - start])

    return run


def _reference_batch(base: Any, head: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
    seen = base.vision_model(
        pixel_values=pixels, output_hidden_states=True, output_attentions=True
    ).last_hidden_state
    told = base.text_model(
        inputs_embeds=base.connector(seen),
        use_cache=True,
        output_hidden_states=True,
        output_attentions=True,
    )
    torch.nn.functional.linear(told.hidden_states[-1], head)
    return torch.nn.functional.normalize(told.hidden_states[-1][:, -1].float(), dim=-1)


def _seconds(way: Callable[[], Any], device: str) -> float:
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    began = time.perf_counter()
    way()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
