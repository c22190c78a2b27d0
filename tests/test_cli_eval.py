"""`ngcg eval` from the command line to its figures, with a small model of random weights."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ngcg_cli import app
from ngcg_cli.datasets import read_image
from ngcg_cli.evaluation import embed
from ngcg_cli.search import ModelStamp, SourceRecord, TileIndex, TileTable


@pytest.fixture(autouse=True)
def own_surroundings(monkeypatch, tmp_path, fake_backbone):
    """No model or index from outside, and the user's cache in the test's own folder."""
    monkeypatch.delenv("NGCG_INDEX", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("platformdirs.user_cache_path", lambda *_, **__: tmp_path / "cache")
    monkeypatch.setenv("NGCG_MODEL", str(fake_backbone))


@pytest.fixture
def ngcg(capfd):
    """Runs a command line; gives exit status, stdout, stderr."""

    def run(*words: object) -> tuple[int, str, str]:
        capfd.readouterr()
        status = app.run([str(word) for word in words])
        out, err = capfd.readouterr()
        return status, out, err

    return run


@pytest.fixture(scope="module")
def encoder(fake_backbone):
    from ngcg_cli.encoder.checkpoint import load_encoder

    return load_encoder(str(fake_backbone), "cpu")


def draw(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 40, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


WORDS = ("planes", "boats", "a red roof", "ponds", "a meadow", "four cars")


@pytest.fixture
def data(tmp_path):
    """Six images with two captions each, as JSON Lines."""
    with (tmp_path / "data.jsonl").open("w") as lines:
        for number, word in enumerate(WORDS):
            draw(tmp_path / f"images/{number}.png", number)
            row = {
                "image": f"images/{number}.png",
                "captions": [f"many {word} in a harbour", f"{word} beside a roundabout"],
            }
            lines.write(json.dumps(row) + "\n")
    return tmp_path / "data.jsonl"


def floor_percent(hits: int, total: int) -> float:
    return (hits * 10_000 // total) / 100


def expected_recall(scores: np.ndarray, correct: np.ndarray) -> dict[str, float]:
    """By sorting: ranks of rows of scores, with no help from the code under test."""
    ranks = []
    for row, truth in zip(scores, correct, strict=True):
        best = row[truth].max()
        ranks.append(1 + int(((row >= best) & ~truth).sum()))
    return {f"R@{k}": floor_percent(sum(r <= k for r in ranks), len(ranks)) for k in (1, 5, 10)}


def test_recall_agrees_with_the_encoder_and_a_sort(ngcg, data, encoder):
    status, out, err = ngcg("eval", data, "--json")
    assert status == 0, err
    rows = [json.loads(line) for line in data.read_text().splitlines()]
    images = encoder.encode_images([read_image(data.parent / row["image"]) for row in rows])
    captions = encoder.encode_texts([c for row in rows for c in row["captions"]])
    correct = np.repeat(np.eye(6, dtype=bool), 2, axis=0)
    scores = captions @ images.T
    to_image = expected_recall(scores, correct)
    to_text = expected_recall(scores.T, correct.T)
    figures = json.loads(out)
    assert list(figures) == [
        "protocol",
        "images",
        "captions",
        "text_to_image",
        "image_to_text",
        "mean",
        "precision",
    ]
    assert figures["precision"] == "float32"
    assert figures["text_to_image"] == to_image
    assert figures["image_to_text"] == to_text
    assert (figures["protocol"], figures["images"], figures["captions"]) == ("recall", 6, 12)
    assert out.count("\n") == 1


def test_the_table_is_for_people_and_results_alone_are_on_stdout(ngcg, data):
    status, out, err = ngcg("eval", data, "--ci")
    assert status == 0, err
    assert "text_to_image R@1" in out
    assert "95 % interval" in out
    assert " to " in out
    assert "6 images, 12 captions; protocol recall" in err
    assert "{" not in out


def test_embeddings_are_cached_by_model_and_data_and_it_says_so(ngcg, data, monkeypatch):
    _, first, err = ngcg("eval", data, "--json")
    assert "cached embeddings" not in err

    def refuse(*_, **__):
        raise AssertionError("embedded again")

    with monkeypatch.context() as patch:
        patch.setattr("ngcg_cli.encoder.encoder.Encoder.encode_texts", refuse)
        patch.setattr("ngcg_cli.encoder.encoder.Encoder.encode_images", refuse)
        status, again, err = ngcg("eval", data, "--json")
        assert (status, again) == (0, first)
        assert "images: 6 cached embeddings from" in err
        assert "captions: 12 cached embeddings from" in err
        # Without the cache, and after a change of the data, it must embed.
        assert ngcg("eval", data, "--json", "--no-cache")[0] == 1
        draw(data.parent / "images/3.png", 33)
        assert ngcg("eval", data, "--json")[0] == 1
    _, changed, err = ngcg("eval", data, "--json")
    assert "captions: 12 cached" in err
    assert "images: 6 cached embeddings" not in err
    assert json.loads(changed)["images"] == 6


def test_another_model_has_other_embeddings(ngcg, data, tmp_path, fake_backbone):
    import shutil

    from safetensors.numpy import load_file, save_file

    other = tmp_path / "other"
    shutil.copytree(fake_backbone, other)
    weights = load_file(other / "model.safetensors")
    key = next(iter(weights))
    weights[key] = weights[key] * 1.5
    save_file(weights, other / "model.safetensors", metadata={"format": "pt"})
    cache = tmp_path / "mine"
    assert ngcg("eval", data, "--cache", cache, "--json")[0] == 0
    assert len(list(cache.iterdir())) == 2
    status, _, err = ngcg("eval", data, "--cache", cache, "--json", "--model", other)
    assert status == 0, err
    assert "cached embeddings" not in err
    assert len(list(cache.iterdir())) == 4


def test_a_damaged_cache_is_told_and_made_anew(ngcg, data, tmp_path):
    cache = tmp_path / "mine"
    _, first, _ = ngcg("eval", data, "--cache", cache, "--json")
    for number, file in enumerate(sorted(cache.iterdir())):
        if number:
            np.save(file, np.zeros((2, 2)))
        else:
            file.write_bytes(file.read_bytes()[:100])
    status, again, err = ngcg("eval", data, "--cache", cache, "--json")
    assert (status, again) == (0, first)
    assert "is damaged" in err
    assert "does not hold what it should" in err
    assert "cached embeddings" not in err
    assert "cached embeddings" in ngcg("eval", data, "--cache", cache, "--json")[2]


def test_unreadable_images_are_named_left_out_and_told_by_the_status(ngcg, data):
    (data.parent / "images/1.png").unlink()
    broken = data.parent / "images/4.png"
    broken.write_bytes(broken.read_bytes()[:300])
    for cached in (False, True):
        status, out, err = ngcg("eval", data, "--json", "--max-unreadable", "0.5")
        assert status == 3
        assert ("cached embeddings" in err) == cached
        assert json.loads(out)["images"] == 4
        assert json.loads(out)["captions"] == 8
        assert f"{data.parent / 'images/1.png'}: No such file" in err
        assert f"{broken}: broken image" in err
        assert "2 images could not be read and were left out" in err
    status, out, err = ngcg("eval", data, "--json", "--max-unreadable", "0.2")
    assert (status, out) == (1, "")
    assert "2 of 6 images could not be read, more than 20.00%" in err
    status, out, err = ngcg("eval", data, "--json")
    assert (status, out) == (1, "")
    assert "more than 5.00%" in err


def test_per_query_rows_agree_with_the_figures(ngcg, data, tmp_path):
    for name in ("rows.csv", "rows.jsonl"):
        status, out, _ = ngcg("eval", data, "--json", "--per-query", tmp_path / name)
        assert status == 0
    figures = json.loads(out)
    with (tmp_path / "rows.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    lines = [json.loads(line) for line in (tmp_path / "rows.jsonl").open()]
    assert [int(row["rank"]) for row in table] == [line["rank"] for line in lines]
    for direction, total in (("text_to_image", 12), ("image_to_text", 6)):
        ranks = [line["rank"] for line in lines if line["direction"] == direction]
        assert len(ranks) == total
        for k in (1, 5, 10):
            share = floor_percent(sum(rank <= k for rank in ranks), total)
            assert share == figures[direction][f"R@{k}"]


def test_geotext_views_and_protocol(ngcg, tmp_path):
    entries = []
    for number, name in enumerate(
        ["0001/image-01.jpeg", "0001/image-02.jpeg", "0002/image-01.jpeg", "0002/0002.jpg"]
    ):
        draw(tmp_path / "test/query" / name, number)
        captions = [f"{WORDS[number]} and {other}" for other in WORDS[:3]]
        entries.append({"image_id": name, "image": f"test/query/{name}", "caption": captions})
    annotation = tmp_path / "test_951_version.json"
    annotation.write_text(json.dumps(entries))
    status, out, err = ngcg("eval", annotation, "--json")
    assert status == 0, err
    figures = json.loads(out)
    assert (figures["protocol"], figures["images"], figures["captions"]) == ("geotext", 4, 12)
    status, out, _ = ngcg("eval", tmp_path, "--views", "drone", "--json")
    assert json.loads(out)["images"] == 3
    status, out, err = ngcg("eval", annotation, "--views", "drone,sky")
    assert (status, out) == (2, "")
    assert "'sky' is not one of drone, satellite, ground" in err


def test_cvg_text_versions_and_image_types(ngcg, tmp_path):
    names = {
        "Tokyo": ["35.1000000,139.7000000_2019_a.png", "35.1010000,139.7000000_2019_b.png"],
        "Tokyo-photos": ["35.1000000,139.7000000_90.png"],
    }
    for version, files in names.items():
        (tmp_path / version).mkdir()
        descriptions = {file: f"{WORDS[i]} near {version}" for i, file in enumerate(files)}
        (tmp_path / version / "test.json").write_text(json.dumps(descriptions))
        for kind in ("satellite", "OSM"):
            for number, file in enumerate(files):
                draw(tmp_path / f"{version}-{kind}" / file, number + len(kind))
    status, out, err = ngcg("eval", tmp_path / "Tokyo-mixed", "--json")
    assert status == 0, err
    figures = json.loads(out)
    views = ["overall", "panorama", "single_view"]
    assert list(figures) == [*views, "precision"]
    assert [figures[view]["count"] for view in views] == [3, 2, 1]
    assert list(figures["overall"]) == [
        *("R@1", "R@5", "R@10", "L@50", "L@100", "L@150", "deviation_km", "count")
    ]
    osm = ngcg("eval", tmp_path / "Tokyo", "--image-type", "osm", "--json")[1]
    assert json.loads(osm)["overall"]["count"] == 2
    assert json.loads(osm)["single_view"]["R@1"] is None
    status, _, err = ngcg("eval", tmp_path / "Tokyo", "--split", "train")
    assert status == 1
    assert "no split 'train'. It has test" in err


@pytest.fixture
def index(tmp_path, encoder, fake_backbone):
    """Four tiles of 0.001 degrees; the vector of each is that of a caption."""
    import shapely

    captions = [f"many {word}" for word in WORDS[:4]]
    west = 10 + 0.001 * np.arange(4)
    bbox = np.column_stack([west, np.zeros(4), west + 0.001, np.full(4, 0.001)])
    table = TileTable(
        lon=west + 0.0005,
        lat=np.full(4, 0.0005),
        bbox=bbox,
        window=np.array([[100 * i, 0, 100, 100] for i in range(4)]),
        geometry=[shapely.to_wkb(shapely.box(*edges)) for edges in bbox],
    )
    made = TileIndex.create(
        tmp_path / "index", ModelStamp(str(fake_backbone), encoder.fingerprint, encoder.dim)
    )
    source = SourceRecord("a.tif", 1, 1, tile="100px", overlap=0.0, min_valid=0.5)
    made.put(source, table, encoder.encode_texts(captions))
    return tmp_path / "index"


def test_places_against_an_index(ngcg, index, tmp_path):
    # A tile's own caption finds it with cosine 1: three true points, and one that is a tile off.
    points = [(10.0005, 0.0005), (10.0015, 0.0005), (10.0035, 0.0005), (10.0025, 0.0005)]
    places = tmp_path / "places.jsonl"
    places.write_text(
        "".join(
            json.dumps({"captions": [f"many {word}"], "lon": lon, "lat": lat}) + "\n"
            for word, (lon, lat) in zip(WORDS, points, strict=False)
        )
    )
    status, out, err = ngcg("eval", places, "--index", index, "--json")
    assert status == 0, err
    assert json.loads(out) == {
        "queries": 4,
        "R@1": 50.0,
        "R@5": 100.0,
        "R@10": 100.0,
        "L@50": 50.0,
        "L@100": 50.0,
        "L@150": 100.0,
        "median_error_m": 55.6,  # of 0, 0, 111.19 and 111.19
        "precision": "float32",
    }
    rows = tmp_path / "rows.csv"
    assert ngcg("eval", places, "--index", index, "--per-query", rows)[0] == 0
    with rows.open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["error_m"] for row in table] == ["0.0", "0.0", "111.19", "111.19"]


def test_places_against_an_index_of_which_tiles_are_damaged(ngcg, index, tmp_path):
    places = tmp_path / "places.jsonl"
    places.write_text('{"captions": ["many boats"], "lon": 10, "lat": 0}\n')
    made = TileIndex.open(index)
    (table,) = [block.tiles for block in made.blocks()]
    vectors = next(made.blocks()).vectors
    made.put(SourceRecord("b.tif", 1, 1, tile="100px", overlap=0.0, min_valid=0.5), table, vectors)
    (index / "vectors" / "000002.npy").unlink()
    status, out, err = ngcg("eval", places, "--index", index, "--json")
    assert (status, json.loads(out)["queries"]) == (3, 1)
    assert "tiles of b.tif" in err


def test_places_need_an_index_of_the_same_model(ngcg, index, tmp_path, monkeypatch):
    places = tmp_path / "places.jsonl"
    places.write_text(json.dumps({"captions": ["a"], "lon": 0, "lat": 0}))
    status, _, err = ngcg("eval", places, "--index", tmp_path / "none")
    assert status == 1
    assert "no index here" in err
    status, _, err = ngcg("eval", places, "--index", index, "--model", "smolvlm-256m")
    assert status == 1
    assert "smolvlm-256m" in err
    assert ngcg("eval", places, "--index", index)[0] == 0
    monkeypatch.delenv("NGCG_MODEL")  # named once for this index, it is known
    assert ngcg("eval", places, "--index", index)[0] == 0


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        (["--cache", "x", "--no-cache"], 2, "exclude each other"),
        (["--per-query", "rows.xlsx"], 2, "must end in .csv or .jsonl"),
        (["--protocol", "mean"], 2, "'--protocol': 'mean' is not one of"),
        (["--max-unreadable", "2"], 2, "'--max-unreadable'"),
        (["--protocol", "geotext"], 1, "6 of 6 images name no building"),
        (["--protocol", "cvg-text"], 1, "6 of 6 images have no position"),
        (["--protocol", "places", "--images", "."], 2, "no meaning"),
        (["--match", "name"], 2, "--match name has no meaning for the recall protocol"),
        (["--data-format", "cvg-text"], 1, "found JSON Lines"),
        (["--data-format", "geotext"], 1, "found JSON Lines"),
        (["--split", "val"], 1, 'no line has "split": "val"'),
    ],
)
def test_what_cannot_be_done_is_one_line(ngcg, data, words, status, told):
    found, out, err = ngcg("-q", "eval", data, *words)
    assert (found, out) == (status, "")
    assert told in err
    assert err.count("\n") == 1


def test_a_model_that_gives_nan_is_an_error_and_is_not_cached(ngcg, data, monkeypatch, tmp_path):
    def broken(self, images, batch_size=32):
        return np.full((len(images), self.dim), np.nan, np.float32)

    monkeypatch.setattr("ngcg_cli.encoder.encoder.Encoder.encode_images", broken)
    status, out, err = ngcg("eval", data, "--json", "--cache", tmp_path / "mine")
    assert (status, out) == (1, "")
    assert "image 0 holds NaN" in err
    assert not (tmp_path / "mine").exists()


def test_equal_captions_are_embedded_once_and_tie(encoder, monkeypatch):
    given = []
    whole = encoder.encode_texts

    def counting(texts, batch_size=64):
        given.extend(texts)
        return whole(texts, batch_size)

    monkeypatch.setattr(encoder, "encode_texts", counting)
    captions = ["a harbour", "a pond", "a harbour", "a harbour"]
    vectors = embed.embed_captions(encoder, captions, embed.EmbeddingCache(None), lambda _: None)
    assert given == ["a harbour", "a pond"]
    assert np.array_equal(vectors[0], vectors[2])
    assert np.array_equal(vectors[0], vectors[3])
    assert not np.array_equal(vectors[0], vectors[1])
