"""Words for statements: several natural phrasings of each key."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np


class Caption(NamedTuple):
    """A sentence and the statement keys it makes; it is true where all of them are."""

    text: str
    keys: tuple[str, ...]


NUMBERS = ["no", "one", "two", "three", "four", "five"]
MANY = ["many", "several", "a lot of", "lots of"]
NOUNS: dict[str, list[tuple[str, str]]] = {
    "house": [("house", "houses"), ("home", "homes")],
    "building": [("building", "buildings")],
    "warehouse": [("warehouse", "warehouses"), ("large flat-roofed building",
                  "large flat-roofed buildings"), ("industrial building", "industrial buildings")],
    "apartments": [("apartment building", "apartment buildings"),
                   ("apartment block", "apartment blocks"), ("tall building", "tall buildings")],
    "church": [("church", "churches"), ("cross-shaped church", "cross-shaped churches")],
    "school": [("school", "schools")],
    "terminal": [("terminal building", "terminal buildings"), ("airport terminal",
                 "airport terminals")],
    "hangar": [("hangar", "hangars")],
    "roundabout": [("roundabout", "roundabouts"), ("traffic circle", "traffic circles")],
    "crossroads": [("crossroads", "crossroads"), ("crossing of two roads", "road crossings"),
                   ("four-way intersection", "four-way intersections")],
    "tjunction": [("T-junction", "T-junctions"), ("three-way junction", "three-way junctions")],
    "road": [("road", "roads"), ("street", "streets")],
    "railway": [("railway", "railways"), ("railway line", "railway lines"), ("rail track",
                "rail tracks")],
    "train": [("train", "trains")],
    "car_park": [("car park", "car parks"), ("parking lot", "parking lots")],
    "football": [("football field", "football fields"), ("football pitch", "football pitches"),
                 ("soccer field", "soccer fields")],
    "running_track": [("running track", "running tracks"), ("athletics track",
                      "athletics tracks"), ("sports ground with a running track",
                      "sports grounds with running tracks")],
    "tennis": [("tennis court", "tennis courts")],
    "baseball": [("baseball field", "baseball fields"), ("baseball diamond",
                 "baseball diamonds")],
    "pond": [("pond", "ponds")],
    "lake": [("lake", "lakes")],
    "river": [("river", "rivers")],
    "bridge": [("bridge", "bridges")],
    "harbour": [("harbour", "harbours"), ("marina", "marinas"), ("harbour basin",
                "harbour basins")],
    "boat": [("boat", "boats")],
    "ship": [("ship", "ships"), ("large boat", "large boats")],
    "beach": [("beach", "beaches"), ("sandy beach", "sandy beaches")],
    "sea": [("sea", "seas")],
    "field": [("field", "fields"), ("farm field", "farm fields"), ("piece of farmland",
              "pieces of farmland")],
    "woods": [("wood", "woods"), ("forest", "forests"), ("patch of dense trees",
              "patches of dense trees")],
    "orchard": [("orchard", "orchards"), ("plantation of trees in rows",
                "plantations of trees in rows")],
    "tank": [("storage tank", "storage tanks"), ("round tank", "round tanks")],
    "runway": [("runway", "runways"), ("airport runway", "airport runways")],
    "plane": [("plane", "planes"), ("airplane", "airplanes"), ("aircraft", "aircraft")],
    "pool": [("swimming pool", "swimming pools"), ("pool", "pools")],
    "solar": [("solar farm", "solar farms"), ("field of solar panels",
              "fields of solar panels")],
    "greenhouse": [("greenhouse", "greenhouses")],
    "bareland": [("piece of bare land", "pieces of bare land"), ("patch of bare ground",
                 "patches of bare ground")],
    "car": [("car", "cars"), ("vehicle", "vehicles")],
}  # fmt: skip
ROOFED = frozenset({"house", "building", "warehouse", "apartments", "church", "school",
                    "terminal", "hangar"})  # fmt: skip
UNIQUE = frozenset({"sea"})
GREY = {"grey": ["grey", "gray"]}
SIDES = {
    "left": ["to the left of", "left of", "west of", "on the left side of"],
    "right": ["to the right of", "right of", "east of", "on the right side of"],
    "north": ["north of", "above", "to the north of"],
    "south": ["south of", "below", "to the south of"],
}


class Speaker:
    """Phrases statements, with choices drawn from `rng`."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def pick(self, options: list[str]) -> str:
        """One of `options`."""
        return options[int(self.rng.integers(len(options)))]

    def noun(self, kind: str, colour: str, plural: bool) -> str:
        """A noun with its colour, without an article."""
        options = NOUNS[kind]
        k = 0 if self.rng.random() < 0.6 else int(self.rng.integers(len(options)))
        word = options[k][1 if plural else 0]
        if not colour:
            return word
        colour = self.pick(GREY.get(colour, [colour]))
        if kind not in ROOFED:
            return f"{colour} {word}"
        if plural:
            return self.pick([f"{colour}-roofed {word}", f"{word} with {colour} roofs",
                              f"{word} with {colour} roofs"])  # fmt: skip
        return self.pick([f"{colour}-roofed {word}", f"{colour}-roofed {word}",
                          f"{word} with a {colour} roof"])  # fmt: skip

    def one(self, kind: str, colour: str = "") -> str:
        """`a red-roofed house`, `the sea`."""
        if kind in UNIQUE:
            return f"the {kind}"
        word = self.noun(kind, colour, False)
        return f"{'an' if word[0] in 'aeio' else 'a'} {word}"

    def some(self, kind: str, colour: str, n: str) -> tuple[str, bool]:
        """A counted noun and whether it is plural; `n` is a digit or `many`."""
        if n == "1":
            word = self.noun(kind, colour, False)
            if self.rng.random() < 0.25:
                return f"one {word}", False
            return f"{'an' if word[0] in 'aeio' else 'a'} {word}", False
        count = self.pick(MANY) if n == "many" else NUMBERS[int(n)]
        return f"{count} {self.noun(kind, colour, True)}", True

    def say(self, key: str) -> str:
        """A sentence or noun phrase that makes the statement `key`, lower case, no full stop."""
        verb, *rest = key.split("|")
        return _SAY[verb](self, rest)

    def caption(self, *keys: str) -> Caption:
        """One caption of one or two statements."""
        parts = [self.say(k) for k in keys]
        return Caption(self.pick([", and ", " and ", "; "]).join(parts), tuple(keys))


