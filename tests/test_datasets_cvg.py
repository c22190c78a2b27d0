"""Reading CVG-Text: its folders, image types, positions and views."""

from __future__ import annotations

import pytest
from dataset_samples import message, write_json

from ngcg_cli.datasets import (
    Pair,
    detect_format,
    load_pairs,
)
from ngcg_cli.datasets.cvg_text import position_of, view_of

PANORAMA = "40.7128001,-74.0060002_2019-05_AbC_d0.png"
SINGLE = "40.7128001,-74.0060002_90.png"


@pytest.fixture
def cvg(tmp_path):
    root = tmp_path / "CVG-Text"
    write_json(root / "NewYork/train.json", {"40.1,-74.1_a_b.png": "train pano"})
    write_json(root / "NewYork/test.json", {PANORAMA: "a wide street"})
    write_json(root / "NewYork-photos/test.json", {SINGLE: "a door"})
    for kind in ("satellite", "OSM"):
        for version in ("NewYork", "NewYork-photos"):
            (root / f"{version}-{kind}").mkdir()
    return root


def test_cvg_version_splits_image_types_and_positions(cvg):
    assert detect_format(cvg / "NewYork") == "cvg-text"
    assert load_pairs(cvg / "NewYork", split="test") == [
        Pair(
            image=cvg / "NewYork-satellite" / PANORAMA,
            captions=("a wide street",),
            name=f"NewYork-satellite/{PANORAMA}",
            place="40.7128001,-74.0060002",
            lon=-74.0060002,
            lat=40.7128001,
            view="panorama",
        )
    ]
    (pair,) = load_pairs(cvg / "NewYork", split="test", image_type="osm")
    assert pair.image == cvg / "NewYork-OSM" / PANORAMA
    assert load_pairs(cvg / "NewYork")[0].captions == ("train pano",)
    assert load_pairs(cvg / "NewYork/test.json")[0].captions == ("a wide street",)


def test_cvg_mixed_is_both_and_shares_places(cvg):
    for path in (cvg / "NewYork-mixed", cvg):  # neither has files of its own
        pairs = load_pairs(path, split="test")
        assert [p.view for p in pairs] == ["panorama", "single_view"]
        assert pairs[1].image == cvg / "NewYork-photos-satellite" / SINGLE
        assert pairs[0].place == pairs[1].place


def test_cvg_images_may_lie_elsewhere(cvg, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "NewYork-satellite").mkdir(parents=True)
    (pair,) = load_pairs(cvg / "NewYork", split="test", images=elsewhere)
    assert pair.image.parent == elsewhere / "NewYork-satellite"
    flat = tmp_path / "flat"
    flat.mkdir()
    (pair,) = load_pairs(cvg / "NewYork", split="test", images=flat)
    assert pair.image == flat / PANORAMA


def test_cvg_annotations_may_lie_in_a_folder_beside_the_images(tmp_path):
    write_json(tmp_path / "annotation/Tokyo/test.json", {"35.6,139.7_a_b.png": "a tower"})
    (tmp_path / "images/Tokyo-satellite").mkdir(parents=True)
    (pair,) = load_pairs(tmp_path / "annotation/Tokyo", split="test")
    assert pair.image.parent == tmp_path / "images/Tokyo-satellite"


def test_cvg_as_published_loads_without_help(tmp_path):
    """annotation/<City>/test.json, the tiles under reference/<City>-satellite/."""
    name = "40.75290377,-73.97958215_2022-08_AbC-d_e_d62_z3.jpg"
    for city in ("NewYork", "Tokyo"):
        write_json(tmp_path / f"CVG-Text/annotation/{city}/test.json", {name: f"in {city}"})
        (tmp_path / f"CVG-Text/reference/{city}-satellite").mkdir(parents=True)
    root = tmp_path / "CVG-Text"
    for path in (root / "NewYork", root / "annotation/NewYork", root / "NewYork-mixed"):
        assert detect_format(path) == "cvg-text"
        (pair,) = load_pairs(path, split="test")
        assert pair.image == root / "reference/NewYork-satellite" / name
        assert (pair.lat, pair.lon, pair.view) == (40.75290377, -73.97958215, "panorama")
    for path in (root, root / "annotation"):
        assert [p.captions[0] for p in load_pairs(path, split="test")] == ["in NewYork", "in Tokyo"]


def test_cvg_errors_say_what_is_missing(cvg):
    assert "no split 'val'" in message(cvg / "NewYork", split="val")
    assert "It has test, train" in message(cvg / "NewYork", split="val")
    (cvg / "NewYork-OSM").rmdir()
    assert "no folder NewYork-OSM" in message(cvg / "NewYork", split="test", image_type="osm")
    write_json(cvg / "NewYork/test.json", {"nowhere.png": "a"})
    assert "'nowhere.png' does not begin LAT,LON" in message(cvg / "NewYork", split="test")
    write_json(cvg / "NewYork/test.json", {PANORAMA: ["a"]})
    assert "is list, not text" in message(cvg / "NewYork", split="test")


@pytest.mark.parametrize(
    ("name", "position"),
    [
        ("40.5,-74.25_x_y.png", (40.5, -74.25)),
        ("-27.4,153.png", (-27.4, 153.0)),
        ("+1,2_a.png", (1.0, 2.0)),
        ("91,0_a.png", None),
        ("0,181_a.png", None),
        ("a40.5,-74.png", None),
        ("40.5_-74.png", None),
    ],
)
def test_cvg_positions_from_names(name, position):
    assert position_of(name) == position


@pytest.mark.parametrize(
    ("name", "view"),
    [("1,2.png", "single_view"), ("1,2_a.png", "single_view"), ("1,2_a_b.png", "panorama")],
)
def test_cvg_views_from_names(name, view):
    assert view_of(name) == view
