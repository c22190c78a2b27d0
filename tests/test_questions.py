"""Questions that add up: their vectors, their names, and how they are read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ngcg_cli.encoder.checkpoint import load_encoder
from ngcg_cli.errors import DataError, UsageError
from ngcg_cli.journeys.questions import Part, Question, content_part, place_part, vectors, weighed


class _Index:
    """What `vectors` needs of an index: its dimension, and the tile at a place."""

    class model:
        dim = 256  # of tiny

    def __init__(self, tiles: dict[tuple[float, float], np.ndarray]) -> None:
        self.tiles = tiles

    def nearest(self, lat: float, lon: float) -> tuple[np.ndarray, float] | None:
        tile = self.tiles.get((lat, lon))
        return (next(iter(self.tiles.values())), 5e6) if tile is None else (tile, 20.0)


@pytest.fixture(scope="module")
def encoder():
    return load_encoder("tiny", "cpu")


def test_a_lone_text_keeps_its_vector(encoder) -> None:
    (vector,) = vectors([Question.of("a pond")], encoder, _Index({}))
    np.testing.assert_array_equal(vector, encoder.encode_texts(["a pond"])[0])


def test_parts_add_up_by_weight_and_come_to_length_one(encoder) -> None:
    pond, crane = encoder.encode_texts(["a pond", "cranes"])
    (vector,) = vectors(
        [Question.of("a pond", [content_part("2:cranes", -1)])], encoder, _Index({})
    )
    due = pond - 2 * crane
    np.testing.assert_allclose(vector, due / np.linalg.norm(due), atol=1e-6)
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-6)


def test_a_picture_is_told_from_a_text_by_its_file(encoder, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a pond.png")
    part = content_part(f"0.5:{tmp_path / 'a pond.png'}")
    assert part.weight == 0.5
    assert isinstance(part.what, np.ndarray)
    (vector,) = vectors([Question((part,))], encoder, _Index({}))
    np.testing.assert_allclose(vector, encoder.encode_images([pixels])[0], atol=1e-6)
    (tmp_path / "broken.png").write_text("no picture")
    with pytest.raises(DataError, match=r"broken\.png"):
        content_part(str(tmp_path / "broken.png"))


def test_a_place_stands_for_the_tile_there(encoder) -> None:
    tile = np.eye(1, 256, dtype=np.float32)[0]
    index = _Index({(47.5, 10.25): tile})
    (vector,) = vectors([Question((place_part("47.5,10.25"),))], encoder, index)
    np.testing.assert_allclose(vector, tile, atol=1e-6)
    with pytest.raises(UsageError, match=r"no tile of the index lies at 10.25,47.5: .*5,000.0 km"):
        vectors([Question((place_part("10.25,47.5"),))], encoder, index)


def test_parts_that_cancel_each_other_are_refused(encoder) -> None:
    with pytest.raises(UsageError, match="cancel each other"):
        vectors([Question.of("a pond", [content_part("a pond", -1)])], encoder, _Index({}))


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("cranes", (1.0, "cranes")),
        ("2:cranes", (2.0, "cranes")),
        ("0.5:many small boats", (0.5, "many small boats")),
        (".5:many small boats", (0.5, "many small boats")),
        ("ratio 2:1", (1.0, "ratio 2:1")),
        (":x", (1.0, ":x")),
        ("2: cranes", (2.0, "cranes")),
        ("roofs: red", (1.0, "roofs: red")),
    ],
)
def test_weights_are_read(text: str, read: tuple[float, str]) -> None:
    assert weighed(text) == read


@pytest.mark.parametrize(
    "text", ["0:x", "99999999:x", "-2:x", "-.5:x", "1e3:x", "nan:x", "٢:x", "1_0:x"]
)
def test_a_weight_that_means_nothing_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="weight"):
        weighed(text)


@pytest.mark.parametrize("text", ["2:", "x:", "2:  "])
def test_a_colon_with_nothing_after_it_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="says nothing after its colon"):
        weighed(text)


@pytest.mark.parametrize("text", ["", "91,0", "0,181", "nan,0", "1", "1,2,3", "a,b"])
def test_what_is_no_place_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="LAT,LON"):
        place_part(text)


def test_names_say_the_sum() -> None:
    assert Question.of("a harbour").name == "a harbour"
    steered = Question.of(
        "a harbour",
        [Part("boats", "boats"), Part("cranes", "cranes", -2.0), Part((1.0, 2.0), "1,2", 0.5)],
    )
    assert steered.name == "a harbour + boats - 2:cranes + 0.5:1,2"