def _exists(s: Speaker, thing: str, plural: bool) -> str:
    be = "are" if plural else "is"
    return s.pick([f"there {be} {thing}", thing, thing, f"{thing} can be seen",
                   f"{thing} {be} visible from above", f"the image shows {thing}"])  # fmt: skip


def _has(s: Speaker, f: list[str]) -> str:
    return _exists(s, s.one(f[0], f[1]), False)


def _count(s: Speaker, f: list[str]) -> str:
    kind, colour, n = f[0], f[1], f[2] if len(f) > 2 else "many"
    thing, plural = s.some(kind, colour, n)
    if kind == "tank" and s.rng.random() < 0.4:
        return f"{thing} {'stand' if plural else 'stands'} {s.pick(['in this place', 'here'])}"
    if kind == "house" and plural and s.rng.random() < 0.3:
        return s.pick([f"a residential area with {thing}", f"a neighbourhood of {thing}"])
    return _exists(s, thing, plural)


def _near(s: Speaker, f: list[str]) -> str:
    a, b = s.one(f[0], f[1]), s.one(f[2], f[3])
    if f[0] in ("road", "river", "railway") and s.rng.random() < 0.5:
        return s.pick([f"{a} runs past {b}", f"{a} passes {b}"])
    if f[0::2] == ["train", "railway"]:
        return s.pick([f"{a} on {b}", f"{a} runs on {b}", f"{b} with {a} on it"])
    if f[0::2] == ["football", "running_track"]:
        return s.pick([f"{a} inside {b}", f"{b} around {a}", f"{a} is surrounded by {b}"])
    near = s.pick(["beside", "next to", "near", "close to", "beside", "by"])
    return s.pick([f"{a} {near} {b}", f"{a} is {near} {b}", f"there is {a} {near} {b}",
                   f"{a} {near} {b}", f"{a} stands {near} {b}" if f[0] in ROOFED
                   else f"{a} lies {near} {b}", f"{b} with {a} beside it"])  # fmt: skip


