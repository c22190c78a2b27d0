"""What subtracting a scene's name does to the first ten hits.

    python tests/bench/subtract.py val/captions.jsonl

The file's rows have `image`, `captions` and `scene`. Of 1,500 captions those are taken whose first
ten images hold two or more of one wrong scene; that scene's name is subtracted.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np

from ngcg_cli.datasets.images import read_image
from ngcg_cli.encoder.checkpoint import load_encoder

CAPTIONS = 1500


def main(file: Path) -> None:
    rows = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    scene = np.array([row["scene"] for row in rows])
    encoder = load_encoder("tiny", "cpu")
    images = encoder.encode_images([read_image(file.parent / row["image"]) for row in rows])
    texts = [(text, row["scene"]) for row in rows for text in row["captions"]]
    drawn = np.random.default_rng(0).choice(len(texts), min(CAPTIONS, len(texts)), replace=False)
    asked = np.array([texts[i][1] for i in drawn])
    questions = encoder.encode_texts([texts[i][0] for i in drawn])
    names = sorted(set(scene))
    words = [re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower() for name in names]
    away = dict(zip(names, encoder.encode_texts(words), strict=True))

    first = scene[np.argsort(-(questions @ images.T), axis=1)[:, :10]]
    chosen, wrong = [], []
    for i in range(len(drawn)):
        others, counts = np.unique(first[i][first[i] != asked[i]], return_counts=True)
        if len(others) and counts.max() >= 2:
            chosen.append(i)
            wrong.append(others[counts.argmax()])
    asked, questions, unwanted = asked[chosen], questions[chosen], np.array(wrong)
    print(f"{len(chosen)} of {len(drawn)} captions")
    for weight in (0.0, 0.25, 0.5, 1.0):
        steered = questions - weight * np.array([away[name] for name in unwanted])
        steered /= np.linalg.norm(steered, axis=1, keepdims=True)
        found = scene[np.argsort(-(steered @ images.T), axis=1)[:, :10]]
        gone = (found == unwanted[:, None]).sum(axis=1).mean()
        kept = (found == asked[:, None]).sum(axis=1).mean()
        print(f"weight {weight}: of the subtracted scene {gone:.2f}, of the asked one {kept:.2f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
