"""A page of hits and misses as pictures: what a model finds first for each of some queries.

    python -m examples.tiny.measures.hits OUT.png --index INDEX "a roundabout" "a red-roofed house"
    python -m examples.tiny.measures.hits OUT.png --images rsicd150/val "boats in a harbour"

From an index each hit is cut from its raster. From a folder with `captions.jsonl` the gallery is
its images, and a scene in brackets behind a query ("a marina [Port]") frames right hits in green,
and wrong ones in red.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import typer

from examples.tiny.script import script
from ngcg_cli.datasets.images import read_image
from ngcg_cli.encoder.checkpoint import load_encoder
from ngcg_cli.raster import Raster, Window
from ngcg_cli.search import TileIndex


class Shown(NamedTuple):
    """A hit as a picture, its score, and whether it is right (None: not known)."""

    picture: np.ndarray
    score: float
    right: bool | None


def main(
    out: Annotated[Path, typer.Argument(help="The PNG to write.")],
    queries: Annotated[list[str], typer.Argument(help="Queries, perhaps with a [Scene].")],
    index: Annotated[Path | None, typer.Option(help="An index to search.")] = None,
    images: Annotated[Path | None, typer.Option(help="Folder with captions.jsonl.")] = None,
    model: Annotated[str, typer.Option(help="Name or folder, with --images.")] = "tiny",
    top: Annotated[int, typer.Option(help="Hits a query.")] = 6,
) -> None:
    """Write the page."""
    wanted = [re.fullmatch(r"(.*?)\s*(?:\[(\w+)\])?", query) for query in queries]
    texts = [match[1] for match in wanted if match]
    scenes = [match[2] for match in wanted if match]
    if images is not None:
        rows = _from_images(images, texts, scenes, model, top)
    else:
        rows = _from_index(index or Path("ngcg-index"), texts, top)
    _page(texts, rows, out)


def _from_images(
    folder: Path, texts: list[str], scenes: list[str | None], model: str, top: int
) -> list[list[Shown]]:
    from examples.tiny.measures.paraphrases import gallery

    files, scene_of = gallery(folder)
    encoder = load_encoder(model)
    pictures = [read_image(file) for file in files]
    scores = encoder.encode_texts(texts) @ encoder.encode_images(pictures).T
    best = np.argsort(-scores, axis=1, kind="stable")[:, :top]
    return [
        [
            Shown(pictures[n], scores[row, n], None if scene is None else scene_of[n] == scene)
            for n in own.tolist()
        ]
        for row, (own, scene) in enumerate(zip(best, scenes, strict=True))
    ]


def _from_index(path: Path, texts: list[str], top: int) -> list[list[Shown]]:
    index = TileIndex.open(path)
    encoder = load_encoder(index.model.name)
    rows = []
    for hits in index.search(encoder.encode_texts(texts), top):
        row = []
        for hit in hits:
            with Raster.open(hit.source) as raster:
                picture, _ = raster.read(Window(*hit.window), max_side=256)
            row.append(Shown(picture, hit.score, None))
        rows.append(row)
    return rows


def _page(texts: list[str], rows: list[list[Shown]], out: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    across = max(map(len, rows))
    figure, grid = plt.subplots(
        len(rows), across, figsize=(1.5 * across, 1.75 * len(rows)), squeeze=False
    )
    for text, row, axes in zip(texts, rows, grid, strict=True):
        for axis in axes:
            axis.set_axis_off()
        for axis, shown in zip(axes, row, strict=False):
            axis.set_axis_on()
            axis.imshow(shown.picture)
            axis.set_xticks([])
            axis.set_yticks([])
            axis.set_xlabel(f"{shown.score:.2f}", fontsize=7, labelpad=1)
            if shown.right is not None:
                for spine in axis.spines.values():
                    spine.set(color="tab:green" if shown.right else "tab:red", linewidth=2.5)
        axes[0].set_title(text, fontsize=8, loc="left")
    figure.tight_layout(pad=0.4)
    figure.savefig(out, dpi=90)


if __name__ == "__main__":
    script(main)
