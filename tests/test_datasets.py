"""Each data set's layout, made small, and every way in which it can be wrong."""

from __future__ import annotations

import json

import pytest
from dataset_samples import message, write_json, write_lines

from ngcg_cli.datasets import (
    Pair,
    Place,
    data_fingerprint,
    detect_format,
    has_images,
    load_pairs,
    load_places,
)
from ngcg_cli.datasets.geotext import view_of as geotext_view
from ngcg_cli.errors import DataError

# --- JSON Lines ------------------------------------------------------------------------------


def test_json_lines_has_all_that_a_line_says(tmp_path):
    data = write_lines(
        tmp_path / "a.jsonl",
        {"image": "images/a.jpg", "captions": ["one", "two"], "scene": "ignored"},
        {"image": "b.jpg", "captions": ["three"], "lon": -74, "lat": 40.5, "place": 7, "view": "x"},
    )
    assert load_pairs(data) == [
        Pair(tmp_path / "images/a.jpg", ("one", "two"), "images/a.jpg"),
        Pair(tmp_path / "b.jpg", ("three",), "b.jpg", "7", -74.0, 40.5, "x"),
    ]


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"image": "a\0b.png", "captions": ["x"]}, "a name that no file can have"),
        ({"image": "a\ud83c.png", "captions": ["x"]}, "a name that no file can have"),
        ({"image": "a.png", "captions": ["x"], "lat": 1, "lon": 10**400}, '"lon" is 1000'),
        ({"image": "a.png", "captions": ["x"], "lat": float("nan"), "lon": 1}, '"lat" is nan'),
        ({"image": "a.png", "captions": [10**400]}, '"captions" holds 1000'),
    ],
)
def test_names_and_numbers_that_cannot_be_are_one_short_line(tmp_path, row, told):
    line = message(write_lines(tmp_path / "a.jsonl", row))
    assert line.startswith(f"{tmp_path / 'a.jsonl'}:1: ")
    assert told in line
    assert len(line) < len(str(tmp_path)) + 200


def test_half_a_character_is_replaced_in_every_format(tmp_path, caplog):
    half, whole = "a pond \ud83c", "a pond \N{REPLACEMENT CHARACTER}"
    lines = write_lines(tmp_path / "a.jsonl", {"image": "a.png", "captions": [half, "\U0001f43a"]})
    assert load_pairs(lines)[0].captions == (whole, "\U0001f43a")
    assert f"{lines}:1: half a character" in caplog.text
    entry = {"image_id": "0001/a.jpg", "image": "0001/a.jpg", "caption": half}
    assert load_pairs(write_json(tmp_path / "train.json", [entry]))[0].captions == (whole,)
    write_json(tmp_path / "Tokyo/test.json", {"35.1,139.7_90.png": half})
    (tmp_path / "Tokyo-satellite").mkdir()
    assert load_pairs(tmp_path / "Tokyo", split="test")[0].captions == (whole,)


def test_blank_lines_a_byte_order_mark_and_one_caption_as_text_are_read(tmp_path):
    row = json.dumps({"image": "a.jpg", "captions": "one"})
    (tmp_path / "a.jsonl").write_bytes(b"\xef\xbb\xbf\n" + row.encode() + b"\r\n  \n\n")
    assert load_pairs(tmp_path / "a.jsonl") == [Pair(tmp_path / "a.jpg", ("one",), "a.jpg")]


def test_lines_of_one_image_become_one_pair(tmp_path):
    data = write_lines(
        tmp_path / "a.jsonl",
        {"image": "a.jpg", "captions": ["one"], "place": "p"},
        {"image": "b.jpg", "captions": ["two"]},
        {"image": "a.jpg", "captions": ["three"], "place": "p"},
    )
    assert [(p.name, p.captions) for p in load_pairs(data)] == [
        ("a.jpg", ("one", "three")),
        ("b.jpg", ("two",)),
    ]
    write_lines(
        data,
        {"image": "a.jpg", "captions": ["one"], "place": "p"},
        {"image": "a.jpg", "captions": ["three"], "place": "q"},
    )
    assert "a.jsonl:2: 'a.jpg' has another place" in message(data)
    assert "line 1" in message(data)


