"""What else the thirty scenes of AID are called: WordNet's words, kinds and definitions of each
scene's own name, and the mapped features that make such a scene.

A caption of RSICD says "airport" and "planes" and little else. Sentences of the scene's lexicon
are true of every picture of it, so they can be shown to the text side as further captions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from examples.tiny.stages.glosses import Synset, below
from examples.tiny.stages.mapped import Mapped
from examples.tiny.stages.templates import articled

# Scene: WordNet senses, each pinned by a word (with `=`, by two of its words) and its file
# (6 artifact, 14 group, 15 location, 17 object, 27 substance), `+` for its kinds, too; and keys of
# mapped features, `/` at the end for all below.
SCENES: dict[str, tuple[str, str]] = {
    "Airport": ("airport/6 airfield/6+ airliner/6 landing strip/6", "aeroway/"),
    "BareLand": ("wasteland/15+ land=dry land/17 land=soil/17",
                 "landuse/brownfield landuse/greenfield natural/bare_rock natural/mud"),
    "BaseballField": ("baseball field/6 ballpark/6 infield/6",
                      "leisure/pitch/baseball leisure/pitch/softball"),
    "Beach": ("beach/17+ seashore/17+", "natural/beach natural/coastline leisure/beach_resort"),
    "Bridge": ("bridge=span/6+", "man_made/bridge highway/road/bridge"),
    "Center": ("civic center/6 concert hall/6 exhibition hall/6",
               "amenity/conference_centre amenity/exhibition_centre amenity/arts_centre "
               "amenity/community_centre amenity/events_venue"),
    "Church": ("church building/6+ chapel/6+ place of worship/6 cathedral/6+",
               "amenity/place_of_worship/christian building/church building/cathedral "
               "building/chapel"),
    "Commercial": ("business district/15 office building/6 skyscraper/6 shopping mall/6 "
                   "department store/6", "landuse/commercial landuse/retail building/office "
                   "building/commercial building/retail"),
    "DenseResidential": ("tenement/6 slum/15 row house/6 housing=lodging/6",
                         "building/terrace building/apartments"),
    "Desert": ("desert/15 dune/17+", "natural/sand"),
    "Farmland": ("farmland/15 farmland/17+ paddy/15 cornfield/15 grainfield/15",
                 "landuse/farmland"),
    "Forest": ("forest/14+ woodland/17+", "natural/wood landuse/forest"),
    "Industrial": ("factory/6+ industrial park/15 warehouse/6+", "landuse/industrial "
                   "man_made/works building/industrial building/warehouse"),
    "Meadow": ("meadow/15 grassland/15+ lawn/15",
               "landuse/meadow landuse/grass natural/grassland"),
    "MediumResidential": ("suburb/15 residential district/15 detached house/6 bungalow/6",
                          "building/detached building/house building/bungalow"),
    "Mountain": ("mountain/17+ ridge=ridgeline/17 mountain range/17 slope/17",
                 "natural/peak natural/ridge"),
    "Park": ("park=commons/15+ park=parkland/15+", "leisure/park"),
    "Parking": ("parking lot/15+", "amenity/parking"),
    "Playground": ("athletic field/15+", "leisure/track leisure/pitch/soccer"),
    "Pond": ("pond/17+ lake/17+", "natural/water/pond natural/water/lake "
             "natural/water/reservoir natural/water/basin"),
    "Port": ("seaport/15+ marina/6 wharf/6 shipyard/6 anchorage/15",
             "leisure/marina man_made/pier waterway/dock man_made/quay"),
    "RailwayStation": ("railway station/6+ railyard/6 railroad track/6",
                       "railway/station public_transport/station_train building/train_station"),
    "Resort": ("resort hotel=resort/15+", "leisure/resort leisure/water_park"),
    "River": ("river/17 stream=watercourse/17+", "waterway/river waterway/stream "
              "natural/water/river"),
    "School": ("schoolhouse/6+ college/6 campus/15 university/6",
               "education/school education/college education/university building/school "
               "building/college building/university"),
    "SparseResidential": ("farmhouse/6 cottage/6 country house/6+",
                          "place/isolated_dwelling building/farm"),
    "Square": ("public square/15+", "place/square"),
    "Stadium": ("stadium/6+", "leisure/stadium building/stadium"),
    "StorageTanks": ("tank=storage tank/6 oil refinery/6 tank farm/15",
                     "man_made/storage_tank man_made/gasometer"),
    "Viaduct": ("viaduct/6 overpass/6 interchange/6+ expressway/6",
                "highway/motorway highway/motorway_link highway/motorway_junction"),
}  # fmt: skip


def lexicon(known: dict[str, Synset], features: Sequence[Mapped]) -> dict[str, list[str]]:
    """Sentences that are true of each scene, in a fixed order.

    Args:
        known: WordNet, from `synsets`.
        features: the mapped features, from `mapped`.
    """
    out = {}
    for scene, (senses, keys) in SCENES.items():
        said = [text for sense in _entries(senses) for text in _glossed(known, sense)]
        for feature in features:
            if any(_under(feature.key, key) for key in keys.split()):
                said += [text for name in feature.names for text in _phrased(name)]
        out[scene] = list(dict.fromkeys(said))
    return out


def _under(key: str, wanted: str) -> bool:
    return key == wanted or (key.startswith(wanted) and wanted.endswith("/"))


def _glossed(known: dict[str, Synset], sense: str) -> Iterator[str]:
    """Names and definitions of `word/file`, `word=word/file`, or with `+` of its kinds, too."""
    pinned, _, file = sense.rstrip("+").partition("/")
    words, depth = set(pinned.split("=")), 2 if sense.endswith("+") else 0
    for key, synset in known.items():
        if synset.lex == int(file) and words <= set(synset.words):
            for kind in below(known, key, depth):
                for name in kind.words:
                    yield from _phrased(name.lower())
                yield kind.definition.lower()


def _entries(text: str) -> list[str]:
    """The senses of a list in which words may hold spaces: each ends with its file's number."""
    out, words = [], []
    for part in text.split():
        words.append(part)
        if "/" in part:
            out.append(" ".join(words))
            words = []
    return out


def _phrased(name: str) -> Iterator[str]:
    yield name
    yield articled(f"a {name}")
    yield articled(f"aerial photo of a {name}")
