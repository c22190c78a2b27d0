"""Two captions of a drawn tile that differ in one attribute: one is true of it, the other false.

The true caption says a statement that the tile's vector model proves; the false one is the same
sentence with one word changed, and the model proves that nothing in view makes it true: no thing
of that kind has the other colour, the count is another, the things lie on the other side.

    python -m examples.tiny.stages.contrasts OUT --count 8000

draws training tiles with all that can be contrasted in them; `attributes.py` measures on tiles of
other seeds.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import shapely

from examples.town.captions import NOUNS, NUMBERS, ROOFED, SIDES, Speaker, weight
from examples.town.scene import Feature, Scene, Window
from examples.town.statements import BUILDINGS, SILENT, View, describe, truths
from examples.town.tiles import Tile, make_tile

KINDS = ("roof colour", "other colour", "count", "left or right", "above or below")
#: Colours that a kind is drawn in; with others the sentence alone would give the false one away.
COLOURS = {
    "house": ("red", "grey", "blue", "white", "brown", "green"),
    "building": ("red", "grey", "blue", "white", "brown", "green"),
    "warehouse": ("white", "grey", "blue", "red", "green"),
    "apartments": ("grey", "white", "brown"),
    "church": ("red", "grey", "brown"),
    "terminal": ("white", "grey", "blue"),
    "field": ("green", "yellow", "brown"),
    "tennis": ("green", "blue", "red"),
    "train": ("red", "blue", "white"),
}
_OPPOSITE = {"left": "right", "right": "left", "north": "south", "south": "north"}
_GREY = re.compile(r"\bgray\b")

#: Combinations that training never names (see `taught`): the words are known, not together.
KEPT_OUT_COLOURS = (("warehouse", "blue"), ("house", "white"))
KEPT_OUT_COUNTS = (("plane", 3), ("tank", 2))
KEPT_OUT_SIDES = (("pond", "road"), ("tank", "road"))


#: In the words of `side`: where in the picture all things of a kind lie (only trained on).
PLACES = {
    "left": ("on the left", "on the left side", "in the west"),
    "right": ("on the right", "on the right side", "in the east"),
    "north": ("at the top", "in the upper part", "in the north"),
    "south": ("at the bottom", "in the lower part", "in the south"),
}
#: A thing is at a side of the picture when it lies within this share of its width or height.
_ASIDE = 0.42


class Swap(NamedTuple):
    """A true statement, what of it can be changed (one of KINDS), and to what it becomes false."""

    key: str
    kind: str
    value: str
    other: str

    @property
    def false(self) -> str:
        """The key of the statement that is not true."""
        fields = self.key.split("|")
        fields[field_of(self.kind)] = self.other
        return "|".join(fields)


def field_of(kind: str) -> int:
    """Where in a statement's key the value stands that a kind of attribute changes."""
    return 2 if kind.endswith("colour") else -1


class Contrast(NamedTuple):
    """What differs (one of KINDS), the true and the false caption, and the two values."""

    kind: str
    true: str
    false: str
    values: tuple[str, str]


def contrasts(tile: Tile, rng: np.random.Generator) -> Iterator[Contrast]:
    """One contrast of each kind that the tile allows, about a statement worth saying."""
    options: dict[str, list[Swap]] = {kind: [] for kind in KINDS}
    shown = in_view(tile.scene, tile.window)
    for key in sorted(truths(tile.scene, tile.window)):
        for swap in _swaps(key, shown):
            options[swap[0]].append(Swap(key, *swap))
    for kind, found in options.items():
        if found:
            worth = np.array([weight(swap.key) for swap in found])
            chosen = found[int(rng.choice(len(found), p=worth / worth.sum()))]
            texts = said(chosen, Speaker(rng))
            if texts is not None:
                yield Contrast(kind, *texts, (chosen.value, chosen.other))


def swaps(tile: Tile, keys: Iterable[str]) -> list[Swap]:
    """Everything that can be contrasted in a tile with these true statements, in a fixed order."""
    shown = in_view(tile.scene, tile.window)
    found = {Swap(key, *swap) for key in keys for swap in _swaps(key, shown)}
    return sorted(found) + sorted(_placed(tile))