def test_images_may_lie_elsewhere_and_a_folder_with_one_file_stands_for_it(tmp_path):
    write_lines(tmp_path / "set" / "captions.jsonl", {"image": "a.jpg", "captions": ["one"]})
    (tmp_path / "elsewhere").mkdir()
    pairs = load_pairs(tmp_path / "set", images=tmp_path / "elsewhere")
    assert pairs[0].image == tmp_path / "elsewhere" / "a.jpg"
    assert "no such folder of images" in message(tmp_path / "set", images=tmp_path / "none")


def test_split_chooses_lines(tmp_path):
    data = write_lines(
        tmp_path / "a.jsonl",
        {"image": "a.jpg", "captions": ["one"], "split": "train"},
        {"image": "b.jpg", "captions": ["two"], "split": "test"},
    )
    assert [p.name for p in load_pairs(data, split="test")] == ["b.jpg"]
    assert len(load_pairs(data)) == 2
    assert "Found: test, train" in message(data, split="val")


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("{not json", "not JSON"),
        ("[1]", "expected an object, found list"),
        ('{"captions": ["a"]}', 'no "image" among its keys (captions)'),
        ('{"image": "a.jpg"}', 'no "captions" among its keys (image)'),
        ('{"image": 3, "captions": ["a"]}', '"image" is 3, not a path'),
        ('{"image": "a.jpg", "captions": []}', '"captions" is not a list of sentences'),
        ('{"image": "a.jpg", "captions": ["a", " "]}', "\"captions\" holds ' '"),
        ('{"image": "a.jpg", "captions": [4]}', '"captions" holds 4'),
        ('{"image": "a.jpg", "captions": ["a"], "lon": 3}', 'no "lat" among its keys'),
        ('{"image": "a.jpg", "captions": ["a"], "lon": 181, "lat": 0}', '"lon" is 181'),
        ('{"image": "a.jpg", "captions": ["a"], "lon": 0, "lat": NaN}', '"lat" is nan'),
        ('{"image": "a.jpg", "captions": ["a"], "lon": "0", "lat": 0}', "\"lon\" is '0'"),
        ('{"image": "a.jpg", "captions": ["a"], "place": ["p"]}', '"place" is'),
    ],
)
def test_a_bad_line_is_named_by_file_and_number(tmp_path, line, wrong):
    good = json.dumps({"image": "good.jpg", "captions": ["fine"]})
    (tmp_path / "a.jsonl").write_text(f"{good}\n\n{line}\n")
    told = message(tmp_path / "a.jsonl")
    assert told.startswith(f"{tmp_path / 'a.jsonl'}:3: ")
    assert wrong in told
    assert "\n" not in told


def test_empty_and_binary_files_are_told(tmp_path):
    (tmp_path / "a.jsonl").write_text("\n \n")
    assert "no lines" in message(tmp_path / "a.jsonl")
    (tmp_path / "a.jsonl").write_bytes(b"\xff\xfe\x00\x01")
    assert "not UTF-8" in message(tmp_path / "a.jsonl")


def test_places_have_captions_and_points(tmp_path):
    data = write_lines(
        tmp_path / "p.jsonl",
        {"captions": ["a", "b"], "lon": 1, "lat": 2},
        {"captions": ["c"], "lon": 3, "lat": 4, "true_at": [[5, 6], [3, 4]]},
    )
    assert load_places(data) == [
        Place(("a", "b"), ((1.0, 2.0),)),
        Place(("c",), ((3.0, 4.0), (5.0, 6.0))),
    ]
    assert not has_images(data)
    assert 'no "image"' in message(data)


@pytest.mark.parametrize(
    ("row", "wrong"),
    [
        ({"captions": ["a"], "lon": 1}, 'no "lat"'),
        ({"captions": ["a"]}, 'no "lon"'),
        ({"lon": 1, "lat": 2}, 'no "captions"'),
        ({"captions": ["a"], "lon": 1, "lat": 2, "true_at": [[1]]}, "not [lon, lat]"),
        ({"captions": ["a"], "lon": 1, "lat": 2, "true_at": [[1, 91]]}, "latitude is 91"),
        ({"captions": ["a"], "lon": 1, "lat": 2, "true_at": 5}, "not a list"),
    ],
)
def test_a_bad_place_is_named(tmp_path, row, wrong):
    data = write_lines(tmp_path / "p.jsonl", row)
    with pytest.raises(DataError) as failure:
        load_places(data)
    assert str(failure.value).startswith(f"{data}:1: ")
    assert wrong in str(failure.value)


