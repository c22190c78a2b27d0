"""Does the full-size architecture train, save, reload and embed here, and at what price?

    python tests/bench/full_size_step.py FOLDER

FOLDER has a SmolVLM's (or InternVL's) config.json and tokenizer files; weights are random, because
seconds and memory do not depend on them. Everything goes through `train` and `load_encoder`, as the
command does. Prints one JSON object: seconds of each stage, peak memory so far in GiB.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ngcg_cli.encoder.checkpoint import load_encoder
from ngcg_cli.encoder.weights import read_json
from ngcg_cli.training.settings import TrainSettings
from ngcg_cli.training.train import train


def main() -> None:
    """Runs the stages one after the other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="config.json and tokenizer files, no weights")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--micro-batch", type=int, default=2)
    options = parser.parse_args()
    report: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        began = time.perf_counter()
        random_weights(options.folder, work / "base")
        began = note(report, "random weights written", began)
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
        began = note(report, "loaded, one LoRA step, saved", began)
        encoder = load_encoder(result.checkpoint, "cpu")
        began = note(report, "reloaded and merged", began)
        image = np.asarray(Image.open(work / "0.png"))
        vectors = np.concatenate(
            [encoder.encode_images([image, image[::-1]]), encoder.encode_texts(["a harbour"])]
        )
        note(report, "two images and a text embedded", began)
    assert vectors.shape == (3, encoder.dim)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    figures = {
        "threads": torch.get_num_threads(),
        "trainable_parameters": result.trainable_parameters,
        "total_parameters": result.total_parameters,
        "batch_size": options.batch_size,
        "micro_batch": options.micro_batch,
        "stages": report,
    }
    print(json.dumps(figures, indent=2))


def note(report: dict[str, dict[str, float]], stage: str, began: float) -> float:
    """Notes the stage's seconds and the process's peak memory so far; returns the time."""
    now = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    report[stage] = {"seconds": round(now - began, 1), "peak_gib": round(peak, 2)}
    return now


def random_weights(folder: Path, target: Path) -> None:
    """A model directory in transformers' own format with freshly drawn weights."""
    from transformers import AutoConfig, AutoModel

    values = read_json(folder / "config.json")
    config = AutoConfig.for_model(values.pop("model_type"), **values)
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
