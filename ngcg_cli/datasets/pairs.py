"""What a data set is made of: images with their captions, or places with their captions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Pair:
    """One image and the captions that describe it.

    Attributes:
        image: the image file; it is opened by `load_image`, not before.
        captions: at least one, but for images that a teacher alone describes (`load_pairs`' bare).
        name: the image as the data set's own file names it (relative, forward slashes).
        place: pairs of one place are correct answers to each other, and never negatives in
            training: GeoText's building, CVG-Text's position, JSON Lines' own "place".
        lon, lat: position in degrees, WGS 84, where the data set knows it.
        view: "drone", "satellite" or "ground" (GeoText-1652), "panorama" or "single_view"
            (CVG-Text: the street view that the caption was written for), or JSON Lines' "view".
    """

    image: Path
    captions: tuple[str, ...]
    name: str
    place: str | None = None
    lon: float | None = None
    lat: float | None = None
    view: str | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Captions of a place on the map; they are queries, and no image belongs to them.

    Attributes:
        captions: at least one.
        points: every (lon, lat) of which the captions are true, in degrees, WGS 84; the row's own
            "lon" and "lat" come first, the others come from its "true_at".
    """

    captions: tuple[str, ...]
    points: tuple[tuple[float, float], ...]


def data_fingerprint(pairs: Iterable[Pair]) -> str:
    """A hex digest that changes when the data does: names, captions, positions, file sizes.

    It is the same wherever the data set lies and whenever it was copied there, so that a
    checkpoint can say what it was trained on. A missing file counts as size -1.
    """
    digest = hashlib.sha256()
    for pair in pairs:
        row = [pair.name, pair.captions, pair.place, pair.lon, pair.lat, pair.view]
        digest.update(json.dumps([*row, _size(pair.image)], ensure_ascii=True).encode())
        digest.update(b"\n")
    return digest.hexdigest()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1