# --- GeoText-1652 ----------------------------------------------------------------------------


def geotext_entry(image: str, caption: object) -> dict:
    building = image.split("/")[-2]
    return {
        "image_id": f"{building}/{image.split('/')[-1]}",
        "image": image,
        "caption": caption,
        "sentences": ["a", None, "b"],
        "bboxes": [[0.1, 0.2, 0.3, 0.4], None, None],
    }


def test_geotext_train_gathers_the_captions_of_an_image(tmp_path):
    data = write_json(
        tmp_path / "train.json",
        [
            geotext_entry("train/0839/image-43.jpeg", "one"),
            geotext_entry("train/0839/image-43.jpeg", "two"),
            geotext_entry("train/0840/0840.jpg", "three"),
        ],
    )
    assert load_pairs(data) == [
        Pair(
            image=tmp_path / "train/0839/image-43.jpeg",
            captions=("one", "two"),
            name="train/0839/image-43.jpeg",
            place="0839",
            view="drone",
        ),
        Pair(
            image=tmp_path / "train/0840/0840.jpg",
            captions=("three",),
            name="train/0840/0840.jpg",
            place="0840",
            view="satellite",
        ),
    ]


def test_geotext_test_files_list_their_captions_and_views_can_be_chosen(tmp_path):
    entries = [
        geotext_entry("test/gallery_no_train(250)/0001/image-01.jpeg", ["a", "b", "c"]),
        geotext_entry("test/query_satellite/0002/0002.jpg", ["d"]),
        geotext_entry("test/query(701)/0002/street_view.jpg", ["e"]),
    ]
    data = write_json(tmp_path / "test_951_version.json", entries)
    assert [(p.view, p.place, len(p.captions)) for p in load_pairs(data)] == [
        ("drone", "0001", 3),
        ("satellite", "0002", 1),
        ("ground", "0002", 1),
    ]
    assert [p.place for p in load_pairs(data, views=("drone",))] == ["0001"]
    write_json(data, entries[1:])
    assert "It has ground (1), satellite (1)" in message(data, views=("drone",))


@pytest.mark.parametrize(
    ("path", "view"),
    [
        ("train/0839/image-43.jpeg", "drone"),
        ("train/0839/0839.jpg", "satellite"),
        ("train/0839/3.jpg", "ground"),
        ("train/satellite/0839/0839.jpg", "satellite"),
        ("train/street/0839/image-1.jpg", "ground"),
        ("test/query_drone/0839/1.jpg", "drone"),
        ("ground_truth/drone/0839/1.jpg", "drone"),
        ("playground/0839/drone_view.jpg", "drone"),
        ("test/0839/satellite_view.jpg", "satellite"),
    ],
)
def test_geotext_views_are_told_from_the_path(path, view):
    assert geotext_view(path, "0839") == view


def test_geotext_folder_has_splits_and_images_in_a_folder_of_their_own(tmp_path):
    write_json(tmp_path / "train.json", [geotext_entry("train/0839/image-01.jpeg", "a")])
    write_json(tmp_path / "test_951_version.json", [geotext_entry("test/0001/1.jpeg", ["b"])])
    write_json(tmp_path / "test_24G_version.json", [geotext_entry("test/0002/1.jpeg", ["b"])])
    (tmp_path / "images").mkdir()
    assert detect_format(tmp_path) == "geotext"
    (train,) = load_pairs(tmp_path)
    assert train.image == tmp_path / "images/train/0839/image-01.jpeg"
    assert load_pairs(tmp_path, default_split="test")[0].place == "0001"
    assert load_pairs(tmp_path, split="test-24g")[0].place == "0002"
    assert "no split 'val'" in message(tmp_path, split="val")


