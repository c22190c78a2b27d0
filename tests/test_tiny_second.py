"""The second course of `tiny`'s recipe: vocabulary, views, pasted things, and keyed caches."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from examples.tiny.keyed import keyed, texts_digest
from examples.tiny.measures.paraphrases import held_out
from examples.tiny.recipe import Heads, Recipe
from examples.tiny.stages import ways
from examples.tiny.stages.contrasts import swaps
from examples.tiny.stages.counted import KINDS, make_counted
from examples.tiny.stages.heads import WIDTH, Lexicon, read_by, train_reader
from examples.tiny.stages.pasted import paste, phrase, write
from examples.tiny.stages.scenes import SCENES
from examples.tiny.stages.seasons import SAID, turned
from examples.tiny.stages.views import shown
from examples.tiny.stages.vocabulary import Alter, Thing, phrased, things
from examples.town.scene import Site
from examples.town.statements import truths
from ngcg_cli.training.loop import parameter_groups

pytestmark = pytest.mark.slow  # draws and reads with small models: seconds in all


def test_the_vocabulary_names_what_people_look_for_and_known_scenes() -> None:
    known = things()
    names = [name for thing in known for name in thing.names]
    assert len(known) >= 400
    assert len(set(names)) > 1000
    assert all(name == name.lower().strip() and name for name in names)
    assert {scene for thing in known for scene in thing.scenes} == set(SCENES)
    assert {"freeway", "swimming pool", "chaparral", "mobile home park", "desert"} <= set(names)


def test_names_are_asked_for_in_several_ways() -> None:
    assert list(phrased("pier")) == ["pier", "a pier", "aerial photo of a pier", "piers"]
    assert list(phrased("old mill"))[1] == "an old mill"
    assert list(phrased("sand dunes")) == ["sand dunes", "aerial photo of sand dunes"]


def test_what_is_said_otherwise_is_still_true_and_no_held_out_query() -> None:
    known = [Thing(("highway", "freeway", "motorway"), ())]
    alter, rng = Alter(["a freeway by night"], known), np.random.default_rng(0)
    said = {alter("A highway beside the harbor .", rng) for _ in range(400)}
    assert any("freeway" in text for text in said)
    assert any("harbour" in text for text in said)
    assert "highway beside harbor" in {text.rstrip(" .") for text in said}
    assert any(text.startswith("find a ") for text in said)
    roads = {"highway", "freeway", "motorway"}
    assert all(len(roads & set(text.split())) == 1 for text in said)
    # Several stay several, and an article goes with them.
    plural = {alter("two highways", rng) for _ in range(200)}
    assert "two freeways" in plural
    assert "highway by night" in {alter("a highway by night", rng) for _ in range(400)}
    night = {alter("a highway by night", rng) for _ in range(400)}
    assert not any("freeway" in text for text in night)


def test_views_differ_but_for_what_must_stay() -> None:
    image = np.zeros((150, 150, 3), np.uint8)
    image[:, :75] = 255
    for seed in range(40):
        view = shown(image, np.random.default_rng(seed), whole=True)
        assert (view.shape, view.dtype) == ((3, 256, 256), np.float32)
        assert np.abs(view).max() <= 1
        # Whole and upright: what is bright on the left stays there.
        assert (view[:, :, :100].mean((1, 2)) > view[:, :, 156:].mean((1, 2))).all()
    first, again = (shown(image, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, shown(image, np.random.default_rng(4)))


def test_things_are_pasted_where_the_photograph_still_shows(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    photos = rng.integers(90, 150, (3, 150, 150, 3), dtype=np.uint8)
    images, keys = write(tmp_path / "pasted", photos, 6)
    assert len(images) == len(keys) > 0
    assert all(own for own in keys)
    assert all(phrase(key, rng) for own in keys for key in own)
    again, _ = write(tmp_path / "pasted", photos[:0], 6)  # kept, not made again
    np.testing.assert_array_equal(images, again)
    found = filter(None, (paste(photos[0], seed) for seed in range(60)))
    made = next(picture for picture in found if picture[1] == ["has|pool|"])
    same = np.abs(made[0].astype(int) - photos[0]).max(2) <= 2
    assert 0.05 < same.mean() < 0.999


def test_what_is_across_a_photograph_is_told_and_nothing_that_training_leaves_out() -> None:
    photo = np.full((150, 150, 3), 110, np.uint8)
    rng = np.random.default_rng(0)
    told = {key for seed in range(90) for key in (paste(photo, seed) or (photo, []))[1]}
    assert {"said|sleepers", "said|truss", "has|roundabout|", "has|boat|", "said|snow"} <= told
    assert "crosses|bridge||river|" in told
    assert "count|tank||4" in told
    assert not any(key.startswith("count|car") for key in told)  # the photograph may show others
    assert not {"count|tank||2", "has|house|white", "has|warehouse|blue"} & told
    assert set(ways.SAID) >= {name for way in ways.WAYS if (name := way(Site(rng), 90.0))}


def test_each_number_of_a_thing_is_drawn_as_often_as_the_others() -> None:
    found = Counter()
    for seed in range(5_000_000, 5_000_096):
        tile = make_counted(seed, 24)
        kind = list(KINDS)[seed % len(KINDS)]
        known = truths(tile.scene, tile.window)
        number = [k.split("|")[-1] for k in known if k.startswith(f"count|{kind}||")]
        found.update(number)
        assert swaps(tile, known) or not number
    assert set("2345") <= set(found)
    assert min(found[n] for n in "2345") > 15


def test_a_season_leaves_water_and_size_as_they_were() -> None:
    photo = np.zeros((40, 60, 3), np.uint8)
    photo[:, :20] = (20, 30, 70)  # water
    photo[:, 20:40] = (60, 100, 50)  # grass
    photo[:, 40:] = (150, 140, 130)  # bare
    views = {season: turned(photo, season, np.random.default_rng(1), 0.9) for season in SAID}
    assert all(view.shape == photo.shape and view.dtype == np.uint8 for view in views.values())
    for view in views.values():
        assert np.abs(view[:, :20].astype(int) - photo[:, :20]).mean() < 25
    assert views["snow"][:, 20:].min(2).mean() > 170
    grass = views["dry"][:, 20:40].mean((0, 1))
    assert grass[0] > grass[1] > grass[2]
    np.testing.assert_allclose(views["dry"][:, 40:].mean(), photo[:, 40:].mean(), atol=25)


def test_readers_read_into_the_space_of_given_images(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    seen = rng.normal(size=(8, WIDTH)).astype(np.float32)
    seen /= np.linalg.norm(seen, axis=1, keepdims=True)
    said = rng.normal(size=(8, 12)).astype(np.float32)
    lexicon = Lexicon(["x", "y"], np.array([0, 1]), np.arange(8) % 2)
    args = ([seen], said, [(n,) for n in range(8)], lexicon, said[:2], tmp_path / "r.safetensors")
    settings = Heads(batch=16, reader_lexicon=2, reader_noise=0.0)
    reader = train_reader(*args, epochs=120, seed=0, settings=settings)
    texts = read_by([reader, reader], said)
    np.testing.assert_allclose(np.linalg.norm(texts, axis=1), 1, atol=1e-5)
    assert ((texts @ seen.T).argmax(1) == np.arange(8)).mean() > 0.7
    kept = train_reader(*args, epochs=120, seed=0, settings=settings)
    np.testing.assert_array_equal(read_by([kept, kept], said), texts)


def test_a_cache_is_named_by_what_made_it() -> None:
    path = Path("out/view-1.npy")
    made_of = {"least": 0.6, "images": Path("out/train-abc"), "heads": Heads()}
    name = keyed(path, **made_of)
    assert name.parent == path.parent
    assert name.name.startswith("view-1-")
    assert name.suffix == ".npy"
    assert keyed(path, **{**made_of, "images": Path("elsewhere/train-abc")}) == name
    for change in ({"least": 0.5}, {"images": Path("out/train-abd")}, {"heads": Heads(noise=0.1)}):
        assert keyed(path, **{**made_of, **change}) != name
    assert texts_digest(["a", "b"]) != texts_digest(["ab"])
    assert keyed(path, recipe=Recipe()) != keyed(path, recipe=Recipe(seed=1))


def test_held_out_queries_are_not_the_vocabularys() -> None:
    names = {text for thing in things() for name in thing.names for text in phrased(name)}
    from examples.tiny.stages.words import kept

    assert not {query for query, _ in held_out()} & set(kept(names))


def test_a_part_may_learn_at_a_share_of_the_rate() -> None:
    module = nn.ModuleDict({"eyes": nn.Linear(2, 2), "tongue": nn.Linear(2, 2)})
    groups = parameter_groups(module, 0.1, {"eyes.": 0.25})
    found = {id(p): (g["share"], g["weight_decay"]) for g in groups for p in g["params"]}
    eyes, tongue = module["eyes"], module["tongue"]
    assert isinstance(eyes, nn.Linear)
    assert isinstance(tongue, nn.Linear)
    assert found == {
        id(eyes.weight): (0.25, 0.1), id(eyes.bias): (0.25, 0.0),
        id(tongue.weight): (1.0, 0.1), id(tongue.bias): (1.0, 0.0),
    }  # fmt: skip
    assert isinstance(torch.optim.AdamW(groups), torch.optim.AdamW)
