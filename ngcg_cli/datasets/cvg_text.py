"""CVG-Text: street-view descriptions against satellite or OpenStreetMap tiles of one place.

Source: the data set's repository (yejy53/CVG-Text). `{version}/{split}.json` is an object of image
file name -> description; a version is a city (panoramas), `city-photos` (single views), or
`city-mixed`, which has no files of its own and is both. Tiles lie in `{version}-satellite` and
`{version}-OSM`. File names begin `LAT,LON`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ngcg_cli.choices import ImageType
from ngcg_cli.datasets.pairs import Pair
from ngcg_cli.datasets.text import clean, file_name, shown
from ngcg_cli.errors import DataError

EXPECTED = (
    "a CVG-Text directory: VERSION/train.json and VERSION/test.json (objects of image file name "
    "to description, names beginning LAT,LON) beside VERSION-satellite/ or VERSION-OSM/"
)
ANNOTATION = "annotation"
_FOLDERS: dict[str, tuple[str, ...]] = {"sat": ("satellite",), "osm": ("OSM", "osm")}
_POSITION = re.compile(r"([-+]?\d+(?:\.\d+)?),([-+]?\d+(?:\.\d+)?)")
_NOT_VERSIONS = ("-satellite", "-OSM", "-osm", "-ground", "-photo")


def position_of(file_name: str) -> tuple[float, float] | None:
    """(lat, lon) in degrees from the start of a file name; None when it does not hold one."""
    match = _POSITION.match(file_name)
    if match is None:
        return None
    lat, lon = float(match[1]), float(match[2])
    return (lat, lon) if abs(lat) <= 90 and abs(lon) <= 180 else None


def view_of(file_name: str) -> str:
    """ "panorama" when the name has more than two parts between underscores, else "single_view"."""
    return "panorama" if file_name.count("_") > 1 else "single_view"


def place_of(lat: float, lon: float) -> str:
    """The position as text, to the 7 decimals that the protocol compares."""
    return f"{lat:.7f},{lon:.7f}"


def versions_at(path: Path) -> list[Path]:
    """The version folders that `path` means; empty when it is no CVG-Text directory.

    `path` is a version folder, `city-mixed` (both of the city's, also when no folder has that
    name), or the folder that holds versions (all of them). As published, versions lie in a folder
    `annotation` of the data set's own; it need not be named.
    """
    inner = _versions(path)
    if not inner and path.name != ANNOTATION:
        inner = _versions(path / ANNOTATION) or _versions(path.parent / ANNOTATION / path.name)
    return inner


def _versions(path: Path) -> list[Path]:
    if path.name.endswith("-mixed"):
        city = path.with_name(path.name.removesuffix("-mixed"))
        both = [v for v in (city, city.with_name(f"{city.name}-photos")) if _is_version(v)]
        if both:
            return both
    if _is_version(path):
        return [path]
    if not path.is_dir():
        return []
    found = [v for v in sorted(path.iterdir()) if _is_version(v)]
    unmixed = {v.name for v in found if not v.name.endswith("-mixed")}
    return [v for v in found if v.name in unmixed or v.name.removesuffix("-mixed") not in unmixed]


def load(
    versions: list[Path],
    split: str,
    read: Any,
    images: Path | None = None,
    image_type: ImageType = "sat",
) -> list[Pair]:
    """Pairs of the versions' split, one a file name, in file order.

    Args:
        versions: folders from `versions_at`.
        split: "train" or "test", or the name of another JSON file there.
        read: function from a path to its parsed JSON.
        images: where the image folders lie, when not beside the versions.
        image_type: "sat" or "osm".
    """
    pairs: list[Pair] = []
    for version in versions:
        annotation = version / f"{split}.json"
        if not annotation.is_file():
            have = sorted(p.stem for p in version.glob("*.json"))
            raise DataError(
                f"no split {split!r}", where=version, hint=f"It has {', '.join(have) or 'none'}"
            )
        data = read(annotation)
        folder = _image_folder(version, images, image_type, single=len(versions) == 1)
        pairs += _pairs(data, annotation, folder)
    return pairs


def _pairs(data: Any, annotation: Path, folder: Path) -> list[Pair]:
    if not isinstance(data, dict) or not data:
        raise DataError("expected an object of image file name to description", where=annotation)
    pairs = []
    where = str(annotation)
    for name, caption in data.items():
        if not isinstance(caption, str):
            raise DataError(
                f"the description of {shown(name)} is {type(caption).__name__}, not text",
                where=where,
            )
        file_name(name, "image", where)
        position = position_of(Path(name).name)
        if position is None:
            raise DataError(f"the file name {shown(name)} does not begin LAT,LON", where=where)
        lat, lon = position
        pairs.append(
            Pair(
                image=folder / name,
                captions=(clean(caption, where),),
                name=f"{folder.name}/{name}",
                place=place_of(lat, lon),
                lon=lon,
                lat=lat,
                view=view_of(Path(name).name),
            )
        )
    return pairs


def _is_version(path: Path) -> bool:
    return (
        path.is_dir()
        and not path.name.endswith(_NOT_VERSIONS)
        and any((path / f"{split}.json").is_file() for split in ("train", "test"))
    )


def _image_folder(version: Path, images: Path | None, kind: ImageType, *, single: bool) -> Path:
    """Where the version's tiles lie: under --images, beside the version, or in `images` or
    `reference` (as published) nearby."""
    root = version.resolve().parent
    folders = ("", "images", "reference")
    bases = [images] if images else [r / name for r in (root, root.parent) for name in folders]
    names = [f"{version.resolve().name}-{suffix}" for suffix in _FOLDERS[kind]]
    for base in bases:
        for name in names:
            if (base / name).is_dir():
                return base / name
    if images is not None and single and images.is_dir():
        return images
    raise DataError(
        f"no folder {names[0]}",
        where=images or root,
        hint="Name the folder that holds it with --images, or choose --image-type sat|osm",
    )