def _side(s: Speaker, f: list[str]) -> str:
    a, b = s.one(f[0], f[1]), s.one(f[2], f[3])
    where = s.pick(SIDES[f[4]])
    return s.pick([f"{a} is {where} {b}", f"{a} {where} {b}", f"{where} {b} there is {a}"])


def _between(s: Speaker, f: list[str]) -> str:
    a, b, c = s.one(f[0]), s.one(f[2]), s.one(f[4])
    if s.rng.random() < 0.5:
        b, c = c, b
    return s.pick([f"{a} between {b} and {c}", f"{a} lies between {b} and {c}",
                   f"between {b} and {c} there is {a}"])  # fmt: skip


def _surrounded(s: Speaker, f: list[str]) -> str:
    a = s.one(f[0], f[1])
    by = {"woods": ["woods", "trees", "forest", "dense trees"],
          "field": ["fields", "farmland", "farm fields"]}[f[2]]  # fmt: skip
    return s.pick([f"{a} surrounded by {s.pick(by)}", f"{a} is surrounded by {s.pick(by)}",
                   f"{a} in the middle of {s.pick(by)}"])  # fmt: skip


def _crosses(s: Speaker, f: list[str]) -> str:
    over = s.one(f[2])
    return s.pick([f"a bridge crosses {over}", f"a bridge over {over}",
                   f"a road crosses {over} on a bridge", f"{over} passes under a bridge",
                   f"{over} with a bridge over it",
                   f"there is a bridge across {over}"])  # fmt: skip


def _fill(s: Speaker, f: list[str]) -> str:
    place = s.pick(["car park", "parking lot"])
    return {
        "full": lambda: s.pick([f"a {place} full of cars", f"a full {place}",
                                f"many cars are parked in a {place}", f"a crowded {place}"]),
        "half": lambda: s.pick([f"a half-empty {place}", f"a half-full {place}",
                                f"some cars are parked in a {place}"]),
        "empty": lambda: s.pick([f"an empty {place}", f"a {place} without cars",
                                 f"there are no cars in the {place}"]),
    }[f[1]]()  # fmt: skip


def _shape(s: Speaker, f: list[str]) -> str:
    word = {"straight": ["straight"], "curved": ["curved", "winding", "bending"],
            "wide": ["wide", "broad", "dual carriageway"]}[f[1]]  # fmt: skip
    w = s.pick(word)
    thing = (
        "a dual carriageway" if w == "dual carriageway" else f"a {w} {s.pick(['road', 'street'])}"
    )
    return s.pick([thing, f"there is {thing}", f"{thing} runs through the picture"])


def _cover(s: Speaker, f: list[str]) -> str:
    kind, colour = f[0], f[1]
    if kind == "woods":
        return s.pick(["a dense forest", "mostly forest", "dense trees cover the ground",
                       "a large wood seen from above", "many green trees in a forest"])  # fmt: skip
    thing = s.noun(kind, colour, False)
    if kind == "field":
        return s.pick([f"a large {thing}", f"{colour} farmland".strip(), f"a wide {thing}"])
    return s.pick([f"mostly {s.one(kind, colour)}", f"a large {thing}",
                   f"{s.one(kind, colour)} fills most of the picture"])  # fmt: skip


def _line(s: Speaker, f: list[str]) -> str:
    road = f"{f[3]} road".strip()
    things = s.noun(f[0], f[1], True)
    return s.pick([f"{things} along a {road}", f"{things} line a {road}",
                   f"a {road} lined with {things}",
                   f"a row of {things} beside a {road}"])  # fmt: skip


