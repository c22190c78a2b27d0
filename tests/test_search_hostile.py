"""An index from a stranger is data: nothing in it is run, followed, waited for or believed."""

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from index_edits import manifest_of, record, rewrite
from test_search import MODEL, row_of_tiles, source, unit

from ngcg_cli.errors import NgcgError, TileIndexError
from ngcg_cli.search import TileIndex, format
from ngcg_cli.search.describe import describe
from ngcg_cli.search.footprints import MAX_POINTS, pieces
from ngcg_cli.search.lock import LOCK
from ngcg_cli.search.tiles import TileColumns, read_geometry

TABLE, VECTORS = "tiles/000001.parquet", "vectors/000001.npy"


@pytest.fixture
def index(tmp_path: Path) -> TileIndex:
    made = TileIndex.create(tmp_path / "index", MODEL)
    made.put(source("a.tif"), row_of_tiles(40), unit(40))
    made.put(source("b.tif"), row_of_tiles(3, west=20), unit(3))
    return made


@pytest.fixture
def precious(tmp_path: Path) -> Path:
    """A folder of the user's with files of names that ngcg writes too; it must stay as it is."""
    folder = tmp_path / "home"
    folder.mkdir()
    for name in ("000001.npy", "000001.parquet", "thesis.npy", ".bashrc"):
        (folder / name).write_text(f"my {name}")
    return folder


def untouched(folder: Path) -> bool:
    return {p.name: p.read_text() for p in folder.iterdir()} == {
        name: f"my {name}" for name in ("000001.npy", "000001.parquet", "thesis.npy", ".bashrc")
    }


