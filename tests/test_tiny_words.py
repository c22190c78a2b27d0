"""The text that `tiny` learns words from, and the measures of what it learned."""

import json
import re

import numpy as np
import pytest
from shapely.geometry import box

from examples.tiny.measures import attributes, paraphrases
from examples.tiny.stages import contrasts, words
from examples.tiny.stages.glosses import below, phrases, synsets, useful
from examples.tiny.stages.mapped import mapped, options
from examples.tiny.stages.scenes import SCENES, lexicon
from examples.tiny.stages.templates import GRAMMAR, articled, filled, plural
from examples.town.captions import Speaker
from examples.town.scene import Feature, Scene, Window
from examples.town.statements import truths
from examples.town.tiles import make_tile

# Lines of WordNet 3.0's data.noun, with the pointers that the test needs.
NOUNS = """\
  1 This software and database is being provided to you, the LICENSEE, by Princeton University
02692232 06 n 02 airport 0 drome 0 001 ~ 02692877 n 0000 | an airfield equipped with hangars
02692877 06 n 01 heliport 0 001 @ 02692232 n 0000 | an airport for helicopters
09328904 17 n 01 lake 0 001 ~ 09442838 n 0000 | a body of water surrounded by land; "the lake froze"
09442838 17 n 01 tarn 0 001 @ 09328904 n 0000 | a mountain lake (especially one formed by glaciers)
08932568 15 n 02 Paris 0 City_of_Light 0 001 @i 08524735 n 0000 | the capital of France
09820263 18 n 01 athlete 0 000 | a person trained to compete in sports
"""
ADJECTIVES = """\
00001740 00 a 01 able(p) 0 000 | having the necessary means; "able to swim"; "able to move"
00002098 00 s 01 zygomorphic 0 000 | capable of division into symmetrical halves
"""


@pytest.fixture
def wordnet(tmp_path):
    folder = tmp_path / "wordnet"
    folder.mkdir()
    for part, text in {"noun": NOUNS, "adj": ADJECTIVES, "verb": "", "adv": ""}.items():
        (folder / f"data.{part}").write_text(text)
    (folder / "cntlist.rev").write_text("able%3:00:00:: 1 20\nlake%1:17:00:: 1 4\n")
    return folder


@pytest.fixture
def osm(tmp_path):
    presets = {
        "aeroway/aerodrome": {"geometry": ["area"]},
        "shop/bakery": {"geometry": ["point", "area"]},
        "amenity/restaurant/thai": {"geometry": ["area"]},
        "highway/road": {"geometry": ["line"]},
        "@templates/contact": {"geometry": ["area"]},
    }
    called = {
        "aeroway/aerodrome": {"name": "Airport", "aliases": "Aerodrome", "terms": "jet,plane"},
        "shop/bakery": {"name": "Bakery"},
        "amenity/restaurant/thai": {"name": "Thai Restaurant"},
        "highway/road": {"name": "Road (unknown) / Street"},
        "@templates/contact": {"name": "Contact"},
    }
    fields = {"surface": {"label": "Surface", "options": {"gravel": "Gravel (fine)"}}}
    folder = tmp_path / "osm"
    (folder / "dist/translations").mkdir(parents=True)
    (folder / "dist/presets.json").write_text(json.dumps(presets))
    british = {"aeroway/aerodrome": {"name": "Airfield"}}
    for language, names in {"en": called, "en-GB": british, "en-AU": {}}.items():
        spoken = {language: {"presets": {"presets": names, "fields": fields}}}
        (folder / f"dist/translations/{language}.json").write_text(json.dumps(spoken))
    return folder


def test_held_out_queries_single_out_all_thirty_scenes():
    queries = paraphrases.held_out()
    scenes = [scene for _, scene in queries]
    assert len({query for query, _ in queries}) == len(queries) >= 240
    assert set(scenes) == set(SCENES)
    assert min(scenes.count(scene) for scene in SCENES) >= 8


def test_won_counts_the_first_ten_hits():
    gallery = np.eye(20, dtype=np.float32)
    scenes = ["a"] * 7 + ["b"] * 13
    query = np.zeros((2, 20), np.float32)
    query[0, :12] = np.arange(12, 0, -1)  # the first seven hits are of scene a
    query[1, 7:] = 1
    assert paraphrases.won(gallery, scenes, query, ["a", "a"]).tolist() == [7, 0]


