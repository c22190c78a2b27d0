"""Tables, footprints and vectors of an index from a stranger."""

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from index_edits import TABLE, VECTORS, resized
from tile_samples import MODEL, row_of_tiles, source, unit

from ngcg_cli.errors import TileIndexError
from ngcg_cli.search import TileIndex
from ngcg_cli.search.footprints import MAX_POINTS, pieces
from ngcg_cli.search.tiles import TileColumns, read_geometry


@pytest.fixture
def index(tmp_path: Path) -> TileIndex:
    made = TileIndex.create(tmp_path / "index", MODEL)
    made.put(source("a.tif"), row_of_tiles(40), unit(40))
    made.put(source("b.tif"), row_of_tiles(3, west=20), unit(3))
    return made


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
        pytest.param(_dictionary_bomb, marks=pytest.mark.slow),
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
