"""What every store does, wherever it keeps the tiles: add a store to `STORES` to have it tested."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import shapely
from tile_samples import MODEL, row_of_tiles, source, unit

from ngcg_cli.errors import TileIndexError, UsageError
from ngcg_cli.search import (
    Block,
    Filters,
    ModelStamp,
    SourceRecord,
    Store,
    create_index,
    index_exists,
    open_index,
)

# What a store in a temporary folder is called.
STORES: dict[str, Callable[[Path], str]] = {
    "folder": lambda folder: str(folder / "index"),
    "milvus": lambda folder: f"milvus:{folder / 'index.db'}",
}


@pytest.fixture(params=STORES)
def name(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return STORES[request.param](tmp_path)


@pytest.fixture
def store(name: str) -> Store:
    return create_index(name, MODEL)


def block(path: str, count: int, seed: int = 0, west: float = 10, **facts: object) -> Block:
    fresh = bool(facts.pop("fresh", True))
    record = source(path, **facts)
    return Block(record, row_of_tiles(count, west=west), unit(count, seed=seed), fresh)


def held(store: Store) -> dict[str, int]:
    return {record.path: record.tiles for record in store.sources()}


def found(store: Store, filters: Filters, **how: object) -> set[str]:
    return {hit.source for hit in store.search(unit(1, seed=5), 99, filters, **how)[0]}  # type: ignore[arg-type]


def test_made_opened_and_missing(name: str) -> None:
    assert not index_exists(name)
    with pytest.raises(TileIndexError):
        open_index(name)
    made = create_index(name, MODEL)
    assert index_exists(name)
    assert (made.model, made.tile_count, made.sources()) == (MODEL, 0, [])
    assert made.search(unit(2)) == [[], []]
    assert made.nearest(50, 10) is None
    assert open_index(name).model == MODEL
    with pytest.raises(TileIndexError):
        create_index(name, MODEL)
    create_index(name, MODEL, wait=True)


def test_what_others_commit_is_noticed(name: str, store: Store) -> None:
    reader = open_index(name)
    before = reader.committed()
    assert reader.committed() == before
    store.commit([block("a", 3)])
    after = reader.committed()
    assert after != before
    store.drop("a")
    assert reader.committed() not in (before, after)


def test_a_second_model_or_precision_is_refused_with_both_names(store: Store) -> None:
    store.check_model(replace(MODEL, name="the same under another name"))
    store.check_precision(MODEL.precision)
    with pytest.raises(TileIndexError, match=r"tiny.*other"):
        store.check_model(ModelStamp("other", "b" * 64, MODEL.dim))
    with pytest.raises(TileIndexError) as changed:  # a hint that can be followed
        store.check_model(replace(MODEL, fingerprint="b" * 64))
    assert "anew" in str(changed.value.hint)
    with pytest.raises(TileIndexError, match=r"float32.*int8"):
        store.check_precision("int8")


def test_what_is_committed_is_found_and_remembered(name: str, store: Store) -> None:
    facts = {"content": "c" * 64, "acquired": "2024-05-17", "windows": 9, "done": 7, "skipped": 1}
    store.commit([block("a.tif", 5, **facts, complete=False), block("b.tif", 3, seed=1, west=20)])
    again = open_index(name)
    assert held(again) == {"a.tif": 5, "b.tif": 3}
    assert again.tile_count == 8
    told = again.sources()[0]
    assert told == replace(
        source("a.tif", complete=False, **facts), tiles=5, segments=told.segments
    )
    tiles, vectors = row_of_tiles(5), unit(5)
    for i, hits in enumerate(again.search(vectors, 1)):
        (hit,) = hits
        assert (hit.rank, hit.source) == (1, "a.tif")
        assert hit.score == pytest.approx(1, abs=1e-5)
        assert (hit.lon, hit.lat) == pytest.approx((tiles.lon[i], tiles.lat[i]), abs=1e-9)
        assert hit.bbox == pytest.approx(tuple(tiles.bbox[i]), abs=1e-9)
        assert hit.window == tuple(tiles.window[i].tolist())
        ((exterior,),) = hit.footprint
        assert shapely.Polygon(exterior).equals(shapely.from_wkb(tiles.geometry[i]))
    hits = again.search(unit(1, seed=7), 99)[0]
    assert [hit.rank for hit in hits] == list(range(1, 9))
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_the_ranking_is_brute_force(store: Store) -> None:
    vectors = unit(200)
    store.commit([Block(source("a"), row_of_tiles(200), vectors)])
    queries = unit(20, seed=3)
    for exact in (False, True):
        found = store.search(queries, 10, exact=exact)
        for query, hits in zip(queries, found, strict=True):
            best = np.argsort(-(vectors @ query), kind="stable")[:10]
            assert [hit.window[0] // 100 for hit in hits] == best.tolist()
            scores = (vectors[best] @ query).tolist()
            assert [hit.score for hit in hits] == pytest.approx(scores, abs=1e-5)


def test_a_source_is_replaced_extended_and_taken_out(name: str, store: Store) -> None:
    store.commit([block("a", 3, complete=False), block("b", 2, seed=1, west=20)])
    store.commit([block("a", 2, seed=2, west=30, fresh=False)])
    assert held(open_index(name)) == {"a": 5, "b": 2}
    assert {round(hit.lon) for hit in store.search(unit(1), 99)[0]} == {10, 20, 30}
    store.commit([block("a", 1, seed=3, west=40), block("none", 0)])
    assert held(open_index(name)) == {"a": 1, "b": 2, "none": 0}
    assert {round(hit.lon) for hit in store.search(unit(1), 99)[0]} == {20, 40}
    assert [record.path for record in store.drop(["b", "?"])] == ["b"]
    assert store.drop("b") == []
    assert held(open_index(name)) == {"a": 1, "none": 0}


def test_the_same_block_twice_changes_nothing(store: Store) -> None:
    for _ in range(2):
        store.commit([block("a", 3)])
    assert held(store) == {"a": 3}
    assert len(store.search(unit(1), 99, keep_overlaps=True)[0]) == 3


def test_moved_sources_keep_their_tiles(name: str, store: Store) -> None:
    store.commit([block("a", 3), block("b", 2, west=20)])
    moved = source("c", mtime_ns=99, acquired="2020")
    store.rename_all([("a", moved), ("?", source("d"))])
    assert held(open_index(name)) == {"c": 3, "b": 2}
    assert next(r for r in store.sources() if r.path == "c").mtime_ns == 99
    assert found(store, Filters()) == {"c", "b"}
    assert found(store, Filters(after="2020", before="2021")) == {"c"}


def test_every_filter_and_both_ways_of_searching(store: Store) -> None:
    store.commit(
        [
            block("/fiji/west.tif", 2, west=179.99, acquired="2023-03-01"),
            block("/fiji/east.tif", 2, seed=1, west=-179.99, acquired="2024-03-01T12:00Z"),
            block("/delft.tif", 2, seed=2, west=4.36),
        ]
    )
    fiji = {"/fiji/west.tif", "/fiji/east.tif"}
    for exact in (False, True):
        for filters, expected in [
            (Filters(), {*fiji, "/delft.tif"}),
            (Filters(bbox=(179.9, 49, -179.9, 51)), fiji),
            (Filters(bbox=(-180, 49, -179.9, 51)), {"/fiji/east.tif"}),
            (Filters(near=(50.0005, 4.361, 1000)), {"/delft.tif"}),
            (Filters(near=(50.0005, 180, 3000)), fiji),
            (Filters(areas=(shapely.box(4, 49, 5, 51), shapely.box(179, 49, 180, 51))),
             {"/delft.tif", "/fiji/west.tif"}),
            (Filters(areas=(shapely.box(170, 49, 190, 51),)), fiji),
            (Filters(source="/fiji/*"), fiji),
            (Filters(source="delft.tif"), {"/delft.tif"}),
            (Filters(source="*[!t].tif"), set()),
            (Filters(after="2024"), {"/fiji/east.tif"}),
            (Filters(before="2024-03-01T12:00Z"), {"/fiji/west.tif"}),
            (Filters(source="/fiji/*", bbox=(0, 0, 180, 90)), {"/fiji/west.tif"}),
            (Filters(bbox=(0, 0, 1, 1)), set()),
        ]:  # fmt: skip
            assert found(store, filters, exact=exact) == expected, filters


def test_a_filter_works_before_the_ranking(store: Store) -> None:
    # Of 300 tiles the ten that lie in the box are the worst.
    vectors = unit(300)
    order = np.argsort(vectors @ unit(1, seed=5)[0])
    store.commit([Block(source("all"), row_of_tiles(300, step=200), vectors[order])])
    ends = row_of_tiles(300, step=200).lon[[0, 9]]
    hits = store.search(unit(1, seed=5), 10, Filters(bbox=(ends[0], 0, ends[1], 90)))[0]
    assert sorted(hit.window[0] // 200 for hit in hits) == list(range(10))


def test_overlapping_tiles_count_once_unless_asked(store: Store) -> None:
    store.commit([Block(source("a"), row_of_tiles(9, step=25), unit(9))])
    assert len(store.search(unit(1), 99)[0]) < 9
    assert len(store.search(unit(1), 99, keep_overlaps=True)[0]) == 9


def test_the_nearest_tile(store: Store) -> None:
    store.commit([block("a", 4), block("b", 2, seed=1, west=-179.9999)])
    for lat, lon, vector, away in [
        (50.0005, 10.0024, unit(4)[2], 7.16),
        (50.0005, 179.99, unit(2, seed=1)[0], 758.4),
        (-50, -170, unit(2, seed=1)[1], 11_152_000),
    ]:
        nearest = store.nearest(lat, lon)
        assert nearest is not None
        assert nearest[0] == pytest.approx(vector, abs=1e-6)
        assert nearest[1] == pytest.approx(away, rel=1e-2)
    with pytest.raises(UsageError):
        store.nearest(91, 0)


def test_all_of_it_can_be_read_back(store: Store, tmp_path: Path) -> None:
    store.commit([block("a", 3, complete=False), block("none", 0), block("b", 2, west=20)])
    store.commit([block("a", 2, seed=2, west=30, fresh=False, acquired="2020")])
    copy = create_index(tmp_path / "copy", store.model)
    for part in store.blocks():
        copy.commit([part])

    def facts(record: SourceRecord) -> SourceRecord:
        return replace(record, segments=())

    assert sorted(map(str, map(facts, copy.sources()))) == sorted(
        map(str, map(facts, store.sources()))
    )
    queries = unit(5, seed=9)
    for one, other in zip(store.search(queries, 99), copy.search(queries, 99), strict=True):
        assert [hit.as_dict() for hit in one] == [hit.as_dict() for hit in other]


@pytest.mark.parametrize("bad", ["nan", "width", "length", "place"])
def test_a_bad_block_leaves_all_as_it_was(store: Store, bad: str) -> None:
    store.commit([block("a", 2)])
    wrong = block("b", 2)
    if bad == "nan":
        wrong = replace(wrong, vectors=unit(2) * np.nan)
    elif bad == "width":
        wrong = replace(wrong, vectors=unit(2, dim=8))
    elif bad == "length":
        wrong = replace(wrong, vectors=unit(2) * 2)
    else:
        wrong = replace(wrong, tiles=row_of_tiles(2, west=180))
    with pytest.raises(TileIndexError):
        store.commit([block("c", 1), wrong])
    assert held(store) == {"a": 2}


def test_a_query_of_another_width_or_no_number_is_refused(store: Store) -> None:
    with pytest.raises(TileIndexError):
        store.search(unit(1, dim=8))
    with pytest.raises(TileIndexError):
        store.search(unit(1) * np.nan)
    with pytest.raises(UsageError):
        store.search(unit(1), 0)


def test_a_reader_sees_what_was_committed_while_one_writes(name: str, store: Store) -> None:
    store.commit([block("a", 2)])
    reader = open_index(name)
    with store.writing():
        store.commit([block("b", 2, west=20)])
        assert held(open_index(name)) == {"a": 2, "b": 2}
    assert found(reader, Filters()) >= {"a"}


def test_it_describes_itself(store: Store) -> None:
    store.commit([block("a", 2, windows=2, done=2), block("b", 2, west=20, complete=False)])
    store.refresh_graph()
    told = store.describe(check=True)
    assert told["index"] == str(store.path)
    assert (told["model"], told["dim"], told["tiles"]) == (MODEL.name, MODEL.dim, 4)
    assert told["precision"] == MODEL.precision
    assert told["bbox"] == pytest.approx([10, 50, 20.002, 50.001])
    assert told["health"]["ok"] is True
    assert [(s["path"], s["status"], s["tiles"]) for s in told["sources"]] == [
        ("a", "complete", 2),
        ("b", "partial", 2),
    ]
