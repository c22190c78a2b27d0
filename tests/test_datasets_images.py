"""Image files of every sort, whole and broken, and when a run has had enough of them."""

from __future__ import annotations

import os

import numpy as np
import pytest
from PIL import Image

from ngcg_cli.datasets import ImageFailures, Pair, drop_missing, load_image, read_image
from ngcg_cli.errors import DataError

RED, WHITE = (255, 0, 0), (255, 255, 255)


def save(path, pixels, mode=None, **options):
    image = Image.fromarray(np.asarray(pixels))
    (image.convert(mode) if mode else image).save(path, **options)
    return path


def test_rgb_comes_back_as_it_is(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    path = save(tmp_path / "a.png", pixels)
    found = load_image(Pair(path, ("a",), "a.png"))
    assert found.dtype == np.uint8
    assert np.array_equal(found, pixels)
    assert found.flags.writeable


@pytest.mark.parametrize("mode", ["L", "P", "1", "CMYK", "YCbCr", "LA", "RGBA"])
def test_every_mode_becomes_rgb(tmp_path, mode):
    suffix = ".tif" if mode in ("CMYK", "YCbCr") else ".png"
    path = save(tmp_path / f"a{suffix}", np.full((4, 6, 3), 255, np.uint8), mode)
    found = read_image(path)
    assert found.shape == (4, 6, 3)
    assert np.all(found >= 254)


def test_what_is_transparent_is_shown_on_white(tmp_path):
    pixels = np.zeros((1, 2, 4), np.uint8)
    pixels[0, 0] = (*RED, 255)
    pixels[0, 1] = (*RED, 0)
    assert read_image(save(tmp_path / "a.png", pixels))[0].tolist() == [list(RED), list(WHITE)]


def test_the_camera_held_sideways_is_put_upright(tmp_path):
    pixels = np.zeros((2, 3, 3), np.uint8)
    pixels[0, 0] = RED
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to show
    path = save(tmp_path / "a.png", pixels, exif=exif)
    found = read_image(path)
    assert found.shape == (3, 2, 3)
    assert found[0, 1].tolist() == list(RED)


@pytest.mark.parametrize("kind", [np.uint16, np.int32, np.float32])
def test_deep_grey_is_stretched_between_its_percentiles(tmp_path, kind):
    pixels = np.linspace(1000, 3000, 101).astype(kind)[None]
    found = read_image(save(tmp_path / "a.tif", pixels))
    assert found[0, 50].tolist() == [128, 128, 128]
    # The 2nd and 98th percentile are the third and third last value.
    assert found[0, [0, 2, 3, 97, 98, 100], 0].tolist() == [0, 0, 3, 252, 255, 255]


def test_deep_grey_without_contrast_or_numbers_is_black(tmp_path):
    assert not read_image(save(tmp_path / "a.tif", np.full((3, 3), 700, np.uint16))).any()
    assert not read_image(save(tmp_path / "b.tif", np.full((3, 3), np.nan, np.float32))).any()
    pixels = np.array([[0, 1, 2, np.nan, np.inf]], np.float32)
    assert read_image(save(tmp_path / "c.tif", pixels))[0, 3:].tolist() == [[0, 0, 0]] * 2


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
def test_a_truncated_file_is_named(tmp_path, suffix):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    path = save(tmp_path / f"a{suffix}", noise)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError) as failure:
        read_image(path)
    assert str(failure.value).startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("content", "told"), [(None, "not found"), (b"", "not an image"), (b"hello", "not an image")]
)
def test_what_is_no_image_is_named(tmp_path, content, told):
    path = tmp_path / "a.jpg"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=told) as failure:
        read_image(path)
    assert str(path) in str(failure.value)


def test_a_folder_is_no_image(tmp_path):
    with pytest.raises(DataError, match="a folder, pipe or device"):
        read_image(tmp_path)


def test_a_picture_of_hostile_size_is_refused(tmp_path, monkeypatch):
    path = save(tmp_path / "a.png", np.zeros((50, 50), np.uint8))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(DataError, match="more pixels than are safe"):
        read_image(path)


def pairs_of(folder, count, missing=0, empty=0):
    for number in range(count - missing):
        (folder / f"{number}.jpg").write_bytes(b"" if number < empty else b"x")
    return [Pair(folder / f"{n}.jpg", ("a",), f"{n}.jpg") for n in range(count)]


def test_missing_images_are_left_out_named_and_counted_up_to_the_share(tmp_path):
    pairs = pairs_of(tmp_path, 40, missing=1, empty=1)
    failures = ImageFailures(len(pairs), max_share=0.05)
    assert drop_missing(pairs, failures) == pairs[1:39]
    assert failures.reasons == {
        tmp_path / "39.jpg": "No such file or directory",
        tmp_path / "0.jpg": "empty file",
    }


def test_past_the_share_the_run_stops_with_the_whole_count(tmp_path):
    pairs = pairs_of(tmp_path, 40, missing=7)
    with pytest.raises(DataError) as failure:
        drop_missing(pairs, ImageFailures(len(pairs), max_share=0.05))
    assert "7 of 40 images could not be read, more than 5.00%" in str(failure.value)
    assert f"the first: {tmp_path / '33.jpg'}" in str(failure.value)


def test_an_image_tried_twice_counts_once(tmp_path):
    failures = ImageFailures(total=20, max_share=0.05)
    for _ in range(3):
        failures.add(tmp_path / "a.jpg", "broken")
    assert len(failures) == 1
    with pytest.raises(DataError, match="2 of 20"):
        failures.add(tmp_path / "b.jpg", "broken")


def test_a_photo_to_ask_with_is_seen_as_a_data_sets_picture_is(tmp_path):
    from ngcg_cli.journeys.questions import content_part

    grey = np.random.default_rng(0).integers(0, 256, (9, 8), np.uint8)
    cut_out = np.dstack([grey, grey, grey, np.where(grey > 99, 255, 0).astype(np.uint8)])
    pictures = {
        "8.png": grey,
        "16.png": grey.astype(np.uint16) * 257,
        "float.tif": (grey / 255).astype(np.float32),
        "cut-out.png": cut_out,
    }
    seen = {}
    for name, pixels in pictures.items():
        path = save(tmp_path / name, pixels)
        seen[name] = content_part(str(path)).what
        assert np.array_equal(seen[name], read_image(path))
    assert np.array_equal(seen["16.png"], seen["float.tif"])
    assert seen["16.png"].std() > seen["8.png"].std(), "stretched, neither white nor black"
    assert (seen["cut-out.png"][grey <= 99] == 255).all()


def test_deep_grey_whose_zero_is_white_is_no_negative(tmp_path):
    pixels = np.linspace(1000, 3000, 101).astype(np.uint16)[None]
    path = tmp_path / "a.tif"
    Image.fromarray(np.uint16(65535) - pixels).save(path, tiffinfo={262: 0})
    assert np.array_equal(read_image(path), read_image(save(tmp_path / "b.tif", pixels)))


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a\.png: a folder, pipe or device"):
        read_image(tmp_path / "a.png")