def _moored(s: Speaker, f: list[str]) -> str:
    thing, plural = s.some("boat", s.pick(["", "", "white"]), f[0])
    be, port = "are" if plural else "is", s.pick(["harbour", "marina", "harbour basin", "port"])
    return s.pick([f"{thing} {be} moored in a {port}", f"{thing} in a {port}",
                   f"a {port} with {thing}", f"{thing} {be} moored at the jetties of a {port}"
                   if plural else f"{thing} lies in a {port}"])  # fmt: skip


def _parked(s: Speaker, f: list[str]) -> str:
    thing, plural = s.some("plane", s.pick(["", "", "white"]), f[0])
    be = "are" if plural else "is"
    spot = s.pick(["an airfield", "an airport", "the apron of an airport"])
    return s.pick([f"{thing} {be} parked on {spot}", f"{thing} on {spot}",
                   f"{spot} with {thing}"])  # fmt: skip


_SAY: dict[str, Callable[[Speaker, list[str]], str]] = {
    "has": _has, "count": _count, "many": _count, "near": _near, "side": _side,
    "between": _between, "surrounded": _surrounded, "crosses": _crosses, "fill": _fill,
    "shape": _shape, "cover": _cover, "line": _line, "moored": _moored, "parked": _parked,
}  # fmt: skip


def paraphrases(key: str, rng: np.random.Generator, count: int) -> list[Caption]:
    """Up to `count` distinct phrasings of one statement."""
    speaker = Speaker(rng)
    out: dict[str, Caption] = {}
    for _ in range(count * 6):
        said = speaker.caption(key)
        out.setdefault(said.text, said)
        if len(out) == count:
            break
    return list(out.values())


def weight(key: str) -> float:
    """How much a statement is worth saying in a tile's captions."""
    verb, *f = key.split("|")
    worth = {"has": 0.25, "count": 1.2, "many": 1.0, "near": 1.0, "side": 1.2, "between": 1.6,
             "surrounded": 2.0, "crosses": 2.5, "fill": 1.6, "shape": 0.25, "cover": 1.2,
             "line": 1.4, "moored": 2.2, "parked": 2.2}[verb]  # fmt: skip
    if verb in ("near", "side", "has", "count") and f[0] in ("road", "woods"):
        worth *= 0.3
    if f[0] == "building" and (len(f) < 2 or not f[1]):
        worth *= 0.3
    if verb in ("near", "side") and f[2] in ("road", "woods"):
        worth *= 0.6
    colours = {"near": (1, 3), "side": (1, 3)}.get(verb, (1,))
    if verb in ("near", "side", "has", "count", "many", "line"):
        worth *= 1 + 0.8 * sum(bool(f[i]) for i in colours)
    return worth


def captions(keys: Iterable[str], rng: np.random.Generator, count: int, focus: Iterable[str] = ()
             ) -> list[Caption]:  # fmt: skip
    """`count` distinct captions drawn from true statements, those about `focus` kinds first."""
    pool = sorted(keys)
    wanted = set(focus)
    worth = np.array([weight(k) * (4.0 if wanted & set(k.split("|")[1:]) else 1.0) for k in pool])
    speaker = Speaker(rng)
    out: dict[str, Caption] = {}
    for _ in range(count * 8):
        if not pool or len(out) >= count:
            break
        first = int(rng.choice(len(pool), p=worth / worth.sum()))
        chosen = [pool[first]]
        if len(pool) > 1 and rng.random() < 0.35:
            second = pool[int(rng.choice(len(pool), p=worth / worth.sum()))]
            if second != chosen[0]:
                chosen.append(second)
        said = speaker.caption(*chosen)
        out.setdefault(said.text, said)
        worth[first] *= 0.35 if weight(pool[first]) > 0.6 else 0.1
    return list(out.values())