@pytest.mark.parametrize(
    ("entry", "wrong"),
    [
        ("text", "expected an object, found str"),
        ({"image_id": "0839/a.jpg", "image": "a.jpg"}, 'no "caption"'),
        ({"image_id": "0839/a.jpg", "image": "a.jpg", "caption": []}, '"caption" is neither'),
        ({"image_id": "0839/a.jpg", "image": "a.jpg", "caption": [1]}, '"caption" is neither'),
        ({"image_id": "39", "image": "a.jpg", "caption": "a"}, "four characters"),
    ],
)
def test_a_bad_geotext_entry_is_named(tmp_path, entry, wrong):
    data = write_json(
        tmp_path / "train.json", [geotext_entry("train/0839/image-43.jpeg", "one"), entry]
    )
    assert f"{data}, entry 2: " in message(data)
    assert wrong in message(data)


# --- what is it? -----------------------------------------------------------------------------


def test_formats_are_recognised_by_content_not_by_name(tmp_path):
    row = {"image": "a.jpg", "captions": ["one"]}
    assert detect_format(write_lines(tmp_path / "pairs.json", row, row)) == "jsonl"
    assert detect_format(write_json(tmp_path / "some.txt", [{"image": "a"}])) == "geotext"
    assert detect_format(write_json(tmp_path / "c.json", {"1,2_a.png": "x"})) == "cvg-text"


def test_what_is_no_data_set_is_told_with_what_was_expected_and_found(tmp_path):
    assert "no such file or folder" in message(tmp_path / "missing.jsonl")
    (tmp_path / "empty").mkdir()
    told = message(tmp_path / "empty")
    assert "found an empty folder" in told
    assert "JSON Lines" in told
    assert "GeoText-1652" in told
    assert "CVG-Text" in told
    (tmp_path / "table.csv").write_text("image,caption\na.jpg,one\n")
    assert "found no JSON (.csv)" in message(tmp_path / "table.csv")
    (tmp_path / "photos").mkdir()
    for number in range(9):
        (tmp_path / "photos" / f"{number}.jpg").touch()
    assert "a folder with 0.jpg, 1.jpg" in message(tmp_path / "photos")
    (tmp_path / "void.json").touch()
    assert "found an empty file" in message(tmp_path / "void.json")


def test_an_announced_format_that_it_is_not_is_told(tmp_path):
    lines = write_lines(tmp_path / "a.jsonl", {"image": "a.jpg", "captions": ["one"]})
    geotext = write_json(tmp_path / "b.json", [geotext_entry("train/0839/image-43.jpeg", "one")])
    told = message(geotext, "jsonl")
    assert "expected JSON Lines" in told
    assert "found a JSON list" in told
    told = message(tmp_path, "cvg-text")
    assert "expected a CVG-Text directory" in told
    assert "found a folder with a.jsonl, b.json" in told
    for other in ("geotext", "cvg-text"):
        assert "found JSON Lines" in message(lines, other)
        assert "found nothing" in message(tmp_path / "none", other)
    assert "found a JSON list" in message(geotext, "cvg-text")
    (tmp_path / "broken.json").write_text("[{")
    assert "not JSON" in message(tmp_path / "broken.json", "geotext")
    single = write_json(tmp_path / "c.json", {"1,2_a.png": "x"})
    assert "expected a GeoText-1652 annotation file" in message(single, "geotext")


# --- fingerprint -----------------------------------------------------------------------------


def test_the_fingerprint_is_of_the_content_not_of_where_it_lies(tmp_path):
    digests = []
    for folder in ("one", "two"):
        write_lines(tmp_path / folder / "a.jsonl", {"image": "a.jpg", "captions": ["x"]})
        (tmp_path / folder / "a.jpg").write_bytes(b"12345")
        digests.append(data_fingerprint(load_pairs(tmp_path / folder / "a.jsonl")))
    assert digests[0] == digests[1]
    (tmp_path / "one/a.jpg").write_bytes(b"123456")
    assert data_fingerprint(load_pairs(tmp_path / "one/a.jsonl")) != digests[0]
    (tmp_path / "two/a.jpg").unlink()
    assert data_fingerprint(load_pairs(tmp_path / "two/a.jsonl")) != digests[0]
    (tmp_path / "one/a.jpg").write_bytes(b"12345")
    write_lines(tmp_path / "one/a.jsonl", {"image": "a.jpg", "captions": ["y"]})
    assert data_fingerprint(load_pairs(tmp_path / "one/a.jsonl")) != digests[0]
