"""Which data set is this, and load it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any

from ngcg_cli.choices import DataFormat, ImageType
from ngcg_cli.datasets import cvg_text, geotext, json_lines
from ngcg_cli.datasets.pairs import Pair
from ngcg_cli.errors import DataError

_EXPECTED = {
    "jsonl": json_lines.EXPECTED,
    "geotext": geotext.EXPECTED,
    "cvg-text": cvg_text.EXPECTED,
}


def load_pairs(
    path: Path | str,
    data_format: DataFormat = "auto",
    *,
    images: Path | None = None,
    split: str | None = None,
    default_split: str = "train",
    views: Collection[str] = (),
    image_type: ImageType = "sat",
    bare: bool = False,
) -> list[Pair]:
    """Load a data set: every image once, with all its captions, in the data set's order.

    Args:
        path: a JSON Lines file, a GeoText-1652 annotation file, or a CVG-Text directory; also a
            folder with one `.jsonl` file, GeoText's own folder, or one CVG-Text annotation file.
        data_format: "auto" looks at the content.
        images: the folder that image paths are relative to, when not beside the annotations.
        split: "train", "test", ...; for a file, it is ignored by GeoText-1652 (a file is a split)
            and selects lines by their "split" in JSON Lines.
        default_split: the split of a folder when `split` is None.
        views: keep only pairs with one of these views; empty keeps all.
        image_type: CVG-Text's tiles, "sat" or "osm".
        bare: lines of JSON Lines may lack captions.

    Returns:
        At least one pair. No image has been opened or looked for.

    Raises:
        DataError: the path is missing, or is not of the format (it says what was expected and
            what was found), or a line is malformed (with its number), or nothing is left.
    """
    path = Path(path)
    if images is not None and not images.is_dir():
        raise DataError("no such folder of images", where=images)
    kind = detect_format(path) if data_format == "auto" else data_format
    folder_split = split or default_split
    if kind == "jsonl":
        pairs = json_lines.load(_lines_file(path), images, split, bare=bare)
    elif kind == "geotext":
        file = geotext.split_file(path, folder_split) if path.is_dir() else path
        if not file.is_file() or _first_character(file) != "[":
            raise _wrong("geotext", path)
        pairs = geotext.load(_read_json(file), file, images)
    else:
        versions = [path.parent] if _is_one_object(path) else cvg_text.versions_at(path)
        if not versions:
            raise _wrong("cvg-text", path)
        folder_split = path.stem if path.is_file() else folder_split
        pairs = cvg_text.load(versions, folder_split, _read_json, images, image_type)
    return _with_views(pairs, views, path)


def detect_format(path: Path | str) -> DataFormat:
    """ "jsonl", "geotext" or "cvg-text", judged by the content; DataError when it is neither."""
    path = Path(path)
    if path.is_dir() or (not path.exists() and cvg_text.versions_at(path)):
        annotations = [path / name for name in geotext.SPLIT_FILES.values()]
        if any(file.is_file() and _first_character(file) == "[" for file in annotations):
            return "geotext"
        if cvg_text.versions_at(path):
            return "cvg-text"
        if len(list(path.glob("*.jsonl"))) == 1:
            return "jsonl"
    elif path.is_file():
        if path.suffix.lower() in (".jsonl", ".ndjson"):
            return "jsonl"
        start = _first_character(path)
        if start == "[":
            return "geotext"
        if start == "{":
            return "cvg-text" if _is_one_object(path) else "jsonl"
    else:
        raise DataError("no such file or folder", where=path)
    expected = "; or ".join(_EXPECTED.values())
    raise DataError(f"found {describe(path)}", where=path, hint=f"Expected {expected}")


def describe(path: Path) -> str:
    """What lies at `path`, in a few words, for messages."""
    if path.is_dir():
        names = sorted(p.name + "/" * p.is_dir() for p in path.iterdir())
        shown = ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
        return f"a folder with {shown}" if names else "an empty folder"
    if not path.is_file():
        return "nothing"
    if path.stat().st_size == 0:
        return "an empty file"
    start = _first_character(path)
    if start == "{":
        return "JSON Lines" if _first_line_is_object(path) else "a JSON object"
    return "a JSON list" if start == "[" else f"no JSON ({path.suffix or 'no suffix'})"


def _wrong(expected: str, path: Path) -> DataError:
    return DataError(
        f"expected {_EXPECTED[expected]}; found {describe(path)}",
        where=path,
        hint="Leave out --data-format to have it recognised",
    )


def _lines_file(path: Path) -> Path:
    """The JSON Lines file that is meant: itself, or the only one of a folder."""
    if path.is_file():
        if _first_character(path) == "[":
            raise _wrong("jsonl", path)
        return path
    files = sorted(path.glob("*.jsonl"))
    if len(files) != 1:
        raise _wrong("jsonl", path)
    return files[0]


def _first_character(path: Path) -> str:
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            while block := file.read(4096):
                if block := block.lstrip():
                    return block[0]
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})", where=path) from None
    return ""


def _first_line_is_object(path: Path) -> bool:
    """Whether the first line that is not blank is one whole JSON object of a pair or a place.

    An object of file name to description on one line is CVG-Text, not JSON Lines.
    """
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        line = next((text for text in file if text.strip()), "")
    try:
        row = json.loads(line)
    except ValueError:
        return False
    return isinstance(row, dict) and bool({"image", "captions", "lon", "lat"} & row.keys())


def _is_one_object(path: Path) -> bool:
    return path.is_file() and _first_character(path) == "{" and not _first_line_is_object(path)


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})", where=path) from None
    except UnicodeDecodeError as error:
        raise DataError(f"not UTF-8 text ({error.reason})", where=path) from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"not JSON ({error})", where=path) from None


def _with_views(pairs: list[Pair], views: Collection[str], path: Path) -> list[Pair]:
    if not views:
        return pairs
    kept = [pair for pair in pairs if pair.view in views]
    if not kept:
        have = Counter(pair.view or "none" for pair in pairs)
        found = ", ".join(f"{view} ({count})" for view, count in sorted(have.items()))
        raise DataError(f"no image of view {', '.join(views)}", where=path, hint=f"It has {found}")
    return kept
