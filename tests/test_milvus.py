"""An index in Milvus: faults of the engine and the way to it, and what passes between stores.

What every store does is in test_store.py. The server here is the embedded engine behind a port, in
a process of its own: the same protocol, without tokens.
"""

import os
import resource
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import shapely
from milvus_samples import block, held, rows
from tile_samples import MODEL, row_of_tiles, source, unit

from ngcg_cli.errors import TileIndexError, UsageError
from ngcg_cli.search import Block, Filters, create_index, index_exists, open_index
from ngcg_cli.search.milvus import catalogue, engine
from ngcg_cli.search.milvus.name import parse
from ngcg_cli.search.transfer import transfer

pytest.importorskip("pymilvus")
pytest.importorskip("milvus_lite")


@pytest.fixture
def name(tmp_path: Path) -> str:
    return f"milvus:{tmp_path / 'index.db'}"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("milvus:town.db", (Path("town.db"), None, "", "ngcg")),
        ("milvus:a/b.db#north", (Path("a/b.db"), None, "", "north")),
        ("milvus:http://host", (None, "http://host:19530", "", "ngcg")),
        ("milvus:http://host:1/maps#north", (None, "http://host:1", "maps", "north")),
        ("milvus:https:/host:1", (None, "https://host:1", "", "ngcg")),
        ("milvus:HTTP://host:1", (None, "http://host:1", "", "ngcg")),
        ("milvus:C:/town.db", (Path("C:/town.db"), None, "", "ngcg")),
        ("milvus:http://[::1]:7", (None, "http://[::1]:7", "", "ngcg")),
    ],
)
def test_names(name: str, told: tuple[object, ...]) -> None:
    place = parse(name)
    assert (place.file, place.url, place.database, place.collection) == told


@pytest.mark.parametrize(
    "name",
    ["milvus:", "milvus:a#", "milvus:a#1b", "milvus:http://u:p@h:1", "milvus:http://h:x",
     "milvus:http://h:1/a/b", "milvus:http://h:1?q", "milvus:http://", "milvus:ftp://h",
     "milvus:ftp:/h", "milvus://h:1"],
)  # fmt: skip
def test_no_names(name: str) -> None:
    with pytest.raises(UsageError):
        parse(name)