def test_measure_reports_shares_by_scene():
    queries = paraphrases.held_out()
    scenes = sorted({scene for _, scene in queries})
    images = np.repeat(np.eye(30, dtype=np.float32), 10, axis=0)
    texts = np.stack([np.eye(30)[scenes.index(scene)] for _, scene in queries])
    # Every query of the first scene goes to the second.
    texts[[scene == scenes[0] for _, scene in queries]] = np.eye(30)[1]
    figures = paraphrases.measure(images, list(np.repeat(scenes, 10)), texts)
    wrong = sum(scene == scenes[0] for _, scene in queries)
    assert figures["share"] == pytest.approx(100 * (1 - wrong / len(queries)), abs=0.01)
    assert figures["ci"][0] < figures["share"] < figures["ci"][1]
    assert figures["scenes"][scenes[0]]["share"] == 0
    assert figures["scenes"][scenes[1]]["right_of_10"] == 10


def test_gallery_reads_images_and_scenes(tmp_path):
    (tmp_path / "captions.jsonl").write_text('{"image": "i/a.jpg", "scene": "Port"}\n')
    assert paraphrases.gallery(tmp_path) == ([tmp_path / "i/a.jpg"], ["Port"])
    (tmp_path / "captions.jsonl").write_text('{"image": "i/a.jpg"}\n')
    with pytest.raises(paraphrases.DataError, match="scene"):
        paraphrases.gallery(tmp_path)


def test_synsets_are_read_as_wordnet_writes_them(wordnet):
    known = synsets(wordnet)
    assert known["n02692232"].words == ("airport", "drome")
    assert known["n09328904"].definition == "a body of water surrounded by land"
    assert known["n09328904"].examples == ("the lake froze",)
    assert known["a00001740"].words == ("able",)
    assert [s.words[0] for s in below(known, "n02692232")] == ["airport", "heliport"]
    assert list(phrases(known["a00001740"])) == [
        "able", "able, having the necessary means", "able to swim", "able to move",
    ]  # fmt: skip


def test_useful_leaves_out_names_persons_and_rare_adjectives(wordnet):
    found = {s.words[0] for s in useful(synsets(wordnet), frozenset({"able", "lake"}))}
    assert found == {"airport", "heliport", "lake", "tarn", "able"}


def test_mapped_features_have_their_names_in_all_englishes(osm):
    features = {feature.key: feature for feature in mapped(osm)}
    assert features["aeroway/aerodrome"].names == ("airport", "aerodrome", "airfield")
    assert features["aeroway/aerodrome"].terms == ("jet", "plane")
    assert features["highway/road"].names == ("road", "street")
    assert "@templates/contact" not in features
    visible = {key for key, feature in features.items() if feature.visible}
    assert visible == {"aeroway/aerodrome", "highway/road"}
    assert set(options(osm)) == {"gravel"}


def test_templates_are_filled_to_the_end_and_repeatable():
    first = list(filled(["heliport"], np.random.default_rng(3), 300))
    assert first == list(filled(["heliport"], np.random.default_rng(3), 300))
    assert not any(sign in text for text in first for sign in "[]")
    assert any("heliport" in text for text in first)
    named = {symbol for lines in GRAMMAR.values() for line in lines
             for symbol in line.replace("]", "[").split("[")[1::2]}  # fmt: skip
    assert named <= GRAMMAR.keys() | {"thing", "things"}


def test_nouns_and_articles():
    assert [plural(n) for n in ("church", "ferry", "bay", "people", "glass", "storage tank")] == [
        "churches", "ferries", "bays", "people", "glasses", "storage tanks",
    ]  # fmt: skip
    assert articled("a old house by a university") == "an old house by a university"
    assert articled("a h-shaped hall and a trees") == "an h-shaped hall and trees"


@pytest.mark.parametrize(
    ("text", "stays_out"),
    [
        ("fuel silos", True),
        ("the fuel silo", True),
        ("two fuel silos beside an old red barn and a long wall", True),
        ("sea of sand", True),
        ("tarn", True),
        ("a tarn", True),
        ("tarn, a mountain lake formed by glaciers", False),
        ("a silo for grain beside a road where fuel is sold near a big hall", False),
        ("a wide sandy beach between the sea and a road", False),
    ],
)
def test_near_finds_queries_and_what_all_but_is_one(text, stays_out):
    assert words.Near(["fuel silos", "sea of sand", "tarn"])(text) is stays_out


