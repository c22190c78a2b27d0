"""JSON Lines: any pairs, one object a line; and places, the same without an image.

`{"image": "images/a.jpg", "captions": ["...", "..."]}` with "lon", "lat", "place", "view" and
"split" where they are known; image paths are relative to the file. Blank lines are skipped, other
keys are ignored.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ngcg_cli.datasets.pairs import Pair, Place
from ngcg_cli.datasets.text import clean, file_name, shown
from ngcg_cli.errors import DataError

EXPECTED = 'JSON Lines: {"image": "...", "captions": ["...", ...]} a line'
EXPECTED_PLACES = 'JSON Lines: {"captions": ["...", ...], "lon": degrees, "lat": degrees} a line'


def load(
    path: Path, images: Path | None = None, split: str | None = None, *, bare: bool = False
) -> list[Pair]:
    """Pairs of a JSON Lines file, one an image, in file order.

    Lines that name the same image become one pair with all their captions; they must agree on
    everything else. With `split`, only lines whose "split" equals it. With
    `bare`, a line may lack captions.
    """
    root = images or path.parent
    pairs: dict[str, Pair] = {}
    first_line: dict[str, int] = {}
    for number, row in _selected(path, split):
        where = f"{path}:{number}"
        if "image" not in row:
            raise DataError(
                f'no "image" among its keys ({_keys(row)})', where=where, hint=_hint(EXPECTED)
            )
        name = file_name(row["image"], "image", where)
        lon, lat = _position(row, where, required=False)
        new = Pair(
            image=root / name,
            captions=() if bare and "captions" not in row else _captions(row, where),
            name=name,
            place=_word(row, "place", where),
            lon=lon,
            lat=lat,
            view=_word(row, "view", where),
        )
        old = pairs.get(name)
        if old is not None:
            if (old.place, old.lon, old.lat, old.view) != (new.place, lon, lat, new.view):
                raise DataError(
                    f"{name!r} has another place, position or view than on line {first_line[name]}",
                    where=where,
                )
            new = Pair(old.image, old.captions + new.captions, name, old.place, lon, lat, old.view)
        pairs[name] = new
        first_line.setdefault(name, number)
    return list(pairs.values())


def load_places(path: Path, split: str | None = None) -> list[Place]:
    """Places of a JSON Lines file: every line has "captions", "lon" and "lat".

    A line may add "true_at": [[lon, lat], ...], the other places of which its captions are true.
    """
    places = []
    for number, row in _selected(path, split):
        where = f"{path}:{number}"
        lon, lat = _position(row, where, required=True)
        assert lon is not None
        assert lat is not None
        points = {(lon, lat): None}  # a dict keeps the order and drops repeats
        for point in _true_at(row, where):
            points[point] = None
        places.append(Place(captions=_captions(row, where), points=tuple(points)))
    return places


def has_images(path: Path) -> bool:
    """Whether the lines of a JSON Lines file name images (judged by the first)."""
    return "image" in next(rows(path))[1]


def rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number, object) of every line that is not blank; DataError names file and line."""
    empty = True
    try:
        with path.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                empty = False
                yield number, _object(line, f"{path}:{number}")
    except UnicodeDecodeError as error:
        raise DataError(f"not UTF-8 text ({error.reason})", where=path) from None
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})", where=path) from None
    if empty:
        raise DataError("no lines", where=path, hint=_hint(EXPECTED))


def _object(line: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"not JSON ({error})", where=where, hint=_hint(EXPECTED)) from None
    if not isinstance(row, dict):
        raise DataError(
            f"expected an object, found {type(row).__name__}", where=where, hint=_hint(EXPECTED)
        )
    return row


def _selected(path: Path, split: str | None) -> Iterator[tuple[int, dict[str, Any]]]:
    found: set[str] = set()
    selected = False
    for number, row in rows(path):
        if split is None or row.get("split") == split:
            selected = True
            yield number, row
        else:
            found.add(str(row.get("split")))
    if not selected:
        raise DataError(
            f'no line has "split": "{split}"',
            where=path,
            hint=f"Found: {', '.join(sorted(found))}",
        )


def _captions(row: dict[str, Any], where: str) -> tuple[str, ...]:
    if "captions" not in row:
        raise DataError(
            f'no "captions" among its keys ({_keys(row)})',
            where=where,
            hint=f"{_hint(EXPECTED)}; only `ngcg train --teacher` learns from bare images.",
        )
    captions = row["captions"]
    if isinstance(captions, str):
        captions = [captions]
    if not isinstance(captions, list) or not captions:
        raise DataError('"captions" is not a list of sentences', where=where)
    for caption in captions:
        if not isinstance(caption, str) or not caption.strip():
            raise DataError(f'"captions" holds {shown(caption)}, not a sentence', where=where)
    return tuple(clean(caption, where) for caption in captions)


def _position(
    row: dict[str, Any], where: str, *, required: bool
) -> tuple[float | None, float | None]:
    lon, lat = row.get("lon"), row.get("lat")
    if lon is None and lat is None and not required:
        return None, None
    if lon is None or lat is None:
        missing = '"lon"' if lon is None else '"lat"'
        raise DataError(
            f"no {missing} among its keys ({_keys(row)})",
            where=where,
            hint=_hint(EXPECTED_PLACES) if required else 'Give both "lon" and "lat", or neither',
        )
    return _degrees(lon, 180.0, '"lon"', where), _degrees(lat, 90.0, '"lat"', where)


def _true_at(row: dict[str, Any], where: str) -> Iterator[tuple[float, float]]:
    points = row.get("true_at") or []
    if not isinstance(points, list):
        raise DataError('"true_at" is not a list of [lon, lat]', where=where)
    for point in points:
        if not isinstance(point, list) or len(point) != 2:
            raise DataError(f'"true_at" holds {shown(point)}, not [lon, lat]', where=where)
        yield (
            _degrees(point[0], 180.0, '"true_at" longitude', where),
            _degrees(point[1], 90.0, '"true_at" latitude', where),
        )


def _degrees(value: Any, limit: float, name: str, where: str) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    # A whole number may be too large for a float, and NaN is within no limits.
    if not number or not -limit <= value <= limit:
        raise DataError(f"{name} is {shown(value)}, not degrees within ±{limit:g}", where=where)
    return float(value)


def _word(row: dict[str, Any], key: str, where: str) -> str | None:
    value = row.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise DataError(f'"{key}" is {shown(value)}, not a name', where=where)
    return clean(str(value), where)


def _keys(row: dict[str, Any]) -> str:
    names = [str(key)[:40] for key in row]
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "") if names else "none"


def _hint(expected: str) -> str:
    return f"Expected {expected}"
