"""The tile index: made, opened, written source by source, and searched."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy.typing as npt

from ngcg_cli import items
from ngcg_cli.errors import TileIndexError
from ngcg_cli.search import agreement
from ngcg_cli.search.blocks import Block, read_blocks, write_segments
from ngcg_cli.search.files import PARTIAL, damaged
from ngcg_cli.search.filters import NO_FILTERS, Filters, check_near
from ngcg_cli.search.format import MANIFEST, PREVIOUS, VERSION, Manifest
from ngcg_cli.search.health import checksum_trouble, size_trouble, warning
from ngcg_cli.search.hits import Hit, find, nearest
from ngcg_cli.search.lock import LOCK, writer_lock
from ngcg_cli.search.ranker import Ranker
from ngcg_cli.search.records import ModelStamp, SegmentRecord, SourceRecord
from ngcg_cli.search.snapshot import DamagedSegment, Snapshot
from ngcg_cli.search.sweeping import check_folders, delete, sweep
from ngcg_cli.search.tiles import TileTable
from ngcg_cli.search.upkeep import with_graph
from ngcg_cli.search.vectors import Vectors

logger = logging.getLogger(__name__)

Found = TypeVar("Found")


class TileIndex:
    """An index folder, a `Store`. Many may read while one writes; readers see the last state."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.path = folder
        self._view = Snapshot(folder, manifest)
        self._ranker = Ranker(self._view)
        self._check: Callable[[], None] | None = None

    @classmethod
    def create(cls, path: str | Path, model: ModelStamp, *, wait: bool = False) -> TileIndex:
        """Make an empty index in a new or empty folder.

        Args:
            path: the folder.
            model: what the index is bound to.
            wait: for another process that makes an index there, and open that, not give up.

        Raises:
            TileIndexError: the folder holds an index or anything else, or cannot be written.
        """
        folder = Path(path)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TileIndexError(
                f"cannot be made: {error.strerror}", where=folder, hint="Name another folder."
            ) from error
        with writer_lock(folder, wait=wait):
            if cls.exists(folder):
                if wait:
                    return cls.open(folder)
                raise TileIndexError("is an index already", where=folder)
            # What a creation cut short leaves behind is ours; anything else is the user's.
            ours = {LOCK, PREVIOUS, f"{PARTIAL}{MANIFEST}"}
            if any(entry.name not in ours for entry in folder.iterdir()):
                raise TileIndexError(
                    "is neither empty nor an index", where=folder, hint="Name another folder."
                )
            manifest = Manifest(model=model)
            manifest.write(folder)
        return cls(folder, manifest)

    @classmethod
    def open(cls, path: str | Path) -> TileIndex:
        """Open an index in its last committed state, and see that its files are there and whole.

        The check is that of sizes, which costs nothing; `verify` reads everything. What is damaged
        is told in a warning and left out.

        Raises:
            TileIndexError: no index, another format version, or a damaged manifest.
        """
        folder = Path(path)
        index = cls(folder, Manifest.read(folder))
        index._reload()
        return index

    @staticmethod
    def exists(path: str | Path) -> bool:
        """Whether an index was made here (it may still turn out damaged when opened)."""
        return os.path.lexists(Path(path) / MANIFEST)

    @property
    def model(self) -> ModelStamp:
        """The model that the index is bound to."""
        return self.manifest.model

    @property
    def tile_count(self) -> int:
        """Tiles of the whole index."""
        return self._view.count

    def sources(self) -> list[SourceRecord]:
        """The sources, in the order in which they were first put in.

        One that is damaged is told as one of which nothing is done, so that it is indexed anew.
        """
        damaged = self.damaged()
        return [
            replace(source, complete=False, done=0, windows=0) if source.path in damaged else source
            for source in self.manifest.sources
        ]

    def damaged(self) -> set[str]:
        """Paths of the sources of which tiles are left out because their files are damaged."""
        broken = self.broken
        if not broken:
            return set()
        return {
            source.path
            for source in self.manifest.sources
            if any(segment.name in broken for segment in source.segments)
        }

    def committed(self) -> object:
        """What changes when the manifest is replaced; None where it is gone."""
        try:
            found = os.stat(self.path / MANIFEST)
        except OSError:
            return None
        return (found.st_mtime_ns, found.st_size, found.st_ino)

    def check_model(self, model: ModelStamp) -> None:
        """See that `model` is the one whose vectors are in the index.

        Raises:
            TileIndexError: it is not; both are named.
        """
        agreement.check_model(self.path, self.model, model)

    def check_precision(self, precision: str) -> None:
        """See that new vectors would be computed as those in the index were.

        Raises:
            TileIndexError: they would not; both precisions are named.
        """
        agreement.check_precision(self.path, self.model.precision, precision)

    def verify(self) -> list[str]:
        """Read every file and compare it with its checksum; return what is wrong, one line each.

        A wrong graph is no loss: `refresh_graph` rebuilds it from the vectors.
        """
        return checksum_trouble(self.path, self.manifest.files())

    @contextlib.contextmanager
    def writing(self, wait: bool = False) -> Iterator[TileIndex]:
        """Be the index's only writer: starts from the last committed state, clears leftovers.

        What writes enters it by itself; hold it around a series.

        Args:
            wait: until another process is done, which is named in a warning, instead of failing.

        Raises:
            TileIndexError: another process writes, which is named.
        """
        if self._check is not None:
            yield self
            return
        with writer_lock(self.path, wait) as check:
            self._check = check
            try:
                check_folders(self.path)
                self._reload()
                sweep(self.path, self.manifest.files().keys())
                yield self
            finally:
                self._check = None

    def put(self, source: SourceRecord, tiles: TileTable, vectors: npt.ArrayLike) -> None:
        """Add a source, or replace the one of the same path: `commit` of one block."""
        self.commit([Block(source, tiles, vectors)])

    def commit(self, blocks: Sequence[Block]) -> None:
        """Add blocks of tiles, of one source or of several, in one atomic step.

        Costs much the same for one block and for a hundred small ones.

        Raises:
            TileIndexError: vectors of another dimension, tiles that lie nowhere, another writer,
                or a file system that refuses. The index is then as it was.
        """
        for block in blocks:
            block.check(self.model.dim)
        with self.writing():
            manifest = self.manifest
            written = write_segments(self.path, blocks, manifest.next_name, self._check)
            known = {source.path: source for source in manifest.sources}
            for block, segments in zip(blocks, written, strict=True):
                path = block.source.path
                if path in known and not block.fresh:
                    segments = (*known[path].segments, *segments)
                known[path] = _with_segments(block.source, segments)
            next_name = manifest.next_name + len(blocks)
            self._commit(replace(manifest, sources=tuple(known.values()), next_name=next_name))

    def rename_all(self, pairs: Iterable[tuple[str, SourceRecord]]) -> None:
        """Replace the records of sources, given by their old paths, in one atomic step.

        Tiles and segments stay. A source that has a new path already is replaced; unknown old
        paths are passed over.
        """
        with self.writing():
            known = {source.path: source for source in self.manifest.sources}
            now = {source.path: source for source in self.manifest.sources}
            wanted = [(old, record) for old, record in pairs if old in known]
            for old_path, record in wanted:
                now[old_path] = _with_segments(record, known[old_path].segments)
            moved = {record.path: old_path for old_path, record in wanted}
            sources = tuple(
                source
                for old_path, source in now.items()
                if moved.get(source.path, old_path) == old_path
            )
            if sources != self.manifest.sources:
                self._commit(replace(self.manifest, sources=sources))

    def drop(self, paths: str | Iterable[str]) -> list[SourceRecord]:
        """Take sources out in one atomic step; returns those that were there."""
        unwanted = set(items.texts(paths))
        with self.writing():
            sources = self.manifest.sources
            left = tuple(source for source in sources if source.path not in unwanted)
            if len(left) < len(sources):
                self._commit(replace(self.manifest, sources=left))
            return [source for source in sources if source.path in unwanted]

    def refresh_graph(self, progress: Callable[[int], object] | None = None) -> None:
        """Bring the graph up to the vectors: build, extend, rebuild or drop it.

        Called at the end of indexing; until then, searches rank what it lacks exactly.

        Args:
            progress: called with the number of vectors just added, now and then.
        """
        with self.writing():
            while True:
                try:
                    manifest = with_graph(self._view, progress, self._check)
                    break
                except DamagedSegment as error:
                    self._exclude_damaged({error.name: error.reason})
            if manifest is not self.manifest:
                self._commit(manifest)

    def _commit(self, manifest: Manifest) -> None:
        before = self.manifest.files()
        manifest = replace(manifest, version=VERSION)
        try:
            manifest.write(self.path, self._check)
        except BaseException:
            # Should only the last flush have failed, the index is in the new state.
            with contextlib.suppress(TileIndexError):
                self._reload()
            raise
        self._switch_snapshot(manifest)
        delete(self.path, before.keys() - manifest.files().keys())

    def _switch_snapshot(self, manifest: Manifest, broken: Mapping[str, str] | None = None) -> None:
        """Go over to a state; some of its segments may be known to be broken."""
        known = {**self.broken, **(broken or {})}
        named = {segment.name for segment in manifest.segments}
        broken = {name: reason for name, reason in known.items() if name in named}
        self._view = Snapshot(self.path, manifest, broken)
        self._ranker = Ranker(self._view)

    def _reload(self) -> None:
        """Go over to the last committed state, without what of it is missing or cut short."""
        manifest = self.manifest
        while True:
            latest = Manifest.read(self.path)
            if latest.model != manifest.model:
                self.check_model(latest.model)
            trouble = size_trouble(self.path, latest.segments)
            # A writer may have replaced a source between the two looks.
            if not trouble or Manifest.read(self.path) == latest:
                break
        if latest != self.manifest:
            self._switch_snapshot(latest)
        self._exclude_damaged(trouble)

    def _exclude_damaged(self, trouble: Mapping[str, str]) -> None:
        """Do without damaged segments from now on, and say so once."""
        fresh = trouble.keys() - self.broken.keys()
        if fresh:
            self._switch_snapshot(self.manifest, trouble)
            told = warning(self.manifest, self.broken, fresh)
            logger.warning("%s: %s", self.path, told)

    @property
    def manifest(self) -> Manifest:
        """The committed state that is shown."""
        return self._view.manifest

    @property
    def broken(self) -> Mapping[str, str]:
        """Segments that are left out because they are damaged, by name, with the reason."""
        return self._view.broken

    def search(
        self,
        vectors: npt.ArrayLike,
        top: int = 10,
        filters: Filters = NO_FILTERS,
        *,
        exact: bool = False,
        keep_overlaps: bool = False,
    ) -> list[list[Hit]]:
        """Rank the tiles for each query.

        Args:
            vectors: (Q, dim) unit vectors.
            top: hits to return at most, for each query.
            filters: which tiles may be found.
            exact: never use the graph.
            keep_overlaps: do not leave out hits whose overlap with a better one (intersection over
                union) is above one third.

        Returns:
            For each query its hits, best first; fewer than `top` when there are no more.

        Raises:
            UsageError: `top` makes no sense.
            TileIndexError: vectors of another dimension, or a damaged index.
        """
        queries = agreement.check_queries(self.path, self.model.dim, vectors, top)
        return self._reading(
            lambda view: find(view, self._ranker, queries, top, filters, exact, keep_overlaps)
        )

    def nearest(self, lat: float, lon: float) -> tuple[Vectors, float] | None:
        """The vector (dim,) of the tile nearest to a point, and metres to it; None without."""
        check_near((lat, lon, 0.0))
        return self._reading(lambda view: nearest(view, lat, lon))

    def blocks(self) -> Iterator[Block]:
        """All that it holds, source by source, as it was committed; damaged tiles are left out."""
        yield from read_blocks(self._view)

    def describe(self, check: bool = False) -> dict[str, Any]:
        """The object that `ngcg info --json` prints; see `search.describe`."""
        from ngcg_cli.search.describe import describe

        return describe(self, check)

    def _reading(self, read: Callable[[Snapshot], Found]) -> Found:
        """What `read` makes of the committed state, without what of it turns out damaged."""
        while True:
            try:
                return read(self._view)
            except DamagedSegment as error:
                self._exclude_damaged({error.name: error.reason})
            except FileNotFoundError as error:
                # A writer has replaced a source since this index was opened, or it is damaged.
                before = self._view
                self._reload()
                if self._view is before:
                    raise damaged(Path(error.filename), "it is missing") from error


def _with_segments(source: SourceRecord, segments: tuple[SegmentRecord, ...]) -> SourceRecord:
    return replace(source, segments=segments, tiles=sum(segment.tiles for segment in segments))
