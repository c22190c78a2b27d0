"""What `tiny` learns from: photographs, with captions and without.

All images are kept as one uint8 array of 150 x 150 px RGB per part, on disk as plain npy, so that
a training batch is a slice and not a thousand JPEG decodings.
"""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 150


@dataclass(frozen=True)
class Part:
    """Images of one origin, with their captions.

    Attributes:
        images: uint8 RGB of shape (N, 150, 150, 3), memory-mapped.
        captions: N tuples of sentences.
        scenes: N names of their scenes.
        names: N names of their files, as the archive's listing has them.
    """

    images: np.ndarray
    captions: list[tuple[str, ...]]
    scenes: list[str]
    names: list[str]


def unlabelled(archive: Path, cache: Path) -> np.ndarray:
    """The images of a tar file, without captions: uint8 RGB (N, 150, 150, 3), memory-mapped."""
    path = cache / "images.npy"
    if not path.exists():
        images = [_rgb(data) for name, data in sorted(_contents(archive).items())
                  if name.endswith(".jpg")]  # fmt: skip
        cache.mkdir(parents=True, exist_ok=True)
        part = cache / "images.part.npy"
        np.save(part, np.stack(images))
        part.rename(path)
    return np.load(path, mmap_mode="r", allow_pickle=False)


def pieces(archive: Path, cache: Path, count: int) -> np.ndarray:
    """`count` pieces of each larger image of a tar file: uint8 RGB (N, 150, 150, 3).

    A piece is a square of 150 px or more, so that each shows other ground at another scale.
    """
    path = cache / "images.npy"
    if not path.exists():
        rng = np.random.default_rng(5)
        cut = []
        for _, data in sorted(_contents(archive).items()):
            image = Image.open(io.BytesIO(data)).convert("RGB")
            for _ in range(count):
                side = int(rng.integers(SIDE, min(image.size) + 1))
                left = int(rng.integers(0, image.width - side + 1))
                top = int(rng.integers(0, image.height - side + 1))
                piece = image.crop((left, top, left + side, top + side))
                cut.append(np.asarray(piece.resize((SIDE, SIDE), Image.Resampling.LANCZOS)))
        cache.mkdir(parents=True, exist_ok=True)
        part = cache / "images.part.npy"
        np.save(part, np.stack(cut))
        part.rename(path)
    return np.load(path, mmap_mode="r", allow_pickle=False)


def more_captions(listing: Path, split: str) -> dict[str, tuple[str, ...]]:
    """Captions by image of a JSON Lines file with `image`, `split` and `captions`."""
    lines = (json.loads(line) for line in listing.read_text().splitlines())
    return {row["image"]: tuple(row["captions"]) for row in lines if row["split"] == split}


def _contents(archive: Path) -> dict[str, bytes]:
    with tarfile.open(archive) as tar:
        files = {m.name: tar.extractfile(m) for m in tar.getmembers() if m.isfile()}
        return {name: stream.read() for name, stream in files.items() if stream}


def _rgb(data: bytes) -> np.ndarray:
    image = Image.open(io.BytesIO(data)).convert("RGB")
    if image.size != (SIDE, SIDE):
        image = image.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    return np.asarray(image)


def _store(
    folder: Path,
    images: list[np.ndarray],
    captions: list[tuple[str, ...]],
    scenes: list[str],
    names: list[str],
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "images.npy", np.stack(images))
    (folder / "scenes.json").write_text(json.dumps(scenes))
    (folder / "names.json").write_text(json.dumps(names))
    # Written last: its presence says that the part is whole.
    (folder / "captions.json").write_text(json.dumps(captions))


def _load(folder: Path) -> Part:
    captions = [tuple(c) for c in json.loads((folder / "captions.json").read_text())]
    scenes = json.loads((folder / "scenes.json").read_text())
    images = np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)
    names = json.loads((folder / "names.json").read_text())
    return Part(images, captions, scenes, names)


def photographs(archive: Path, cache: Path) -> Part:
    """The images of a tar file with a `captions.jsonl` that names image, captions and scene."""
    if not (cache / "captions.json").exists():
        contents = _contents(archive)
        listing = next(name for name in contents if name.endswith("captions.jsonl"))
        root = listing.removesuffix("captions.jsonl")
        rows = [json.loads(line) for line in contents[listing].decode().splitlines()]
        _store(
            cache,
            [_rgb(contents[root + row["image"]]) for row in rows],
            [tuple(row["captions"]) for row in rows],
            [row["scene"] for row in rows],
            [row["image"] for row in rows],
        )
    return _load(cache)
