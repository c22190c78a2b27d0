"""Sentences beside pictures that have none: they hold a student's texts to its teacher's.

Both sides of an encoder share weights, so a student that is shown pictures alone moves its texts
too, and nothing says whereto. An anchor is any sentence. The teacher says how near each picture and
each other sentence is to it; it need not be true of a picture.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ngcg_cli.errors import DataError

#: What is seen from above, and said of it: singular and plural.
_THINGS = """
airport/airports, runway/runways, plane/planes, hangar/hangars, terminal/terminals,
helipad/helipads, harbour/harbours, boat/boats, ship/ships, jetty/jetties, pier/piers, dock/docks,
marina/marinas, container terminal/container terminals, crane/cranes, beach/beaches, coast/coasts,
wave/waves, island/islands, river/rivers, stream/streams, canal/canals, lake/lakes, pond/ponds,
reservoir/reservoirs, dam/dams, swamp/swamps, sandbank/sandbanks, bridge/bridges, viaduct/viaducts,
road/roads, motorway/motorways, crossroads/junctions, roundabout/roundabouts, path/paths,
dirt track/dirt tracks, railway/railways, railway station/railway stations, train/trains,
car/cars, lorry/lorries, bus station/bus stations, parking lot/parking lots,
petrol station/petrol stations, house/houses, villa/villas, block of flats/blocks of flats,
terraced house/terraced houses, tower/towers, skyscraper/skyscrapers,
office building/office buildings,
hotel/hotels, resort/resorts, swimming pool/swimming pools, school/schools, campus/campuses,
hospital/hospitals, church/churches, mosque/mosques, temple/temples, castle/castles, square/squares,
market/markets, shopping centre/shopping centres, warehouse/warehouses, factory/factories,
chimney/chimneys, cooling tower/cooling towers, storage tank/storage tanks,
power plant/power plants, substation/substations, power line/power lines,
solar panel/solar panels, wind turbine/wind turbines, quarry/quarries, mine/mines,
building site/building sites, landfill/landfills, sewage works/sewage works,
stadium/stadiums, football pitch/football pitches, running track/running tracks,
tennis court/tennis courts, basketball court/basketball courts, baseball field/baseball fields,
golf course/golf courses, playground/playgrounds, park/parks, garden/gardens, fountain/fountains,
cemetery/cemeteries, lawn/lawns, tree/trees, row of trees/rows of trees, forest/forests,
orchard/orchards, vineyard/vineyards, plantation/plantations, greenhouse/greenhouses, farm/farms,
field/fields, ploughed field/ploughed fields, circular field/circular fields, meadow/meadows,
pasture/pastures, barn/barns, silo/silos, desert/deserts, dune/dunes,
bare patch/patches of bare ground,
rock/rocks, cliff/cliffs, hill/hills, mountain/mountains, ridge/ridges, valley/valleys,
glacier/glaciers, snow-covered slope/snow-covered slopes, volcano/volcanoes, ruin/ruins,
village/villages, town/towns, slum/slums, camp/camps, caravan site/caravan sites
"""
_KINDS = (
    "large", "small", "long", "narrow", "wide", "round", "old", "new", "white", "grey", "green",
    "brown", "blue", "yellow", "red-roofed", "crowded", "empty", "irregular",
)  # fmt: skip
_COUNTS = ("two", "three", "four", "several", "some", "many", "lots of", "a few")
#: {a}, {b}, {c}: one thing; {n}: several of them.
_SAYINGS = (
    "{a}",
    "{n}",
    "{a} and {b}",
    "{a} beside {b}",
    "{a} near {n}",
    "{n} around {a}",
    "{n} next to {a}",
    "{a} surrounded by {n}",
    "{n} on both sides of {a}",
    "{a} between {n} and {b}",
    "{n} in a row",
    "{n} and {b} near {a}",
    "{a} with {n} in it",
    "there is {a} in the middle",
    "there are {n} here",
    "an aerial view of {a}",
    "{a} in front of {b}",
    "{n} are scattered around {a}",
    "{a} without any {p}",
    "{a} is close to {b} and {c}",
    "the {s} is next to {n}",
)


class Anchors:
    """A stock of sentences to draw from.

    Args:
        path: a text file, a sentence a line; None for sentences made of what is seen from above.

    Raises:
        DataError: the file cannot be read, or holds no sentence.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.lines = () if path is None else _lines(path)
        self._things = [
            tuple(name.strip().split("/")) for name in _THINGS.replace("\n", " ").split(",")
        ]

    @property
    def fingerprint(self) -> str:
        """Hex SHA-256 of what may be drawn."""
        held: object = self.lines or (self._things, _KINDS, _COUNTS, _SAYINGS)
        return hashlib.sha256(repr(held).encode()).hexdigest()

    def draw(self, rng: np.random.Generator) -> str:
        """A sentence; equal states of `rng` give equal ones."""
        if self.lines:
            return self.lines[int(rng.integers(len(self.lines)))]
        saying = _choice(_SAYINGS, rng)
        singular, plural = (self._things[int(rng.integers(len(self._things)))] for _ in "12")
        return saying.format(
            a=self._one(rng),
            b=self._one(rng),
            c=self._one(rng),
            n=f"{_choice(_COUNTS, rng)} {plural[1]}",
            p=plural[1],
            s=singular[0],
        )

    def _one(self, rng: np.random.Generator) -> str:
        name = self._things[int(rng.integers(len(self._things)))][0]
        if rng.random() < 0.4:
            name = f"{_choice(_KINDS, rng)} {name}"
        return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _choice(words: Sequence[str], rng: np.random.Generator) -> str:
    return words[int(rng.integers(len(words)))]


def _lines(path: Path) -> tuple[str, ...]:
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise DataError(f"cannot be read ({error})", where=path) from error
    kept = tuple(line.strip() for line in lines if line.strip())
    if not kept:
        raise DataError("holds no sentence", where=path, hint="A sentence a line.")
    return kept