def told(call: Callable[[], object]) -> str:
    """The one line that a call ends with."""
    with pytest.raises(NgcgError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def resized(index: TileIndex, name: str) -> None:
    """Makes the manifest agree with a file that was replaced."""
    data = manifest_of(index.path)
    kind = "table" if name == TABLE else "vectors"
    data["sources"][0]["segments"][0][kind] = record(index.path, name)
    rewrite(index.path, data)


# --- what is no file --------------------------------------------------------------------------


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _zeros(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _elsewhere(path: Path) -> None:
    other = path.with_name("elsewhere")
    other.write_bytes(b"{}")
    path.symlink_to(other)


@pytest.mark.parametrize("odd", [_pipe, _zeros, _elsewhere, Path.mkdir])
def test_a_manifest_that_is_no_file(index: TileIndex, odd: Callable[[Path], None]) -> None:
    path = index.path / "manifest.json"
    path.unlink()
    odd(path)
    assert "manifest.json: is damaged (it is" in told(lambda: TileIndex.open(index.path))
    with pytest.raises(TileIndexError):
        index.drop(["a.tif"])


@pytest.mark.parametrize("name", [TABLE, VECTORS])
@pytest.mark.parametrize("odd", [_pipe, _zeros, _elsewhere, Path.mkdir])
def test_a_segment_file_that_is_no_file(
    index: TileIndex, name: str, odd: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    (index.path / name).unlink()
    odd(index.path / name)
    again = TileIndex.open(index.path)
    assert again.damaged() == {"a.tif"}
    assert f"{name} is damaged (it is" in caplog.text
    assert {hit.source for hit in again.search(unit(1))[0]} == {"b.tif"}
    assert describe(again, check=True)["health"]["damaged"][0].startswith(name)


@pytest.mark.parametrize("kind", ["vectors", "tiles", "graph"])
def test_folders_that_are_links_are_never_written_or_swept(
    index: TileIndex, precious: Path, kind: str
) -> None:
    data = manifest_of(index.path)
    folder = index.path / kind
    if folder.exists():
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
    folder.symlink_to(precious)
    writes: list[Callable[[TileIndex], object]] = [
        lambda index: index.drop(["a.tif"]),
        lambda index: index.put(source("c"), row_of_tiles(1), unit(1)),
        lambda index: index.rename_all([("a.tif", source("z"))]),
        lambda index: index.refresh_graph(),
    ]
    for write in writes:
        for sources in (data["sources"], []):
            rewrite(index.path, {**data, "sources": sources})
            line = told(lambda write=write: write(TileIndex.open(index.path)))
            assert f"{kind}: is damaged (it is a link" in line
            assert untouched(precious)


def test_hidden_names_that_are_links_are_replaced(index: TileIndex, precious: Path) -> None:
    victim = precious / ".bashrc"
    for name in (".partial-manifest.json", "vectors/.partial-000003.npy", "manifest.previous.json"):
        (index.path / name).unlink(missing_ok=True)
        (index.path / name).symlink_to(victim)
    index.put(source("c"), row_of_tiles(1), unit(1))
    assert untouched(precious)
    assert TileIndex.open(index.path).verify() == []


def test_a_lock_that_is_a_link_or_second_name_is_not_written(
    index: TileIndex, precious: Path
) -> None:
    lock = index.path / LOCK
    for make in (lock.symlink_to, lock.hardlink_to):
        lock.unlink()
        make(precious / ".bashrc")
        assert f"{LOCK}: is no plain file" in told(lambda: index.drop(["a.tif"]))
        assert untouched(precious)
    lock.unlink()
    os.mkfifo(lock)
    assert f"{LOCK}: is no plain file" in told(lambda: index.drop(["a.tif"]))


def test_only_names_that_ngcg_writes_are_swept(index: TileIndex) -> None:
    mine = ["tiles/sales.parquet", "vectors/thesis.npy", "vectors/1.npy", "graph/keep.hnsw"]
    strays = ["tiles/000099.parquet", "vectors/.partial-000099.npy", "graph/000099.hnsw"]
    (index.path / "graph").mkdir()
    for name in mine + strays:
        (index.path / name).write_text("x")
    index.drop(["b.tif"])
    assert [(index.path / name).exists() for name in mine] == [True] * len(mine)
    assert [(index.path / name).exists() for name in strays] == [False] * len(strays)


# --- another writer's place -------------------------------------------------------------------


def test_a_writer_stops_when_its_lock_is_deleted(index: TileIndex) -> None:
    before = manifest_of(index.path)
    with index.writing():
        (index.path / LOCK).unlink()
        other = TileIndex.open(index.path)
        other.put(source("c"), row_of_tiles(2, west=40), unit(2))
        for write in (
            lambda: index.put(source("d"), row_of_tiles(5), unit(5)),
            lambda: index.drop(["a.tif"]),
        ):
            assert "while this process wrote it" in told(write)
    again = TileIndex.open(index.path)
    assert [s.path for s in again.sources()] == ["a.tif", "b.tif", "c"]
    assert again.verify() == []
    assert before["sources"] == manifest_of(index.path)["sources"][:2]


def test_a_writer_stops_when_its_folder_is_moved(index: TileIndex, tmp_path: Path) -> None:
    with index.writing():
        index.path.rename(tmp_path / "moved")
        told(lambda: index.put(source("c"), row_of_tiles(2), unit(2)))
        assert not index.path.exists()
        TileIndex.create(index.path, MODEL)  # another one in its place
        told(lambda: index.put(source("c"), row_of_tiles(2), unit(2)))
    assert TileIndex.open(index.path).sources() == []
    moved = TileIndex.open(tmp_path / "moved")
    assert moved.verify() == []
    assert [s.path for s in moved.sources()] == ["a.tif", "b.tif"]


# --- the manifest -----------------------------------------------------------------------------


def test_every_flipped_bit_of_a_manifest_is_noticed(index: TileIndex) -> None:
    path = index.path / "manifest.json"
    good = path.read_bytes()
    for at in range(0, len(good), 7):
        for bit in (0, 3, 5):
            data = bytearray(good)
            data[at] ^= 1 << bit
            path.write_bytes(data)
            told(lambda: TileIndex.open(index.path))
    path.write_bytes(good)
    assert TileIndex.open(index.path).tile_count == 43


def test_a_manifest_edited_by_hand_says_what_to_do(index: TileIndex) -> None:
    data = manifest_of(index.path)
    data["sources"][0]["path"] = "elsewhere.tif"
    (index.path / "manifest.json").write_text(json.dumps(data))
    line = told(lambda: TileIndex.open(index.path))
    assert "its bytes do not fit its checksum" in line
    assert "Copy manifest.previous.json" in line
    del data["checksum"]
    (index.path / "manifest.json").write_text(json.dumps(data))
    assert "do not fit" in told(lambda: TileIndex.open(index.path))


def test_info_says_whether_a_manifest_has_a_checksum(index: TileIndex) -> None:
    assert describe(index)["health"]["sealed"] is True
    data = {**manifest_of(index.path), "version": 2}
    del data["checksum"]
    (index.path / "manifest.json").write_text(json.dumps(data))
    health = describe(TileIndex.open(index.path))["health"]
    assert (health["ok"], health["upgrade"], health["sealed"]) == (True, True, False)


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m["sources"][0]["segments"][0].update(tiles=10**15),
        lambda m: m["sources"][0]["segments"][0].update(tiles=True),
        lambda m: m["sources"][0]["segments"][0].update(name="٠٠٠٠٠١"),
        lambda m: m["sources"][0]["segments"][0]["vectors"].update(bytes=0),
        lambda m: m["sources"][0]["segments"][0]["vectors"].update(bytes=-1),
        lambda m: m["sources"][0]["segments"][0]["vectors"].update(bytes=1e300),
        lambda m: m["sources"][0]["segments"][0].update(bbox=[0, 0, float("nan"), 1]),
        lambda m: m["sources"][0]["segments"][0].update(bbox=[0, 0, "1", 1]),
        lambda m: m["sources"][0]["segments"].append(None),
        lambda m: m["sources"][0].update(overlap=float("inf")),
        lambda m: m["sources"][0].update(path=7),
        lambda m: m["sources"][0].update(mtime_ns=10**400),
        lambda m: m["sources"][0].update(surprise=1),
        lambda m: m["sources"].append(m["sources"][0]),
        lambda m: m["model"].update(dim=1 << 40),
        lambda m: m["model"].update(precision="x; rm"),
        lambda m: m.update(next_name=-1),
        lambda m: m.update(next_name="1"),
        lambda m: m.update(sources={}),
        lambda m: m.update(version=True),
        lambda m: m.update(graph={"name": "000009"}),
        lambda m: m.update(graph=[]),
    ],
)
def test_a_manifest_of_odd_values_is_one_line(index: TileIndex, change: Any) -> None:
    data = manifest_of(index.path)
    change(data)
    rewrite(index.path, data)
    told(lambda: TileIndex.open(index.path))


def test_a_manifest_too_deep_or_too_large_is_one_line(
    index: TileIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = index.path / "manifest.json"
    for text in ("[" * 200_000, '{"a":' * 100_000, "1" * 5_000):
        path.write_text(text)
        assert "is damaged" in told(lambda: TileIndex.open(index.path))
    monkeypatch.setattr(format, "MAX_MANIFEST", 1000)
    path.write_text(" " * 1001)
    assert "more than 1,000 bytes" in told(lambda: TileIndex.open(index.path))


def test_no_more_segments_than_can_be_read_again(
    index: TileIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = (index.path / "manifest.json").stat().st_size
    monkeypatch.setattr(format, "MAX_MANIFEST", size + 200)
    line = told(lambda: index.put(source("c"), row_of_tiles(1), unit(1)))
    assert "more than an index can hold" in line
    assert TileIndex.open(index.path).tile_count == 43


# --- tables and vectors -----------------------------------------------------------------------


def _nested(depth: int) -> bytes:
    inner = shapely.to_wkb(shapely.box(10, 50, 10.001, 50.001))
    for _ in range(depth):
        inner = struct.pack("<BII", 1, 7, 1) + inner
    return inner


def _ring(points: list[tuple[float, float]], claim: int | None = None) -> bytes:
    flat = [x for point in points for x in point]
    count = len(points) if claim is None else claim
    return struct.pack(f"<BIII{len(flat)}d", 1, 3, 1, count, *flat)


SQUARE = [(10.0, 50.0), (10.001, 50.0), (10.001, 50.001), (10.0, 50.0)]
BAD_FOOTPRINTS = {
    "nested 50,000-fold": _nested(50_000),
    "nested in multipolygons": struct.pack("<BII", 1, 6, 1) * 9 + _ring(SQUARE),
    "an open ring": _ring([*SQUARE[:-1], (11, 50)]),
    "not finite": _ring([SQUARE[0], (float("nan"), 50.0), *SQUARE[1:]]),
    "off the Earth": _ring([SQUARE[0], (10.0, 1e300), *SQUARE[1:]]),
    "a claim of many points": _ring(SQUARE, claim=0xFFFFFFFF),
    "many points": _ring([*SQUARE[:-1]] * MAX_POINTS + [SQUARE[0]]),
    "a claim of many rings": struct.pack("<BII", 1, 3, 0xFFFFFFFF) + _ring(SQUARE)[9:],
    "a claim of many pieces": struct.pack("<BII", 1, 6, 0xFFFFFFFF) + _ring(SQUARE),
    "something behind": _ring(SQUARE) + b"\0" * 8_000,
    "cut short": _ring(SQUARE)[:-3],
    "nothing": b"",
    "a point": shapely.to_wkb(shapely.Point(1, 2)),
    "three dimensions": shapely.to_wkb(shapely.Polygon([(0, 0, 1), (1, 0, 1), (1, 1, 1)])),
}


@pytest.mark.parametrize("name", BAD_FOOTPRINTS)
def test_a_footprint_that_is_none_is_refused_before_any_library_sees_it(
    index: TileIndex, name: str
) -> None:
    with pytest.raises(ValueError, match="footprint"):
        pieces(BAD_FOOTPRINTS[name])
    table = pq.read_table(index.path / TABLE)
    column = pa.array([BAD_FOOTPRINTS[name]] * table.num_rows, pa.binary())
    at = table.column_names.index("geometry")
    pq.write_table(table.set_column(at, "geometry", column), index.path / TABLE)
    resized(index, TABLE)
    again = TileIndex.open(index.path)
    assert {hit.source for hit in again.search(unit(1))[0]} == {"b.tif"}
    assert again.damaged() == {"a.tif"}


def test_footprints_of_all_kinds_that_are_right() -> None:
    hole = shapely.box(0, 0, 4, 4).difference(shapely.box(1, 1, 2, 2))
    two = shapely.MultiPolygon([shapely.box(179, 0, 180, 1), shapely.box(-180, 0, -179, 1)])
    for shape in (shapely.box(0, 0, 1, 1), hole, two):
        for order in (0, 1):
            read = pieces(shapely.to_wkb(shape, byte_order=order))
            again = shapely.MultiPolygon([(p[0], p[1:]) for p in read])
            assert again.equals(shape)


def _rows_bomb(table: pa.Table, path: Path) -> None:
    # 20 million equal rows in some kB: all used to be decoded before they were counted.
    many = pa.table({name: pa.array(np.zeros(2_000_000)) for name in ("lon", "lat", "west")})
    with pq.ParquetWriter(path, many.schema) as writer:
        for _ in range(10):
            writer.write_table(many, row_group_size=2_000_000)


def _geometry_bomb(table: pa.Table, path: Path) -> None:
    big = [wkb + b"\0" * 1_000_000 for wkb in table["geometry"].to_pylist()]
    at = table.column_names.index("geometry")
    bomb = table.set_column(at, "geometry", pa.array(big, pa.binary()))
    pq.write_table(bomb, path, compression="zstd", use_dictionary=False)


def _dictionary_bomb(table: pa.Table, path: Path) -> None:
    # One value of 8 MB that stands in every row.
    big = pa.array([b"\0" * 8_000_000] * table.num_rows, pa.binary()).dictionary_encode()
    at = table.column_names.index("geometry")
    pq.write_table(table.set_column(at, "geometry", big.cast(pa.binary())), path)


def _prefix_bomb(table: pa.Table, path: Path) -> None:
    # Each value is the one before it and a little more.
    long = [b"\0" * (500_000 + i) for i in range(table.num_rows)]
    at = table.column_names.index("geometry")
    pq.write_table(
        table.set_column(at, "geometry", pa.array(long, pa.binary())),
        path,
        use_dictionary=False,
        column_encoding={"geometry": "DELTA_BYTE_ARRAY"},
    )


def _another_codec(table: pa.Table, path: Path) -> None:
    pq.write_table(table, path, compression="gzip")


def _text_for_numbers(table: pa.Table, path: Path) -> None:
    at = table.column_names.index("lon")
    pq.write_table(table.set_column(at, "lon", pa.array(["x"] * table.num_rows)), path)


def _lacking(table: pa.Table, path: Path) -> None:
    pq.write_table(table.drop_columns(["lat"]), path)


def _off_the_earth(table: pa.Table, path: Path) -> None:
    at = table.column_names.index("lon")
    pq.write_table(table.set_column(at, "lon", pa.array([np.inf] * table.num_rows)), path)


def _huge_windows(table: pa.Table, path: Path) -> None:
    at = table.column_names.index("width")
    pq.write_table(table.set_column(at, "width", pa.array([1 << 62] * table.num_rows)), path)


def _missing_values(table: pa.Table, path: Path) -> None:
    at = table.column_names.index("lon")
    none = pa.array([None] * table.num_rows, pa.float64())
    pq.write_table(table.set_column(at, "lon", none), path)


def _garbage(table: pa.Table, path: Path) -> None:
    path.write_bytes(b"PAR1" + b"\xff" * 400 + b"PAR1")


def _large_footer(table: pa.Table, path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-8] + struct.pack("<I", 0x7FFFFFFF) + b"PAR1")


@pytest.mark.parametrize(
    "bomb",
    [
        _rows_bomb,
        _geometry_bomb,
        _dictionary_bomb,
        _prefix_bomb,
        _another_codec,
        _text_for_numbers,
        _lacking,
        _off_the_earth,
        _huge_windows,
        _missing_values,
        _garbage,
        _large_footer,
    ],
)
def test_a_table_that_is_not_what_it_should_be(
    index: TileIndex, bomb: Callable[[pa.Table, Path], None]
) -> None:
    bomb(pq.read_table(index.path / TABLE), index.path / TABLE)
    resized(index, TABLE)
    again = TileIndex.open(index.path)
    before = pa.total_allocated_bytes()
    peak = pa.default_memory_pool().max_memory() or 0
    assert {hit.source for hit in again.search(unit(1))[0]} == {"b.tif"}
    assert again.damaged() == {"a.tif"}
    assert pa.total_allocated_bytes() - before < 10_000_000
    assert (pa.default_memory_pool().max_memory() or 0) - peak < 100_000_000


@pytest.mark.slow
def test_no_flipped_bit_of_a_footer_ends_the_process(index: TileIndex) -> None:
    """An exception of C++ that pyarrow did not expect did so, at a histogram of another length."""
    (first, _) = (source.segments[0] for source in index.manifest.sources)
    good = (index.path / TABLE).read_bytes()
    footer = int.from_bytes(good[-8:-4], "little")
    read = 0
    for at in range(len(good) - footer - 8, len(good), 2):
        data = bytearray(good)
        data[at] ^= 1 << at % 7
        (index.path / TABLE).write_bytes(data)
        try:
            TileColumns.read(index.path, first)
            read_geometry(index.path, first, np.arange(3))
            read += 1
        except TileIndexError:
            pass
    assert read > 100


def _npy(header: bytes, numbers: bytes) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + numbers


RIGHT = b"{'descr': '<f4', 'fortran_order': False, 'shape': (40, 16), }\n"
NUMBERS = unit(40).tobytes()


@pytest.mark.parametrize(
    "data",
    [
        _npy(RIGHT.replace(b"<f4", b"|O"), NUMBERS),
        _npy(RIGHT.replace(b"<f4", b"<f8"), NUMBERS),
        _npy(RIGHT.replace(b"False", b"True"), NUMBERS),
        _npy(RIGHT.replace(b"40", b"41"), NUMBERS),
        _npy(RIGHT.replace(b"40", b"9999999999"), NUMBERS),
        _npy(RIGHT.replace(b"(40, 16)", b"(" * 9 + b"40, 16)"), NUMBERS),
        _npy(b"__import__('os').system('true')" + b" " * 30 + b"\n", NUMBERS),
        _npy(RIGHT, NUMBERS + b"\0"),
        b"\x80\x04cos\nsystem\n(S'true'\ntR." + NUMBERS,
        b"\x93NUMPY\x02\x00" + _npy(RIGHT, NUMBERS)[8:],
        b"\x93NUMPY\x01\x00\xff\xff" + RIGHT + NUMBERS,
    ],
)
def test_vectors_that_are_no_plain_numbers(index: TileIndex, data: bytes) -> None:
    (index.path / VECTORS).write_bytes(data)
    resized(index, VECTORS)
    again = TileIndex.open(index.path)
    assert {hit.source for hit in again.search(unit(1))[0]} == {"b.tif"}
    assert again.damaged() == {"a.tif"}


def test_vectors_with_the_header_of_any_numpy(index: TileIndex) -> None:
    (index.path / VECTORS).write_bytes(_npy(RIGHT, NUMBERS))
    resized(index, VECTORS)
    assert len(TileIndex.open(index.path).search(unit(1), top=99)[0]) == 43