def test_without_the_extra_it_says_what_to_type(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setitem(sys.modules, "pymilvus", None)
    with pytest.raises(Exception, match=r"pip install 'ngcg\[milvus\]'"):
        create_index(name, MODEL)


@pytest.mark.slow
def test_what_is_not_ours_is_refused_and_left_alone(tmp_path: Path) -> None:
    plain, folder = tmp_path / "plain", tmp_path / "folder"
    plain.write_text("mine")
    folder.mkdir()
    (folder / "letter").write_text("mine")
    for path in (plain, folder):
        with pytest.raises(TileIndexError, match="Name another"):
            create_index(f"milvus:{path}", MODEL)
    assert plain.read_text() == (folder / "letter").read_text() == "mine"
    inside = engine.Engine(parse(f"milvus:{tmp_path / 'a.db'}"))
    index = {"index_type": "FLAT", "metric_type": "IP"}
    inside.create("ngcg", catalogue.FIELDS, "nothing", index)
    for ask in (index_exists, open_index, lambda name: create_index(name, MODEL)):
        with pytest.raises(TileIndexError, match="made by something else"):
            ask(f"milvus:{tmp_path / 'a.db'}")
    create_index(f"milvus:{tmp_path / 'a.db'}#other", MODEL)


@pytest.mark.slow
def test_an_old_or_damaged_state_is_told(name: str) -> None:
    store = create_index(name, MODEL)
    inside = store._engine  # type: ignore[attr-defined]
    row = catalogue.State(MODEL).row()
    for record, told in [
        (row["record"].replace('"format":1', '"format":0'), "format 0"),
        (row["record"].replace('"format":1', '"format":7'), "format 7"),
        ("{}", "damaged"),
        ("[", "damaged"),
    ]:
        inside.upsert(inside.place.records, [{**row, "record": record}])
        with pytest.raises(TileIndexError, match=told):
            open_index(name)


@pytest.mark.slow
def test_a_step_cut_short_anywhere_changes_nothing(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = create_index(name, MODEL)
    store.commit([block("a"), block("gone")])
    real = engine.Engine._call
    told = [hit.as_dict() for hit in store.search(unit(1), 9)[0]]
    steps = 0
    while True:
        left = steps

        def call(self: object, what: object, *args: object, **kwargs: object) -> object:
            nonlocal left
            if what.__name__ in ("upsert", "delete"):  # type: ignore[attr-defined]
                if left == 0:
                    raise TileIndexError("the power is off")
                left -= 1
            return real(self, what, *args, **kwargs)  # type: ignore[arg-type]

        writing = open_index(name)
        with monkeypatch.context() as patched, writing.writing():
            patched.setattr(engine.Engine, "_call", call)
            try:
                writing.commit([block("a", 5), block("new", 2)])
            except TileIndexError:
                pass
            else:
                break
        reader = open_index(name)
        if held(reader) == {"a": 3, "gone": 3}:
            assert [hit.as_dict() for hit in reader.search(unit(1), 9)[0]] == told
        else:  # what is dead was not deleted yet
            assert held(reader) == {"a": 5, "gone": 3, "new": 2}
            assert len(reader.search(unit(1), 99, keep_overlaps=True)[0]) == 10
            reader.drop("new")
            reader.commit([block("a")])
        steps += 1
        with reader.writing():  # clears up
            assert rows(reader) == reader.tile_count
    assert steps >= 4
    assert rows(writing) == 10


@pytest.mark.slow
def test_tiles_that_are_lost_are_told_and_indexed_anew(name: str) -> None:
    store = create_index(name, MODEL)
    store.commit([block("a", windows=3, done=3), block("b", 2)])
    inside = store._engine  # type: ignore[attr-defined]
    inside.delete(inside.place.collection, "part == 0 and row == 1")
    told = open_index(name).describe()
    assert told["health"]["damaged"] == ["a: tiles are missing"]
    with store.writing():
        record = store.sources()[0]
        assert (record.path, record.complete, record.done) == ("a", False, 0)
        store.commit([block("a", windows=3, done=3)])
    assert open_index(name).describe(check=True)["health"]["ok"]


@pytest.mark.slow
def test_damaged_files_are_told_without_a_promise(name: str, tmp_path: Path) -> None:
    create_index(name, MODEL).commit([block("a")])
    shutil.copytree(tmp_path / "index.db", tmp_path / "damaged.db")
    tables = list((tmp_path / "damaged.db").rglob("*.parquet"))
    for table in tables:
        table.write_bytes(b"junk")
    assert tables
    with pytest.raises(TileIndexError, match=r"the engine says: .*make a new index") as told:
        open_index(f"milvus:{tmp_path / 'damaged.db'}")
    assert "safe" not in str(told.value)


@pytest.mark.slow
def test_two_processes_or_writers_at_once(name: str) -> None:
    store = create_index(name, MODEL)
    script = "import sys; from ngcg_cli.search import open_index; open_index(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", script, name], capture_output=True, text=True)
    last = done.stderr.strip().splitlines()[-1]
    assert "in use by another process" in last
    with store.writing(), pytest.raises(TileIndexError, match=r"is being written by process \d+"):
        open_index(name).commit([block("a")])
    # A writer that was killed is no writer.
    inside = store._engine  # type: ignore[attr-defined]
    row = catalogue.writer_row({"pid": 1, "host": "h", "token": "t", "beat": time.time()})
    inside.upsert(inside.place.records, [row])
    store.commit([block("a")])
    assert held(store) == {"a": 3}


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_the_next_run_finishes(name: str) -> None:
    store = create_index(name, MODEL)
    store.commit([block("a")])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(TileIndexError, match="the disk is full"):
            store.commit([block("big", 400)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert held(open_index(name)) == {"a": 3}
    again = open_index(name)
    again.commit([block("big", 400)])
    assert held(open_index(name)) == {"a": 3, "big": 400}


@pytest.mark.slow
def test_merged_into_milvus_and_back(name: str, tmp_path: Path) -> None:
    folders = [str(tmp_path / "north"), str(tmp_path / "south")]
    stores = [create_index(folder, MODEL) for folder in folders]
    stores[0].commit([block("a", 5), block("none", 0)])
    more = Block(source("a", acquired="2024"), row_of_tiles(2, west=11), unit(2, seed=4), False)
    stores[0].commit([more])
    stores[1].commit([block("b", 4)])
    report = transfer(folders, name)
    assert (report.tiles, report.sources) == (11, 3)
    again = open_index(name)
    parts = again._view.state.next_part  # type: ignore[attr-defined]
    assert transfer(folders, name).tiles == 11
    assert transfer(folders[1:], name).sources == 3
    assert open_index(name)._view.state.next_part == parts  # type: ignore[attr-defined]
    back = str(tmp_path / "back")
    assert transfer([name], back).tiles == 11
    for store in (again, open_index(back)):
        assert held(store) == {"a": 7, "none": 0, "b": 4}
        assert store.sources()[0].acquired == "2024"
    one, other = (s.search(unit(5), 9, keep_overlaps=True) for s in (again, open_index(back)))
    assert [[h.as_dict() for h in hits] for hits in one] == [
        [h.as_dict() for h in hits] for hits in other
    ]
    with pytest.raises(TileIndexError, match="is there already"):
        transfer([name], back)
    other_model = str(tmp_path / "other")
    create_index(other_model, replace(MODEL, fingerprint="b" * 64))
    with pytest.raises(TileIndexError, match="Only indexes of one model"):
        transfer([other_model], name)
    assert os.path.isdir(other_model)


@pytest.mark.slow
def test_the_same_hits_as_a_folder_with_and_without_each_filter(name: str, tmp_path: Path) -> None:
    stores = [create_index(tmp_path / "folder", MODEL), create_index(name, MODEL)]
    for store in stores:
        for number, path in enumerate(("a.tif", "b.tif")):
            for first in range(3):
                seed = 3 * number + first
                tiles = row_of_tiles(60, west=10 + 0.02 * first + 0.0003 * number, step=40)
                told = source(path, acquired=f"202{number}", complete=first == 2)
                store.commit([Block(told, tiles, unit(60, seed=seed), first == 0)])
    queries = unit(30, seed=77)
    for filters in (
        Filters(),
        Filters(bbox=(10.01, 50, 10.05, 51)),
        Filters(near=(50.0005, 10.03, 1500)),
        Filters(areas=(shapely.Polygon([(10, 49), (10.3, 49), (10, 50.02)]),)),
        Filters(source="b*"),
        Filters(after="2021"),
        Filters(before="2021", bbox=(10.02, 50, 10.05, 51)),
    ):
        for keep_overlaps in (False, True):
            one, other = (s.search(queries, 10, filters, keep_overlaps=keep_overlaps)
                          for s in stores)  # fmt: skip
            assert all(one)
            for mine, theirs in zip(one, other, strict=True):
                for a, b in zip(mine, theirs, strict=True):
                    assert (a.source, a.window, a.footprint) == (b.source, b.window, b.footprint)
                    assert a.score == pytest.approx(b.score, abs=1e-5)
                    assert np.array_equal(a.vector, b.vector)  # type: ignore[arg-type]
