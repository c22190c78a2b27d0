"""A segment's vectors: NumPy's format, float32, written and read with no pickle in reach."""

from __future__ import annotations

import re
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from ngcg_cli.search.files import damaged, open_inside
from ngcg_cli.search.records import SegmentRecord

Vectors = npt.NDArray[np.float32]

# Rows of one matrix product: 8 MB of scores for 256 queries, whatever the index.
BLOCK_ROWS = 8192
_MAGIC = b"\x93NUMPY\x01\x00"
_HEADER = re.compile(
    rb"\{'descr': '<f4', 'fortran_order': False, 'shape': \((\d{1,10}), (\d{1,10})\), \} *\n"
)


def write_vectors(file: IO[bytes], vectors: npt.ArrayLike) -> None:
    """Write (N, dim) vectors as `np.save` does, which does not tell why a disk took only a part."""
    data = np.ascontiguousarray(vectors, np.float32)
    np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(data))
    file.write(data.data)


def read_vectors(folder: Path, segment: SegmentRecord, dim: int) -> Vectors:
    """The (tiles, dim) vectors of a segment; mapped from disk when they are more than a block.

    Only what `write_vectors` writes is read: NumPy's own reader takes longer for its header alone
    than for the numbers, and knows pickles.

    Raises:
        FileNotFoundError: the file is gone.
        TileIndexError: it is not what was committed.
    """
    name, shape = segment.vectors_path, (segment.tiles, dim)
    with open_inside(folder, name, segment.vectors.bytes) as file:
        try:
            start = file.read(10)
            length = int.from_bytes(start[8:], "little")
            header = _HEADER.fullmatch(file.read(length))
            if start[:8] != _MAGIC or not header or tuple(map(int, header.groups())) != shape:
                raise damaged(folder / name, f"it does not hold float32 numbers of shape {shape}")
            if segment.vectors.bytes != 10 + length + 4 * segment.tiles * dim:
                raise damaged(folder / name, "it has more or fewer bytes than its numbers")
            # Plain reading is several times faster than mapping, which tells with many segments.
            if segment.tiles > BLOCK_ROWS:
                return np.memmap(file, "<f4", "r", offset=10 + length, shape=shape)
            return np.frombuffer(file.read(), "<f4").reshape(shape)
        except (OSError, ValueError) as error:
            raise damaged(folder / name, error) from error
