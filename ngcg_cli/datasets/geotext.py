"""GeoText-1652: drone, satellite and ground images of university buildings.

Source: the data set's repository (MultimodalGeo/GeoText-1652). An annotation file is a list of
`{"image_id": "0839/image-43.jpeg", "image": "train/0839/image-43.jpeg", "caption": ...}`, where
"caption" is a sentence in train.json and a list of them in the test files; "sentences" and
"bboxes" are not used here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from ngcg_cli.datasets.pairs import Pair
from ngcg_cli.datasets.text import clean, file_name, shown
from ngcg_cli.errors import DataError

EXPECTED = (
    'a GeoText-1652 annotation file: a JSON list of {"image_id", "image", "caption"}, '
    "such as train.json or test_951_version.json"
)
# The splits of the data set's own folder; "test" is the full one that papers report.
SPLIT_FILES = {
    "train": "train.json",
    "test": "test_951_version.json",
    "test-24g": "test_24G_version.json",
}
_VIEW_WORDS = {
    "drone": "drone",
    "satellite": "satellite",
    "ground": "ground",
    "street": "ground",
}


def view_of(image: str, building: str) -> str:
    """Which camera took the image: "drone", "satellite" or "ground", told from its path.

    A word in the path decides (the last one, as `query_drone/0839/image-01.jpeg`); otherwise the
    file names of University-1652, from which the images come: `image-NN` is a drone's, the
    building's own number is the satellite's, anything else was taken from the street.
    """
    words = [word for word in re.findall(r"[a-z]+", image.lower()) if word in _VIEW_WORDS]
    if words:
        return _VIEW_WORDS[words[-1]]
    stem = PurePosixPath(image).stem
    if re.fullmatch(r"image-?\d+", stem):
        return "drone"
    return "satellite" if stem == building else "ground"


def load(data: Any, path: Path, images: Path | None = None) -> list[Pair]:
    """Pairs of an annotation file that was read to `data`, one an image, in file order.

    Entries of one image (train.json has one a caption) become one pair with all its captions.
    Images are looked for under `images`, else beside the file or in its `images` folder.
    """
    if not isinstance(data, list):
        raise DataError(f"expected {EXPECTED}", where=path)
    root: Path | None = None
    captions: dict[str, list[str]] = {}
    buildings: dict[str, str] = {}
    for number, entry in enumerate(data):
        name, building, texts = _entry(entry, path, number)
        if root is None:
            root = _root(name, path, images)
        captions.setdefault(name, []).extend(texts)
        buildings[name] = building
    if root is None:
        raise DataError("the list is empty", where=path, hint=f"Expected {EXPECTED}")
    return [
        Pair(
            image=root / name,
            captions=tuple(texts),
            name=name,
            place=buildings[name],
            view=view_of(name, buildings[name]),
        )
        for name, texts in captions.items()
    ]


def split_file(directory: Path, split: str) -> Path:
    """The annotation file of a split in the data set's folder; DataError when there is none."""
    name = SPLIT_FILES.get(split, f"{split}.json")
    if not (directory / name).is_file():
        have = sorted(p.name for p in directory.glob("*.json"))
        raise DataError(
            f"no split {split!r} ({name} is missing)",
            where=directory,
            hint=f"The folder holds {', '.join(have) or 'no annotation file'}",
        )
    return directory / name


def _entry(entry: Any, path: Path, number: int) -> tuple[str, str, Sequence[str]]:
    where = f"{path}, entry {number + 1}"
    if not isinstance(entry, dict):
        raise DataError(f"expected an object, found {type(entry).__name__}", where=where)
    for key in ("image_id", "image", "caption"):
        if key not in entry:
            raise DataError(
                f'no "{key}" among its keys ({", ".join(sorted(entry)) or "none"})',
                where=where,
                hint=f"Expected {EXPECTED}",
            )
    image_id, name, caption = entry["image_id"], entry["image"], entry["caption"]
    texts = [caption] if isinstance(caption, str) else caption
    if not isinstance(texts, list) or not texts or not all(isinstance(t, str) for t in texts):
        raise DataError('"caption" is neither a sentence nor a list of sentences', where=where)
    name = file_name(name, "image", where)
    if not isinstance(image_id, str) or len(image_id) < 4:
        raise DataError(
            f'"image_id" ({shown(image_id)}) must begin with the four characters of the building',
            where=where,
        )
    return name, clean(image_id[:4], where), [clean(text, where) for text in texts]


def _root(name: str, path: Path, images: Path | None) -> Path:
    """The folder that image names are relative to, judged by the first image."""
    base = images or path.parent
    return base / "images" if not (base / name).exists() and (base / "images").is_dir() else base