def test_sentences_hold_no_held_out_query_and_nothing_twice(osm, wordnet, monkeypatch):
    monkeypatch.setattr(words, "TEMPLATES", 500)
    said = words.sentences(osm, wordnet, seed=1)
    assert said == words.sentences(osm, wordnet, seed=1)
    assert {"airport", "aerodrome", "gravel", "heliport", "able to swim"} <= set(said)
    assert "tarn" not in said  # a held-out query
    assert len(set(said)) == len(said)
    assert all(text == text.lower() and len(text.split()) <= words.LONGEST for text in said)
    queries = {query.lower() for query, _ in paraphrases.held_out()}
    assert queries.isdisjoint(said)


def test_the_lexicon_knows_kinds_and_mapped_names(osm, wordnet):
    said = lexicon(synsets(wordnet), mapped(osm))
    assert set(said) == set(SCENES)
    assert {"an airport", "aerial photo of an aerodrome"} <= set(said["Airport"])
    assert "a mountain lake (especially one formed by glaciers)" in said["Pond"]  # a kind of lake
    assert "jet" not in said["Airport"]  # a term to search with is no name


def test_vectors_resume_after_whole_shards(tmp_path, monkeypatch):
    asked = []

    class Teacher:
        def encode(self, texts, **_):
            asked.append(len(texts))
            return np.stack([np.full(384, len(text), np.float32) for text in texts])

    monkeypatch.setattr(words, "SHARD", 4)
    monkeypatch.setattr(words, "_teacher", Teacher)
    said = ["x" * n for n in range(1, 11)]
    first = words.vectors(said, tmp_path)
    assert first[:, 0].tolist() == list(range(1, 11))
    (tmp_path / "words.npy").unlink()
    (tmp_path / "words-shards" / "0000008.npy").unlink()
    again = words.vectors(said, tmp_path)
    assert asked == [4, 4, 2, 2]
    assert (again == first).all()


def test_contrasts_change_one_word_and_turn_a_truth_into_a_falsehood():
    seen = set()
    for seed in range(5_000_000, 5_000_012):
        tile = make_tile(seed, 40)
        shown = contrasts.in_view(tile.scene, tile.window)
        true = truths(tile.scene, tile.window)
        for found in contrasts.contrasts(tile, np.random.default_rng(seed)):
            seen.add(found.kind)
            both = zip(found.true.split(), found.false.split(), strict=True)
            assert sum(a != b for a, b in both) == 1
        for key in true:
            for kind, value, other in contrasts._swaps(key, shown):
                head, _, tail = key.rpartition(f"|{value}")
                assert f"{head}|{other}{tail}" not in true
                if kind.endswith("colour"):
                    assert f"has|{key.split('|')[1]}|{other}" not in true
    assert {"roof colour", "count", "above or below"} <= seen


def test_swaps_leave_out_what_may_be_true_as_well():
    square = box(0, 0, 10, 10)
    shown = [Feature("house", square, "red"), Feature("church", square, "grey")]
    swaps = {key: {(kind, other) for kind, _, other in contrasts._swaps(key, shown)} for key in (
        "has|building|red", "near|house|red|road|", "near|house|red|church|grey", "count|boat||2",
        "count|boat||5", "count|house||1", "moored|many", "side|house||road||left")}  # fmt: skip
    assert ("roof colour", "grey") not in swaps["has|building|red"]  # the church
    assert ("roof colour", "grey") in swaps["near|house|red|road|"]
    assert swaps["near|house|red|church|grey"] == set()  # which of the two colours would it be?
    assert swaps["count|boat||2"] == {("count", "3")}
    assert swaps["count|boat||5"] == {("count", "4")}
    assert swaps["count|house||1"] == swaps["moored|many"] == set()
    assert swaps["side|house||road||left"] == {("left or right", "right")}


@pytest.mark.parametrize(
    ("text", "fine"),
    [
        ("a blue-roofed warehouse beside a road", False),
        ("there are two industrial buildings with blue roofs", False),
        ("a blue-roofed building beside a warehouse", True),
        ("three white airplanes on an airfield", False),
        ("thirteen planes", True),
        ("two planes", True),
        ("left of a street there is a green pond", False),
        ("a pond is left of a church, and a curved road", True),
        ("a pond beside a road", True),
    ],
)
def test_taught_leaves_out_the_kept_combinations(text, fine):
    assert contrasts.taught(text) is fine


def test_pairs_are_balanced_between_their_two_directions():
    one = attributes.Item(0, "count", "", "", ("2", "3"))
    other = one._replace(values=("3", "2"), tile=1)
    found = [one] * 4 + [other] * 3 + [one._replace(kind="left or right")]
    chosen = attributes.balanced(found, most=4)
    assert [item.values for item in chosen] == [("2", "3")] * 2 + [("3", "2")] * 2
    assert len(attributes.balanced(found)) == 6


