"""Does the full-size architecture train, save, reload and embed here, and at what price?

    python tests/bench/full_size_step.py FOLDER

FOLDER has a SmolVLM's (or InternVL's) config.json and tokenizer files; weights are random, because
seconds and memory do not depend on them. Everything goes through `train` and `load_encoder`, as the
command does. Prints one JSON object: of each stage the seconds, the processor's seconds (over all
threads; they hold on a busy machine too), and the peak memory so far in GiB.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ngcg_cli.encoder.checkpoint import load_encoder
from ngcg_cli.encoder.received import read_object
from ngcg_cli.training.settings import TrainSettings
from ngcg_cli.training.train import train


def main() -> None:
    """Runs the stages one after the other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="config.json and tokenizer files, no weights")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--micro-batch", type=int, default=2)
    options = parser.parse_args()
    stages = Stages()
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        random_weights(options.folder, work / "base")
        stages.ended("random weights written")
        settings = TrainSettings(
            data=pictures(work, options.batch_size),
            out=work / "run",
            model=str(work / "base"),
            steps=1,
            batch_size=options.batch_size,
            micro_batch=options.micro_batch,
            workers=0,
        )
        result = train(settings, quiet=True)
        stages.ended("loaded, one LoRA step, saved")
        encoder = load_encoder(result.checkpoint, "cpu")
        stages.ended("reloaded and merged")
        image = np.asarray(Image.open(work / "0.png"))
        vectors = np.concatenate(
            [encoder.encode_images([image, image[::-1]]), encoder.encode_texts(["a harbour"])]
        )
        stages.ended("two images and a text embedded")
    assert vectors.shape == (3, encoder.dim)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    figures = {
        "threads": torch.get_num_threads(),
        "trainable_parameters": result.trainable_parameters,
        "total_parameters": result.total_parameters,
        "image_tokens": encoder.backbone.image_tokens,
        "batch_size": options.batch_size,
        "micro_batch": options.micro_batch,
        "stages": stages,
    }
    print(json.dumps(figures, indent=2))


class Stages(dict[str, dict[str, float]]):
    """What each stage took, in the order in which they ended."""

    def __init__(self) -> None:
        self._clocks = time.perf_counter(), time.process_time()

    def ended(self, stage: str) -> None:
        """Notes the stage that ends now; the next one begins."""
        clocks = time.perf_counter(), time.process_time()
        wall, cpu = (round(now - then, 1) for now, then in zip(clocks, self._clocks, strict=True))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        self[stage] = {"seconds": wall, "cpu_seconds": cpu, "peak_gib": round(peak, 2)}
        self._clocks = clocks


def random_weights(folder: Path, target: Path) -> None:
    """A model directory in transformers' own format with freshly drawn weights."""
    from transformers import AutoConfig, AutoModel

    values = read_object(folder / "config.json")
    config = AutoConfig.for_model(values.pop("model_type"), **values)
    processor = folder / "processor_config.json"
    if processor.is_file() and hasattr(config, "scale_factor"):
        # SmolVLM's published configs state a scale factor of 1; the weights were made with 4.
        grid = config.vision_config.image_size // config.vision_config.patch_size
        config.scale_factor = grid // math.isqrt(read_object(processor)["image_seq_len"])
    torch.manual_seed(0)
    AutoModel.from_config(config).save_pretrained(target)
    for file in folder.glob("*.json"):
        if file.name not in ("config.json", "generation_config.json"):
            shutil.copy(file, target / file.name)


def pictures(folder: Path, count: int) -> Path:
    """Captions of `count` noise images, each another place."""
    rng = np.random.default_rng(0)
    path = folder / "captions.jsonl"
    with path.open("w") as file:
        for number in range(count):
            pixels = rng.integers(0, 256, (256, 256, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")
            line = {"image": f"{number}.png", "captions": [f"{number} boats in a harbour"]}
            file.write(json.dumps(line) + "\n")
    return path


if __name__ == "__main__":
    main()
