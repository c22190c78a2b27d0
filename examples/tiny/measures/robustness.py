"""How much recall is left under haze, a colour cast, coarser ground and JPEG.

    python -m examples.tiny.measures.robustness tiny rsicd150/val

Every photograph of the folder is disturbed in the same way and the same captions are asked as of
the clean ones; beside each figure stands what is lost against those, in percent of them.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image

from examples.tiny.script import script
from ngcg_cli.datasets.images import read_image
from ngcg_cli.datasets.json_lines import rows
from ngcg_cli.datasets.pairs import Pair
from ngcg_cli.encoder.checkpoint import load_encoder
from ngcg_cli.evaluation.retrieval import recall

#: White air over the picture: its share of what the sensor sees, and its colour.
HAZE, AIR = 0.45, (205.0, 210.0, 216.0)
#: Gains of red, green and blue: a warm cast, as of a low sun or an uncalibrated camera.
CAST = (1.2, 1.0, 0.75)
JPEG_QUALITY = 40


def haze(image: np.ndarray) -> np.ndarray:
    """uint8 (h, w, 3) through white air."""
    return _bytes(image * (1 - HAZE) + np.array(AIR) * HAZE)


def colour_cast(image: np.ndarray) -> np.ndarray:
    """uint8 (h, w, 3) with other gains of its channels."""
    return _bytes(image * np.array(CAST))


def coarser(image: np.ndarray) -> np.ndarray:
    """uint8 (h, w, 3) with half as many pixels a side: the same ground, twice as coarse."""
    picture = Image.fromarray(image)
    side = (max(1, picture.width // 2), max(1, picture.height // 2))
    return np.asarray(picture.resize(side, Image.Resampling.BOX))


def jpeg(image: np.ndarray) -> np.ndarray:
    """uint8 (h, w, 3) as JPEG of quality 40 leaves it."""
    packed = io.BytesIO()
    Image.fromarray(image).save(packed, "JPEG", quality=JPEG_QUALITY)
    return np.asarray(Image.open(packed).convert("RGB"))


def _bytes(pixels: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)


WAYS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "clean": lambda image: image,
    "haze": haze,
    "colour cast": colour_cast,
    "2x coarser": coarser,
    "JPEG 40": jpeg,
}


def main(
    model: Annotated[str, typer.Argument(help="Name or folder.")],
    data: Annotated[Path, typer.Argument(help="Folder with captions.jsonl and images/.")],
) -> None:
    """Print text-to-image recall (percent), the mean of six recalls and the loss, as JSON."""
    listing = data / "captions.jsonl"
    found = [row for _, row in rows(listing)]
    pairs = [Pair(data / row["image"], tuple(row["captions"]), row["image"]) for row in found]
    images = [read_image(pair.image) for pair in pairs]
    encoder = load_encoder(model)
    texts = encoder.encode_texts([text for pair in pairs for text in pair.captions])
    out: dict[str, dict[str, float]] = {}
    for name, disturbed in WAYS.items():
        vectors = encoder.encode_images([disturbed(image) for image in images])
        figures = recall(pairs, vectors, texts).figures
        out[name] = {**figures["text_to_image"], "mean": figures["mean"]}
        for key in ("R@10", "mean"):
            clean = out["clean"][key]
            out[name][f"{key} lost"] = round(100 * (1 - out[name][key] / clean), 1)
    typer.echo(json.dumps(out, indent=2))


if __name__ == "__main__":
    script(main)