def _placed(tile: Tile) -> Iterator[Swap]:
    """`at|A|left`: every visible A lies in the left part of the picture."""
    seen, window = View(tile.scene, tile.window), tile.window
    for group, members in seen.groups.items():
        if group[0] in SILENT or not seen.sure(group):
            continue
        points = [geometry.representative_point() for _, geometry in members]
        x = np.array([(point.x - window.west) / window.width for point in points])
        y = np.array([(point.y - window.south) / window.height for point in points])
        for where, low, high in (("left or right", "left", "right"),
                                 ("above or below", "south", "north")):  # fmt: skip
            along = x if low == "left" else y
            if along.max() < _ASIDE:
                yield Swap(f"at|{describe(group)}|{low}", where, low, high)
            elif along.min() > 1 - _ASIDE:
                yield Swap(f"at|{describe(group)}|{high}", where, high, low)


def said(swap: Swap, speaker: Speaker) -> tuple[str, str] | None:
    """The statement and its false twin in the same words; None if the words do not allow it."""
    if swap.key.startswith("at|"):
        _, kind, colour, _ = swap.key.split("|")
        thing, way = speaker.one(kind, colour), int(speaker.rng.integers(3))
        form = speaker.pick(["{0} {1}", "{1} there is {0}", "there is {0} {1}"])
        return (form.format(thing, PLACES[swap.value][way]),
                form.format(thing, PLACES[swap.other][way]))  # fmt: skip
    true = _GREY.sub("grey", speaker.say(swap.key))
    false = _swapped(true, swap.kind, swap.value, swap.other)
    return None if false is None else (true, false)


def in_view(scene: Scene, window: Window) -> list[Feature]:
    """Features of which any part shows in the window."""
    geoms = np.array([feature.geom for feature in scene.features], dtype=object)
    seen = shapely.intersects(geoms, shapely.box(*window))
    return [feature for feature, in_sight in zip(scene.features, seen, strict=True) if in_sight]


def _swaps(key: str, shown: list[Feature]) -> Iterator[tuple[str, str, str]]:
    """(kind, value, other value) of every attribute of a true statement that can be made false."""
    verb, *f = key.split("|")
    if verb in ("has", "near", "side", "cover") and f[1] and not any(f[3:4]):
        others = {feature.colour for feature in shown if _is(feature, f[0])}
        kind = "roof colour" if f[0] in ROOFED else "other colour"
        for other in COLOURS.get(f[0], ()):
            if other not in others and f[1] in COLOURS[f[0]]:
                yield kind, f[1], other
    if verb in ("count", "moored", "parked") and f[-1].isdigit():
        for near in (int(f[-1]) - 1, int(f[-1]) + 1):
            if 2 <= int(f[-1]) <= 5 and 2 <= near <= 5:
                yield "count", f[-1], str(near)
    if verb == "side":
        kind = "left or right" if f[4] in ("left", "right") else "above or below"
        yield kind, f[4], _OPPOSITE[f[4]]


def _is(feature: Feature, kind: str) -> bool:
    return feature.kind == kind or (kind == "building" and feature.kind in BUILDINGS)


def _swapped(text: str, kind: str, value: str, other: str) -> str | None:
    """`text` with the one mention of `value` changed; None if there is not just one."""
    if kind.endswith("colour"):
        pairs = [(value, other)]
    elif kind == "count":
        pairs = [(NUMBERS[int(value)], NUMBERS[int(other)])]
    else:
        # Longest first: `left of` is part of `to the left of`.
        pairs = sorted(zip(SIDES[value], SIDES[other], strict=True), key=lambda p: -len(p[0]))
    for old, new in pairs:
        changed, times = re.subn(rf"\b{old}\b", new, text)
        if times:
            return changed if times == 1 else None
    return None


