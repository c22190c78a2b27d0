"""Sentences in the style of captions and queries, filled from a vocabulary of mapped features.

A small grammar: every `[symbol]` of a line is replaced by one of its options, until none is left.
The styles are those of RSICD ("many trees are in two sides of a road"), GeoText-1652 and CVG-Text
("on the left there is ..."), the drawn tiles ("a red-roofed building beside a roundabout"), and
what people type into a search box.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

GRAMMAR: dict[str, list[str]] = {
    "sentence": [
        "[one] [near] [one]", "[one] [near] [one]", "[one] is [near] [one]",
        "there is [one] [near] [one]", "[one] [near] [one] and [one]", "[view] [one]",
        "[view] [one] [near] [one]", "[view] [some]", "[one] is [side of] [one]",
        "[one] [side of] [one]", "[side of] [one] there is [one]", "[place] there is [one]",
        "[place] there are [some]", "[place] of the [image], [one]; [place], [one]",
        "[one] between [one] and [one]", "[one] surrounded by [plenty]",
        "[one] is surrounded by [plenty]", "[some] [near] [one]", "[some] are [near] [one]",
        "[some] and [some] are around [one]", "[some] are in two sides of [one]",
        "[some] are in two sides of [one] with [some]", "[one] with [some] [near] it",
        "[one] with [some]", "[many] [things] are in [one]", "[one] in the middle of [one]",
        "it is a [piece] of [shade] [ground]", "a [piece] of [shade] [ground] with [some]",
        "[shade] [ground]", "[thing]", "[things]", "[one]", "[some]", "[some] and [some]",
        "[exact] [things] in a row", "[exact] [things]", "[exact] [colour] [things]",
        "[roofed]", "[roofed] [near] [one]", "[roofed] [side of] [one]", "[roofs] along [way]",
        "[exact] [building]s with [colour] roofs", "a row of [roofs] [near] [one]",
        "[way] lined with [things]", "[way] passes [one]", "[way] runs past [some]",
        "[way] crosses [way]", "[one] where [way] meets [way]", "[way] leads to [one]",
        "[some] parked [near] [one]", "[one] without any [things]", "[one] full of [things]",
        "an empty [thing]", "a [shape] [thing]", "a [shape] [thing] [near] [one]",
        "a [size], [shape] [thing] [place] of the [image]", "[view] a [shape] [thing]",
        "the [image] shows [one], [one] and [one]", "the [image] shows [one] with [some]",
        "the [thing] is [shape] and [colour]",
        "the [ground] is [shade] and the [things] are [colour]",
        "[city] with [some]", "[city] [near] [one]", "[view] [city]", "[one] in [city]",
        "in the center of the [image] is a [size] [building] with a [colour] roof, and [place] "
        "there is [one]",
        "the [building] is [shape], with [some] in front of it and [one] behind it",
        "a street with [some] on the left and [one] on the right, [near] [one]",
        "in front of the [building] there is [one], and to its [hand] [some]",
        "where is [one]", "find [one] [near] [one]", "[one] at a bend of [way]",
        "[one] at the edge of [one]", "[one] on a slope above [one]", "[one] seen from above",
    ],
    "one": [
        "a [thing]", "a [thing]", "a [thing]", "a [colour] [thing]", "a [size] [thing]",
        "a [size] [colour] [thing]", "a [shape] [thing]", "[way]", "a [piece] of [ground]",
        "[roofed]",
    ],
    "some": [
        "[many] [things]", "[many] [things]", "[exact] [things]", "[exact] [colour] [things]",
        "[many] [colour] [things]", "[many] [size] [things]", "[roofs]", "rows of [things]",
    ],
    "plenty": ["[many] [things]", "trees", "fields", "houses", "water", "dense trees", "[ground]",
               "[things]", "[things] and [things]"],
    "roofed": ["a [colour]-roofed [building]", "a [building] with a [colour] roof",
               "a [size] [building] with a [colour] roof", "a [shape] [building]",
               "a [size] [colour]-roofed [building]"],
    "roofs": ["[colour]-roofed [building]s", "[building]s with [colour] roofs",
              "[size] [building]s", "[building]s with [colour] and [colour] roofs"],
    "city": ["a residential area", "a neighbourhood", "a district", "a village", "a town",
             "an industrial zone", "the outskirts of a town", "a suburb", "open country",
             "a valley",
             "a coastal town", "farm country", "a block of houses", "a city block"],
    "view": ["aerial photo of", "an aerial view of", "a drone view of", "a satellite image of",
             "an overhead picture of", "a bird's-eye view of", "a view from above of",
             "orthophoto with", "a picture of", "the image shows"],
    "image": ["image", "picture", "photo", "view", "scene"],
    "place": ["on the left", "on the right", "at the top", "at the bottom", "in the middle",
              "in the centre", "in the upper left", "in the upper right", "in the lower left",
              "in the lower right", "in the corner", "to the north", "to the south", "to the east",
              "to the west", "in the northwest", "in the southeast", "along the edge"],
    "hand": ["left", "right", "north", "south", "east", "west"],
    "near": ["beside", "next to", "near", "close to", "by", "opposite", "in front of", "behind",
             "across from", "at the foot of", "a short way from", "not far from", "adjacent to",
             "alongside", "facing", "touching"],
    "side of": ["left of", "right of", "to the left of", "to the right of", "north of", "south of",
                "east of", "west of", "above", "below", "on the left side of",
                "on the right side of", "on the far side of"],
    "many": ["many", "several", "some", "a few", "lots of", "a lot of", "numerous", "dozens of",
             "a cluster of", "scattered", "a group of", "countless"],
    "exact": ["two", "three", "four", "five", "six", "seven", "eight", "ten", "2", "3", "4",
              "a pair of"],
    "size": ["small", "large", "big", "tiny", "huge", "long", "wide", "narrow", "tall", "low",
             "short", "broad", "vast", "little", "old", "new", "modern", "abandoned"],
    "colour": ["red", "blue", "white", "grey", "gray", "green", "brown", "yellow", "orange",
               "black",
               "dark", "light", "beige", "khaki", "silver", "pink", "turquoise", "rust-coloured",
               "dark green", "light blue", "pale", "bright"],
    "shade": ["green", "brown", "yellow", "bare", "dry", "wet", "flat", "dense", "smooth", "rough",
              "khaki", "white", "dark", "bright", "open", "sparse", "wavy", "endless"],
    "shape": ["round", "circular", "oval", "square", "rectangular", "triangular", "curved",
              "straight", "winding", "l-shaped", "u-shaped", "h-shaped", "cross-shaped",
              "star-shaped",
              "ring-shaped", "irregular", "hexagonal", "octagonal", "semicircular", "elongated",
              "diamond-shaped", "horseshoe-shaped", "fan-shaped", "symmetrical"],
    "piece": ["piece", "patch", "stretch", "strip", "field", "wide area", "large expanse",
              "corner"],
    "way": ["a road", "a street", "a straight road", "a curved road", "a river", "a railway",
            "a wide road", "a path", "a highway", "a motorway", "a canal", "a stream",
            "a narrow lane",
            "a dirt track", "a winding river", "a dual carriageway", "a crossroads", "a roundabout",
            "a bridge", "a footpath", "a railway line", "an avenue", "the shore", "the coast"],
    "ground": ["grass", "sand", "soil", "forest", "farmland", "water", "meadow", "lawn", "desert",
               "bare land", "woods", "rock", "gravel", "concrete", "asphalt", "snow", "mud",
               "scrub",
               "crops", "wetland", "heath", "ocean", "orchard", "vineyard", "earth", "dunes"],
    "building": ["house", "building", "warehouse", "apartment building", "church", "school",
                 "hangar", "hall", "factory", "terminal building", "barn", "shed", "villa", "hotel",
                 "tower", "office building", "skyscraper", "bungalow", "farmhouse", "hospital",
                 "shop", "garage", "mosque", "temple", "palace", "station building"],
}  # fmt: skip
# What captions are about, beside the mapped features.
EVERYDAY = (
    "house", "building", "tree", "car", "road", "boat", "ship", "plane", "truck", "bus", "train",
    "parking lot", "car park", "swimming pool", "tennis court", "football field", "soccer pitch",
    "baseball field", "basketball court", "running track", "playground", "stadium", "bridge",
    "viaduct", "overpass", "roundabout", "crossroads", "t-junction", "runway", "airport", "harbour",
    "port", "beach", "pond", "lake", "river", "forest", "meadow", "field", "mountain", "desert",
    "park",
    "square", "church", "school", "factory", "storage tank", "railway station", "resort", "farm",
    "greenhouse", "solar panel", "wind turbine", "warehouse", "crane", "container", "jetty", "pier",
    "island", "garden", "orchard", "lawn", "fountain", "statue", "tower", "chimney", "silo", "dam",
    "quarry", "fence", "wall", "pavement", "sidewalk", "bench", "street lamp", "traffic light",
    "people", "hill", "valley", "cliff", "wave", "rock", "ditch", "hedge", "bush", "palm tree",
)  # fmt: skip
_SLOT = re.compile(r"\[([a-z ]+)\]")
_MASS = frozenset({
    "people", "grass", "farmland", "sand", "water", "woods", "scrub", "heath", "mud", "grassland",
    "wood", "forest", "land", "parking", "vegetation", "shingle", "rock", "debris", "snow",
    "ground",
    "shrubbery", "bedrock", "gravel", "aircraft", "housing", "fencing", "turf",
})  # fmt: skip


def filled(things: Sequence[str], rng: np.random.Generator, count: int) -> Iterator[str]:
    """`count` sentences; half of their things come from `things`, the others are everyday ones."""
    grammar: Mapping[str, Sequence[str]] = GRAMMAR
    for _ in range(count):
        text = "[sentence]"
        while slot := _SLOT.search(text):
            symbol = slot[1]
            if symbol in ("thing", "things"):
                pool = things if rng.random() < 0.5 else EVERYDAY
                word = pool[int(rng.integers(len(pool)))]
                word = plural(word) if symbol == "things" else word
            else:
                word = grammar[symbol][int(rng.integers(len(grammar[symbol])))]
            text = text[: slot.start()] + word + text[slot.end() :]
        yield articled(text)


def plural(noun: str) -> str:
    """`church` to `churches`; what cannot be counted stays."""
    last = noun.split()[-1]
    if last in _MASS or (last.endswith("s") and not last.endswith("ss")):
        return noun
    if re.search(r"[^aeiou]y$", noun):
        return noun[:-1] + "ies"
    return noun + ("es" if re.search(r"(s|x|z|ch|sh)$", noun) else "s")


def articled(text: str) -> str:
    """`a old house` to `an old house`; `a trees` to `trees`."""
    text = re.sub(r"\b(an?) ((?:[\w-]+ )?)(people|trees|woods|steps|stairs|ruins)\b", r"\2\3", text)
    text = re.sub(r"\ba(?= (?:[aeio]|un(?!i)|umb|urb|up|h-shaped))(?! one)", "an", text)
    return text.replace("churchs", "churches").replace("factorys", "factories")
