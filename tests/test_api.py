"""The Python API: light to import, its page's snippets run, and a lone text is one item."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest
from api_page import PAGE, prepare, run_snippets
from samples import SIDE, write_raster

import ngcg_cli as ngcg
from ngcg_cli.choices import Augmentation
from ngcg_cli.errors import DataError, UsageError
from ngcg_cli.items import StrPath
from ngcg_cli.search import TileIndex
from ngcg_cli.training.options import TrainOptions
from ngcg_cli.training.settings import TrainSettings, settings_of

HEAVY = ("torch", "transformers", "rasterio", "pyarrow", "numpy", "typer", "geopandas")


def shown(hits: list[ngcg.Hit]) -> list[dict[str, Any]]:
    """What is told of hits, but for the last digits of the score: batches differ in those."""
    return [{**hit.as_dict(), "score": pytest.approx(hit.score, abs=1e-5)} for hit in hits]


@pytest.fixture(scope="module")
def places(town: Path) -> ngcg.Places:
    return ngcg.open(town / "index")


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = f"import ngcg_cli, sys; print([m for m in {HEAVY} if m in sys.modules], dir(ngcg_cli))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.startswith("[] ")
    assert "to_geopandas" in told.stdout


def test_every_public_name_is_there_and_on_the_page() -> None:
    page = PAGE.read_text("utf-8")
    for name in ngcg.__all__:
        assert getattr(ngcg, name) is not None
        assert re.search(rf"\bngcg\.{name}\b|`{name}`", page), name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = ngcg.nothing
    assert Path(ngcg.__file__).with_name("py.typed").exists()


@pytest.mark.slow
def test_the_snippets_of_the_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(tmp_path)
    monkeypatch.chdir(tmp_path)
    names = run_snippets()
    assert names["snippets"] >= 6
    assert names["report"].added > 0
    assert len(names["hits"]) == 5
    assert names["result"].steps == 2
    assert (tmp_path / "ponds.geojson").exists()


def test_a_lone_text_is_one_query(places: ngcg.Places) -> None:
    hits = places.query("a pond", top=3)
    assert [hit.rank for hit in hits] == [1, 2, 3]
    several = places.query(["a pond", "a road"], top=3)
    assert shown(several[0]) == shown(hits)
    assert len(several) == 2
    assert places.query([], top=3) == []


def test_filters_hold_for_their_own_query_alone(places: ngcg.Places) -> None:
    first = places.query("a pond", top=1)[0]
    near = places.query("a pond", top=50, near=(first.lat, first.lon, 1.0))
    assert shown(near) == shown([first])
    assert len(places.query("a pond", top=50)) > 1
    with pytest.raises(UsageError):
        places.query("a pond", top=0)


def test_a_photo_may_be_a_file_or_pixels(places: ngcg.Places, tmp_path: Path) -> None:
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    hits = places.query_image(tmp_path / "photo.png", top=2)
    assert shown(hits) == shown(places.query_image(pixels, top=2))
    assert len(hits) == 2
    with pytest.raises(DataError):
        places.query_image(tmp_path / "missing.png")


def test_a_hit_tells_what_it_is(places: ngcg.Places, town: Path) -> None:
    hit = places.query("a pond", top=1)[0]
    assert repr(hit).startswith(f"Hit(rank=1, score={hit.score:.3f}, lon={round(hit.lon, 7)}")
    assert hit.as_dict()["source"] == str(town / "a.tif") or "b.tif" in hit.source
    feature = hit.__geo_interface__
    json.dumps(feature, allow_nan=False)
    assert feature["type"] == "Feature"
    assert feature["properties"] == hit.as_dict()
    assert feature["geometry"]["type"] == "Polygon"
    assert len(places) == 32
    assert repr(places).startswith("<Places ")
    assert places.sources == [str(town / "a.tif"), str(town / "b.tif")]


def test_hits_become_a_table_of_geopandas(places: ngcg.Places, tmp_path: Path) -> None:
    import geopandas

    hits = places.query("a pond", top=3)
    frame = ngcg.to_geopandas(hits)
    assert frame.crs == "EPSG:4326"
    assert frame["rank"].tolist() == [1, 2, 3]
    assert frame.geometry.iloc[0].centroid.x == pytest.approx(hits[0].lon, abs=1e-6)
    frame.to_parquet(tmp_path / "hits.parquet")
    assert len(geopandas.read_parquet(tmp_path / "hits.parquet")) == 3
    empty = ngcg.to_geopandas([])
    assert (len(empty), str(empty.crs)) == (0, "EPSG:4326")


def test_a_lone_path_is_one_source_and_never_its_letters(
    tmp_path: Path, fake_backbone: Path
) -> None:
    raster = write_raster(tmp_path / "x.tif", 1)
    index = tmp_path / "index"
    options: dict[str, Any] = {"model": str(fake_backbone), "tile": f"{SIDE}px"}
    for source in (str(raster), raster):
        report = ngcg.index(source, index, **options)
        assert [entry.path for entry in report.sources] == [str(raster)]
    opened = TileIndex.open(index)
    assert [record.path for record in opened.drop(str(raster))] == [str(raster)]


def test_a_lone_text_is_one_for_the_encoder(fake_backbone: Path) -> None:
    encoder = ngcg.load_encoder(fake_backbone, "cpu")
    alone = encoder.encode_texts("a pond")
    assert alone.shape == (1, encoder.dim)
    np.testing.assert_array_equal(alone, encoder.encode_texts(["a pond"]))
    image = np.zeros((32, 32, 3), np.uint8)
    assert encoder.encode_images(image).shape == (1, encoder.dim)


def test_training_takes_the_options_of_the_command_and_tells_them() -> None:
    wider = {
        Path | None: StrPath | None,
        Sequence[str]: str | Sequence[str],
        Sequence[Augmentation]: Augmentation | Sequence[Augmentation],
    }
    due = {setting.name: setting for setting in settings_of(TrainSettings)}
    del due["data"], due["out"]  # arguments of their own
    taken = get_type_hints(TrainOptions)
    assert taken == {name: wider.get(each.type, each.type) for name, each in due.items()}
    assert not TrainOptions.__required_keys__
    for name, setting in due.items():
        assert f"{name}: {setting.told.help}" in (TrainOptions.__doc__ or "")
    with pytest.raises(TypeError, match="learning_rate"):
        ngcg.train("pairs.jsonl", "run", learning_rate=1e-4)  # type: ignore[call-arg]