def test_a_model_that_only_reads_wins_half_and_one_that_knows_wins_all(tmp_path, monkeypatch):
    monkeypatch.setattr(attributes, "SIDE", 24)
    images, pairs = attributes.items(tmp_path, tiles=40)
    with monkeypatch.context() as patch:
        patch.setattr(attributes, "draw", None)  # nothing is drawn again
        again, cached = attributes.items(tmp_path, tiles=40)
        with pytest.raises(TypeError):  # but other tiles are
            attributes.items(tmp_path, tiles=41)
    assert (images == again).all()
    assert pairs == cached
    true = {pair.true for pair in pairs}
    values = sorted({value for pair in pairs for value in pair.values})
    spoken = [*values, "one", "two", "three", "four", "five", "left", "right", "west", "east",
              "north", "south", "above", "below"]  # fmt: skip

    class Reader:
        def __init__(self, score):
            self.score = score

        def encode_images(self, images):
            return np.ones((len(images), 1), np.float32)

        def encode_texts(self, texts):
            return np.array([[self.score(text)] for text in texts], np.float32)

    def likes_words(text):
        return sum(3.0 ** -spoken.index(w) for w in text.replace("-", " ").split() if w in spoken)

    assert attributes.measure(Reader(likes_words), images, pairs)["share"] <= 60
    knowing = attributes.measure(Reader(lambda text: text in true), images, pairs)
    assert knowing["share"] == 100
    assert knowing["pairs"] == knowing["kept_out"]["pairs"] + knowing["not_kept_out"]["pairs"]
    assert attributes.measure(Reader(lambda text: 1), images, pairs)["share"] == 0  # ties


def test_training_tiles_resume_with_all_that_is_known_of_them(tmp_path):
    seeds = range(6_000_000, 6_000_005)
    contrasts.write(tmp_path, seeds, size=20)
    first, lines = np.load(tmp_path / "images.npy"), (tmp_path / "facts.jsonl").read_text()
    kept = lines.splitlines(keepends=True)
    (tmp_path / "facts.jsonl").write_text("".join(kept[:3]))
    contrasts.write(tmp_path, seeds, size=20)
    assert (tmp_path / "facts.jsonl").read_text() == lines
    images, facts = contrasts.read_facts(tmp_path)
    assert (images == first).all()
    assert [json.loads(line)["seed"] for line in kept] == list(seeds)
    said = [text for fact in facts for text in fact.captions]
    assert said
    assert all(map(contrasts.taught, said))
    for fact in facts:
        assert {swap.key for swap in fact.swaps} <= fact.truths
        assert not any(swap.false in fact.truths for swap in fact.swaps)
    tile = make_tile(seeds[1], 20)
    true = truths(tile.scene, tile.window)
    assert facts[1].swaps == contrasts.swaps(tile, true)
    assert set(true) <= facts[1].truths


def test_all_things_of_a_kind_must_lie_at_a_side():
    tile = make_tile(6_000_000, 20)
    window = Window(0, 0, 100, 100)

    def house(x, y):
        return Feature("house", box(x - 4, y - 4, x + 4, y + 4), "")

    def placed(*features):
        other = tile._replace(scene=Scene(list(features), [], tile.scene.ground), window=window)
        return {swap.key for swap in contrasts.swaps(other, []) if swap.key.startswith("at|house")}

    assert placed(house(20, 50)) == {"at|house||left"}
    assert placed(house(20, 90), house(30, 60)) == {"at|house||left", "at|house||north"}
    assert placed(house(20, 50), house(50, 50)) == set()
    assert placed(house(90, 10)) == {"at|house||right", "at|house||south"}


def test_a_swap_is_said_in_the_same_words_but_one_place():
    rng = np.random.default_rng(0)
    swap = contrasts.Swap("at|house|red|left", "left or right", "left", "right")
    assert swap.false == "at|house|red|right"
    for _ in range(9):
        true, false = contrasts.said(swap, Speaker(rng))
        assert "red" in true
        assert re.sub("left", "right", re.sub("west", "east", true)) == false
    colour = contrasts.Swap("has|house|red", "roof colour", "red", "blue")
    assert colour.false == "has|house|blue"
    true, false = contrasts.said(colour, Speaker(rng))
    assert true.replace("red", "blue") == false
