"""The footer of a Parquet file, read before pyarrow reads anything of it.

pyarrow ends the process at some footers (an exception of C++ that it does not expect, when asked
for a column's metadata), and decodes whatever sizes they claim. So what they claim is read here
first: Thrift's compact protocol, of which Parquet's format says which numbers mean what.
"""

from __future__ import annotations

import os
import struct
from typing import IO, Any

# What claims more is not read: bytes of the footer, of one column in one row group, and structures
# within structures.
MAX_FOOTER = 1 << 23
MAX_CHUNK = 1 << 25
_MAX_DEPTH = 16

# Parquet's numbers of what is read here.
_NUM_ROWS, _ROW_GROUPS = 3, 4
_COLUMNS, _GROUP_ROWS = 1, 3
_META = 3
_TYPE, _PATH, _CODEC, _VALUES, _UNCOMPRESSED, _COMPRESSED = 1, 3, 4, 5, 6, 7
_CODECS = (0, 1)  # none, Snappy: no byte becomes more than 22
INT64, DOUBLE, BYTES = 2, 5, 6


def read_footer(file: IO[bytes], rows: int, columns: dict[str, int]) -> list[int]:
    """See that a table has these rows and at least these columns, of sizes that may be decoded.

    Args:
        file: the table.
        rows: how many it must have.
        columns: the physical type (`INT64`, `DOUBLE`, `BYTES`) of each that will be read.

    Returns:
        The rows of each row group.

    Raises:
        ValueError: it is otherwise.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 8))
    end = file.read(8)
    length = int.from_bytes(end[:4], "little")
    if end[4:] != b"PAR1" or not 0 < length <= min(MAX_FOOTER, size - 12):
        raise ValueError("no footer, or one that is too large")
    file.seek(size - 8 - length)
    try:
        return _checked(_Reader(file.read(length)).struct(), rows, columns)
    except (IndexError, KeyError, TypeError, struct.error):
        raise ValueError("a footer that is damaged") from None


def _checked(meta: dict[int, Any], rows: int, columns: dict[str, int]) -> list[int]:
    if meta[_NUM_ROWS] != rows:
        raise ValueError(f"{meta[_NUM_ROWS]} rows where {rows} are due")
    groups = [group[_GROUP_ROWS] for group in meta[_ROW_GROUPS]]
    if sum(groups) != rows or min(groups) < 1:
        raise ValueError("row groups that are not as many rows as the table")
    for group in meta[_ROW_GROUPS]:
        chunks = {}
        for column in group[_COLUMNS]:
            chunk = column[_META]
            chunks[b".".join(chunk[_PATH]).decode()] = chunk
            if chunk[_CODEC] not in _CODECS:
                raise ValueError("compressed otherwise than by Snappy")
            sizes = chunk[_UNCOMPRESSED], chunk[_COMPRESSED]
            if not all(0 <= size <= MAX_CHUNK for size in sizes):
                raise ValueError(f"a column chunk of {max(sizes):,} bytes")
            if chunk[_VALUES] != group[_GROUP_ROWS]:
                raise ValueError("a column of more or fewer values than rows")
        for name, kind in columns.items():
            if name not in chunks or chunks[name][_TYPE] != kind:
                raise ValueError(f"no column {name} of the due type")
    return groups


class _Reader:
    """Thrift's compact protocol: structures as dicts by number of the field."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0
        self._depth = 0

    def struct(self) -> dict[int, Any]:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise ValueError("a footer that is too deep")
        fields: dict[int, Any] = {}
        number = 0
        while True:
            head = self._byte()
            if head == 0:
                self._depth -= 1
                return fields
            number = number + (head >> 4) if head >> 4 else self._signed()
            fields[number] = self._value(head & 15, inside=False)

    def _value(self, kind: int, inside: bool) -> Any:
        if kind in (1, 2):
            return self._byte() == 1 if inside else kind == 1
        if kind == 3:
            return self._byte()
        if kind in (4, 5, 6):
            return self._signed()
        if kind == 7:
            return struct.unpack("<d", self._bytes(8))[0]
        if kind == 8:
            return self._bytes(self._number())
        if kind in (9, 10):
            head = self._byte()
            count = head >> 4 if head >> 4 < 15 else self._number()
            if count > len(self._data) - self._at:
                raise ValueError("a footer that is damaged")
            return [self._value(head & 15, inside=True) for _ in range(count)]
        if kind == 12:
            return self.struct()
        raise ValueError("a footer that is damaged")

    def _byte(self) -> int:
        self._at += 1
        return self._data[self._at - 1]

    def _bytes(self, count: int) -> bytes:
        self._at += count
        if self._at > len(self._data):
            raise ValueError("a footer that is damaged")
        return self._data[self._at - count : self._at]

    def _number(self) -> int:
        number = shift = 0
        while True:
            byte = self._byte()
            number |= (byte & 127) << shift
            if byte < 128:
                return number
            shift += 7
            if shift > 63:
                raise ValueError("a footer that is damaged")

    def _signed(self) -> int:
        number = self._number()
        return (number >> 1) ^ -(number & 1)
