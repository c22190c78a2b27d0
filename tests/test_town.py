"""The drawn town: the same bytes from the same seed, and captions that are true."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely
from pyproj import Transformer
from rasterio.windows import from_bounds

from examples.town import buildings, land, transport
from examples.town.draw import render
from examples.town.make import CRS, EAST, NORTH, picture, rows
from examples.town.pairs import contrast_of, draw_pair, pair_site
from examples.town.plan import HEIGHT, WIDTH, town
from examples.town.scene import Light, Scene, Site, Window, box
from examples.town.statements import BUILDINGS, NEAR, truths
from examples.town.tiles import draw_tile, make_tile, write_tiles

TOWN = Path(__file__).parent.parent / "examples" / "town"


@pytest.fixture(scope="module")
def scene() -> Scene:
    return town(7)


@pytest.fixture(scope="module")
def lines() -> list[dict]:
    return [json.loads(line) for line in (TOWN / "region.jsonl").read_text().splitlines()]


def test_same_seed_same_bytes_and_no_global_random_numbers():
    state = np.random.get_state()[1].copy()
    first, words = draw_tile(12, 96)
    np.random.seed(1)
    second, again = draw_tile(12, 96)
    assert first.tobytes() == second.tobytes()
    assert words == again
    assert draw_tile(13, 96)[0].tobytes() != first.tobytes()
    np.random.seed(1)
    expected = np.random.get_state()[1].copy()
    draw_tile(14, 96)
    assert (np.random.get_state()[1] == expected).all()
    assert state.shape == expected.shape


def test_tiles_have_four_to_six_distinct_captions_and_the_asked_size():
    kinds = set()
    for seed in range(40):
        tile = make_tile(seed, 64)
        texts = [c.text for c in tile.captions]
        assert tile.image.shape == (64, 64, 3)
        assert tile.image.dtype == np.uint8
        assert 4 <= len(texts) <= 6
        assert len(set(texts)) == len(texts)
        assert tile.image.std() > 3
        kinds.add(tile.recipe)
    assert len(kinds) >= 10


def test_gsd_sets_the_ground_that_a_tile_shows():
    tile = make_tile(5, 100, gsd=0.8)
    assert tile.window.width == pytest.approx(80)


def _shown(scene: Scene, window: Window, kind: str, colour: str) -> list[float]:
    """Share of every thing of that description that lies in the window, by plain loops."""
    view = shapely.box(*window)
    kinds = BUILDINGS if kind == "building" else {kind}
    return [f.geom.intersection(view).area / f.geom.area for f in scene.features
            if f.kind in kinds and (not colour or f.colour == colour)]  # fmt: skip


def test_counts_and_neighbours_hold_when_computed_anew():
    checked = {"count": 0, "near": 0}
    for seed in range(100, 150):
        tile = make_tile(seed, 32)
        for key in {k for c in tile.captions for k in c.keys}:
            verb, *f = key.split("|")
            if verb == "count" and f[0] != "football":
                shares = _shown(tile.scene, tile.window, f[0], f[1])
                assert sum(s >= 0.6 for s in shares) == int(f[2]), key
                checked[verb] += 1
            elif verb == "near":
                view = shapely.box(*tile.window)
                sides = []
                for kind, colour in (f[:2], f[2:]):
                    kinds = BUILDINGS if kind == "building" else {kind}
                    sides.append([g.geom.intersection(view) for g in tile.scene.features
                                  if g.kind in kinds and (not colour or g.colour == colour)
                                  and g.geom.intersects(view)])  # fmt: skip
                assert min(a.distance(b) for a in sides[0] for b in sides[1]) <= NEAR, key
                checked[verb] += 1
    assert min(checked.values()) >= 20


def _two_houses() -> Scene:
    site = Site(np.random.default_rng(0), "summer")
    transport.roundabout(site, 0, 0, 15)
    buildings.house(site, 30, 0, 0.0, "red", 12, 9)
    buildings.house(site, -60, 0, 0.0, "blue", 12, 9)
    return site.scene()


def test_statements_of_a_hand_made_place():
    scene = _two_houses()
    wide = truths(scene, Window.around(0, 0, 160))
    assert {"count|house||2", "count|house|red|1", "count|building|blue|1", "has|roundabout|",
            "near|house|red|roundabout|", "side|house|red|roundabout||right",
            "side|house|blue|roundabout||left"} <= wide.keys()  # fmt: skip
    assert "near|house|blue|roundabout|" not in wide
    assert "count|house|red|2" not in wide
    x, y = wide["near|house|red|roundabout|"]
    assert 14 < x < 26
    assert abs(y) < 5
    # The red house cut in half: it is neither counted nor denied.
    half = truths(scene, Window(-80, -40, 30, 40))
    assert "count|house|red|1" not in half
    assert "count|house||1" not in half
    assert "count|house|blue|1" in half


def test_a_house_in_a_clearing_is_surrounded_by_woods():
    site = Site(np.random.default_rng(0), "summer")
    buildings.house(site, 0, 0, 0.0, "red", 12, 9)
    for x, y, length, width in ((0, 40, 120, 30), (0, -40, 120, 30), (-40, 0, 30, 52)):
        land.woods(site, box(x, y, length, width), edge=False)
    window = Window.around(0, 0, 110)
    assert "surrounded|house|red|woods|" not in truths(site.scene(), window)
    land.woods(site, box(40, 0, 30, 52), edge=False)
    assert "surrounded|house|red|woods|" in truths(site.scene(), window)


def test_a_turned_scene_turns_its_sides():
    site = Site(np.random.default_rng(0), "summer")
    transport.roundabout(site, 0, 0, 15)
    buildings.house(site, 30, 0, 0.0, "red", 12, 9)
    keys = truths(site.scene(np.pi / 2), Window.around(0, 0, 120))
    assert "side|house|red|roundabout||north" in keys


@pytest.mark.parametrize(("colour", "channel"), [("red", 0), ("blue", 2)])
def test_a_roof_has_the_colour_that_the_caption_names(colour: str, channel: int):
    site = Site(np.random.default_rng(3), "summer")
    buildings.building(site, 0, 0, 30, 20, 0.0, colour)
    image = render(site.scene(), Window.around(0, 0, 60), 0.5, Light(), 0)
    roof = image[46:74, 36:84].reshape(-1, 3).mean(0)
    assert roof.argmax() == channel
    assert roof[channel] > 1.25 * np.delete(roof, channel).max()


def test_shadows_fall_away_from_the_sun():
    site = Site(np.random.default_rng(3), "summer")
    buildings.tank(site, 0, 0, 10)
    image = render(site.scene(), Window.around(0, 0, 60), 0.5, Light(azimuth=90, noise=0), 0)
    east, west = image[55:65, 84:90].mean(), image[55:65, 30:36].mean()
    assert west < 0.8 * east


def test_pairs_differ_in_what_their_captions_say():
    attributes = set()
    for seed in range(24):
        a, said_a, b, said_b, attribute = draw_pair(seed, 64)
        assert said_a != said_b
        assert a.shape == b.shape == (64, 64, 3)
        changed = (np.abs(a.astype(int) - b).max(2) > 12).mean()
        assert 0 < changed < (1.01 if attribute == "field colour" else 0.5)
        contrast = contrast_of(seed)
        views = [truths(pair_site(seed, contrast, v).scene(), Window.around(0, 0, 112))
                 for v in contrast.values]  # fmt: skip
        for key, own, other in zip(contrast.keys, views, views[::-1], strict=True):
            assert key in own, (seed, key)
            assert key not in other, (seed, key)
        attributes.add(attribute)
    assert len(attributes) >= 4


@pytest.mark.slow
def test_the_committed_captions_come_from_the_committed_code(scene: Scene, lines: list[dict]):
    assert rows(scene, 7) == lines


def test_every_true_point_lies_in_the_region(lines: list[dict]):
    to_utm = Transformer.from_crs("EPSG:4326", CRS, always_xy=True)
    with rasterio.open(TOWN / "region.tif") as region:
        assert region.crs.to_string() == CRS
        assert region.overviews(1) == [2, 4, 8]
        west, south, east, north = region.bounds
    for row in lines:
        assert [row["lon"], row["lat"]] in row["true_at"]
        assert 2 <= len(row["captions"]) == len(set(row["captions"]))
        xs, ys = to_utm.transform(*np.array(row["true_at"]).T)
        assert ((xs > west) & (xs < east) & (ys > south) & (ys < north)).all()


def test_the_committed_picture_is_the_town(scene: Scene):
    with rasterio.open(TOWN / "region.tif") as region:
        assert (region.width, region.height, region.count) == (2400, 1800, 3)
        view = Window.around(512, 272, 100)
        south = NORTH - HEIGHT
        bounds = (view.west + EAST, view.south + south, view.east + EAST, view.north + south)
        stored = region.read(window=from_bounds(*bounds, region.transform)).transpose(1, 2, 0)
    drawn = picture(scene, 7, view)
    assert stored.shape == drawn.shape
    # JPEG and another draw of the sensor's noise lie between them, nothing more.
    assert np.abs(stored.astype(int) - drawn).mean() < 8
    assert EAST < bounds[0] < bounds[2] < EAST + WIDTH


def test_one_red_roofed_building_stands_beside_the_roundabout(lines: list[dict]):
    rows_ = {row["statement"]: row for row in lines}
    assert len(rows_) == len(lines)
    assert len(rows_["near|building|red|roundabout|"]["true_at"]) in (1, 2)
    kinds = {(s.split("|")[0], s.split("|")[1]) for s in rows_}
    assert len(kinds) >= 25


def test_the_writer_makes_pairs(tmp_path: Path):
    write_tiles(tmp_path, range(3, 6), 48)
    rows_ = [json.loads(line) for line in (tmp_path / "captions.jsonl").read_text().splitlines()]
    assert len(rows_) == 3
    for row in rows_:
        assert (tmp_path / row["image"]).is_file()
        assert row["captions"]
        assert row["statements"]
        assert isinstance(row["scene"], str)
