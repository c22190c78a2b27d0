"""Blocks of tiles on their way into the index."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ngcg_cli.errors import TileIndexError
from ngcg_cli.search.extent import extent
from ngcg_cli.search.files import Writer, write_all
from ngcg_cli.search.records import MAX_SEGMENT, SegmentRecord, SourceRecord, file_name
from ngcg_cli.search.snapshot import Snapshot
from ngcg_cli.search.tiles import TileColumns, TileTable, read_geometry, write_table
from ngcg_cli.search.vectors import write_vectors


@dataclass(frozen=True)
class Block:
    """Some tiles of a source, to be committed.

    Attributes:
        source: what the index shall know of the source from then on; its `tiles` and `segments`
            are filled in when it is committed.
        tiles: N tiles, possibly none.
        vectors: (N, dim), unit length.
        fresh: whether the source starts anew (tiles that the index has of it leave in the same
            step), or these tiles join those.
    """

    source: SourceRecord
    tiles: TileTable
    vectors: npt.ArrayLike
    fresh: bool = True

    def check(self, dim: int) -> None:
        """See that tiles and vectors are such and fit together.

        Raises:
            TileIndexError: they do not, or the vectors have not `dim` dimensions.
        """
        if len(self.tiles) > MAX_SEGMENT:
            raise TileIndexError(
                f"{len(self.tiles):,} tiles in one block",
                where=self.source.path,
                hint=f"Commit at most {MAX_SEGMENT:,} at once (--block).",
            )
        try:
            self.tiles.check()
        except ValueError as error:
            raise TileIndexError(f"cannot be indexed: {error}", where=self.source.path) from error
        shape = np.shape(self.vectors)
        if shape != (len(self.tiles), dim):
            raise TileIndexError(
                f"vectors of shape {shape} for {len(self.tiles)} tiles, but the index holds "
                f"vectors of {dim} dimensions",
                where=self.source.path,
            )
        # Written so that NaN fails too.
        if not (np.abs(np.linalg.norm(np.asarray(self.vectors), axis=1) - 1) < 1e-3).all():
            raise TileIndexError("vectors that are not of unit length", where=self.source.path)


def write_segments(
    folder: Path, blocks: Sequence[Block], next_name: int, ready: Callable[[], object] | None
) -> list[tuple[SegmentRecord, ...]]:
    """Write a segment for each block that has tiles: on disk, but not yet named in the manifest.

    Args:
        folder: the index.
        blocks: what to write.
        next_name: number of the first.
        ready: called before files are put in their places; what it raises ends it.

    Returns:
        For each block its segment, or none; named from `next_name` on, one name a block.

    Raises:
        TileIndexError: the file system refuses. What is there already belongs to no manifest.
    """
    files: dict[Path, Writer] = {}
    paths: list[tuple[Path, Path]] = []
    for number, block in enumerate(blocks, next_name):
        name = file_name(number)
        vectors, table = folder / f"vectors/{name}.npy", folder / f"tiles/{name}.parquet"
        paths.append((vectors, table))
        if len(block.tiles):
            files[vectors] = _vector_writer(block)
            files[table] = _table_writer(block)
    records = write_all(files, ready)
    segments: list[tuple[SegmentRecord, ...]] = []
    for number, (block, (vectors, table)) in enumerate(zip(blocks, paths, strict=True), next_name):
        tiles = block.tiles
        if not len(tiles):
            segments.append(())
            continue
        box = extent(np.asarray(tiles.bbox), np.asarray(tiles.lon), np.asarray(tiles.lat))
        segments.append(
            (SegmentRecord(file_name(number), len(tiles), records[table], records[vectors], box),)
        )
    return segments


def read_blocks(view: Snapshot) -> Iterator[Block]:
    """All that a state holds, source by source, as it was committed; damaged tiles are left out.

    The first block of a source is `fresh`; a source without tiles comes as one empty block.
    """
    for source in view.manifest.sources:
        segments = [segment for segment in source.segments if segment.name not in view.broken]
        if not segments:
            none = np.empty((0, view.manifest.model.dim), np.float32)
            yield Block(source, TileTable.empty(), none)
        for number, segment in enumerate(segments):
            columns = TileColumns.read(view.folder, segment)
            geometry = read_geometry(view.folder, segment, np.arange(segment.tiles))
            tiles = TileTable(**vars(columns), geometry=geometry)
            yield Block(source, tiles, view.vectors(segment), fresh=number == 0)


def _vector_writer(block: Block) -> Writer:
    return lambda file: write_vectors(file, block.vectors)


def _table_writer(block: Block) -> Writer:
    return lambda file: write_table(file, block.source.path, block.tiles)