def taught(text: str) -> bool:
    """Whether a caption may be trained on: it names no combination that is kept out."""
    for kind, colour in KEPT_OUT_COLOURS:
        nouns = _nouns(kind)
        if re.search(rf"\b{colour}-roofed {nouns}\b|\b{nouns} with (an? )?{colour} roof", text):
            return False
    for kind, count in KEPT_OUT_COUNTS:
        if re.search(rf"\b{NUMBERS[count]} (\w+ )?{_nouns(kind)}\b", text):
            return False
    sides = "|".join(side for options in SIDES.values() for side in options)
    for first, second in KEPT_OUT_SIDES:
        a, b = _nouns(first), _nouns(second)
        for part in re.split(r"; |,? and ", text):
            named = re.search(rf"\b{a}\b", part) and re.search(rf"\b{b}\b", part)
            if named and re.search(rf"\b({sides})\b", part):
                return False
    return True


def _nouns(kind: str) -> str:
    words = sorted((w for pair in NOUNS[kind] for w in pair), key=len, reverse=True)
    return f"({'|'.join(words)})"


def draw(seed: int, size: int) -> tuple[np.ndarray, list[Contrast]]:
    """The tile of `seed`, (size, size, 3) uint8, and its contrasts."""
    tile = make_tile(seed, size)
    return tile.image, list(contrasts(tile, np.random.default_rng([seed, 9])))


def write(
    folder: Path,
    seeds: range,
    size: int = 150,
    make: Callable[[int, int], Tile] = make_tile,
) -> None:
    """Draw the tiles of `seeds` with `make` into `folder`, going on where it was stopped.

    `images.npy` is uint8 (N, size, size, 3); line n of `facts.jsonl` is of image n: `seed`,
    `captions` (those that are `taught`), `truths` (keys of every true statement) and `swaps`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    images, lines = folder / "images.npy", folder / "facts.jsonl"
    shape = (len(seeds), size, size, 3)
    if images.exists():
        store = np.lib.format.open_memmap(images, mode="r+")
        if store.shape != shape:
            raise ValueError(f"{images} holds {store.shape}, not {shape}")
    else:
        store = np.lib.format.open_memmap(images, mode="w+", dtype=np.uint8, shape=shape)
    done = len(lines.read_text().splitlines()) if lines.exists() else 0
    with lines.open("a") as out:
        for row, seed in enumerate(seeds):
            if row < done:
                continue
            tile = make(seed, size)
            store[row] = tile.image
            captions = [caption.text for caption in tile.captions if taught(caption.text)]
            keys = sorted(truths(tile.scene, tile.window))
            fact = {"seed": seed, "captions": captions, "swaps": swaps(tile, keys), "truths": keys}
            out.write(json.dumps(fact) + "\n")
            out.flush()


@dataclass(frozen=True)
class Facts:
    """What is known of a drawn tile: its captions, its true statements' keys, its swaps."""

    captions: list[str]
    truths: frozenset[str]
    swaps: list[Swap]


def read_facts(folder: Path) -> tuple[np.ndarray, list[Facts]]:
    """What `write` left: the images, memory-mapped, and the facts of each."""
    images = np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)
    facts = []
    # The same few thousand statements are true of many tiles: each is held once.
    statements: dict[str, str] = {}
    known: dict[Swap, Swap] = {}
    with (folder / "facts.jsonl").open() as lines:
        for line in lines:
            row = json.loads(line)
            swaps = (Swap(*swap) for swap in row["swaps"])
            own = [known.setdefault(swap, swap) for swap in swaps]
            keys = (*row["truths"], *(swap.key for swap in own))
            truths = frozenset(statements.setdefault(key, key) for key in keys)
            facts.append(Facts(row["captions"], truths, own))
    return images, facts


def main() -> None:
    """Command line of `write`."""
    parser = argparse.ArgumentParser(description="Draw tiles with true and false captions.")
    parser.add_argument("out", type=Path, help="folder to write")
    parser.add_argument("--count", type=int, default=8000, help="how many tiles")
    parser.add_argument("--seed0", type=int, default=2_000_000, help="seed of the first")
    args = parser.parse_args()
    write(args.out, range(args.seed0, args.seed0 + args.count))


if __name__ == "__main__":
    main()
