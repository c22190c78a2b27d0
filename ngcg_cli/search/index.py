"""The tile index: made, opened, written source by source, and searched."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ngcg_cli.errors import TileIndexError, UsageError
from ngcg_cli.search import graph
from ngcg_cli.search.files import (
    LOCK,
    PARTIAL,
    FileRecord,
    damaged,
    write_beside,
    writer_lock,
)
from ngcg_cli.search.format import (
    MANIFEST,
    GraphRecord,
    Manifest,
    ModelStamp,
    SegmentRecord,
    SourceRecord,
    Tuning,
)
from ngcg_cli.search.graph import Graph
from ngcg_cli.search.hits import Hit, find
from ngcg_cli.search.ranking import BLOCK_ROWS, Vectors, check_bbox, check_near
from ngcg_cli.search.snapshot import Snapshot
from ngcg_cli.search.tiles import TileTable, write_table

_FOLDERS = {"tiles": ".parquet", "vectors": ".npy", "graph": ".hnsw"}


class TileIndex:
    """An index folder. Many may read while one writes; readers see the last committed state."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.path = folder
        self._view = Snapshot(folder, manifest)
        self._locked = False

    # --- life ---------------------------------------------------------------------------------

    @classmethod
    def create(cls, path: str | Path, model: ModelStamp) -> TileIndex:
        """Make an empty index in a new or empty folder.

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
        with writer_lock(folder):
            if cls.exists(folder):
                raise TileIndexError("is an index already", where=folder)
            # What a creation cut short leaves behind is ours; anything else is the user's.
            ours = {LOCK, f"{PARTIAL}{MANIFEST}"}
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

        The check is that of sizes, which costs nothing; `verify` reads everything.

        Raises:
            TileIndexError: no index, another format version, or damaged.
        """
        folder = Path(path)
        manifest = Manifest.read(folder)
        while True:
            trouble = _size_trouble(folder, manifest)
            latest = Manifest.read(folder) if trouble else manifest
            if latest == manifest:
                break
            manifest = latest  # a writer has replaced a source between the two looks
        if trouble:
            raise damaged(folder, trouble)
        return cls(folder, manifest)

    @staticmethod
    def exists(path: str | Path) -> bool:
        """Whether an index was made here (it may still turn out damaged when opened)."""
        return (Path(path) / MANIFEST).exists()

    @property
    def model(self) -> ModelStamp:
        """The model that the index is bound to."""
        return self._manifest.model

    @property
    def tile_count(self) -> int:
        """Tiles of the whole index."""
        return self._view.count

    def sources(self) -> list[SourceRecord]:
        """The sources, in the order in which they were first put in."""
        return list(self._manifest.sources)

    def check_model(self, model: ModelStamp) -> None:
        """See that `model` is the one whose vectors are in the index.

        Raises:
            TileIndexError: it is not; both are named.
        """
        mine = self.model
        if (mine.fingerprint, mine.dim) == (model.fingerprint, model.dim):
            return

        def described(stamp: ModelStamp) -> str:
            return f"{stamp.name!r} ({stamp.dim} dimensions, fingerprint {stamp.fingerprint[:12]})"

        raise TileIndexError(
            f"was made with the model {described(mine)}, not with {described(model)}",
            where=self.path,
            hint="Give --model the one it was made with, or index into another folder.",
        )

    def verify(self) -> list[str]:
        """Read every file and compare it with its checksum; return what is wrong, one line each.

        A wrong graph is no loss: `refresh_graph` rebuilds it from the vectors.
        """
        troubles = []
        for name, record in self._manifest.files().items():
            try:
                if FileRecord.of(self.path / name) != record:
                    troubles.append(f"{name}: differs from what was committed")
            except OSError as error:
                troubles.append(f"{name}: {error.strerror}")
        return troubles

    # --- writing ------------------------------------------------------------------------------

    @contextlib.contextmanager
    def writing(self) -> Iterator[TileIndex]:
        """Be the index's only writer: starts from the last committed state, clears leftovers.

        `put`, `remove` and `refresh_graph` enter it by themselves; hold it around a series.

        Raises:
            TileIndexError: another process writes, which is named.
        """
        if self._locked:
            yield self
            return
        with writer_lock(self.path):
            self._locked = True
            try:
                latest = Manifest.read(self.path)
                if latest != self._manifest:
                    stamp = self.model
                    self._view = Snapshot(self.path, latest)
                    self.check_model(stamp)
                self._sweep()
                yield self
            finally:
                self._locked = False

    def put(self, source: SourceRecord, tiles: TileTable, vectors: npt.ArrayLike) -> None:
        """Add a source, or replace the one of the same path, in one atomic step.

        Args:
            source: what was indexed and how; its `tiles` and `segments` are filled in here.
            tiles: N tiles, possibly none (a raster without data is remembered as such).
            vectors: (N, dim), unit length.

        Raises:
            TileIndexError: vectors of another dimension, tiles that lie nowhere, another writer,
                or a file system that refuses. The index is then as it was.
        """
        block = np.ascontiguousarray(vectors, np.float32)
        try:
            tiles.check()
        except ValueError as error:
            raise TileIndexError(f"cannot be indexed: {error}", where=source.path) from error
        if block.shape != (len(tiles), self.model.dim):
            raise TileIndexError(
                f"vectors of shape {block.shape} for {len(tiles)} tiles, but the index holds "
                f"vectors of {self.model.dim} dimensions",
                where=source.path,
            )
        # Written so that NaN fails too.
        if not (np.abs(np.linalg.norm(block, axis=1) - 1) < 1e-3).all():
            raise TileIndexError("vectors that are not of unit length", where=source.path)
        with self.writing():
            manifest = self._manifest
            name = f"{manifest.next_name:06d}"
            segments: tuple[SegmentRecord, ...] = ()
            if len(tiles):
                segments = (self._write_segment(name, source.path, tiles, block),)
            done = replace(source, tiles=len(tiles), segments=segments)
            known = {old.path: old for old in manifest.sources}
            known[source.path] = done
            self._commit(
                replace(manifest, sources=tuple(known.values()), next_name=manifest.next_name + 1)
            )

    def remove(self, path: str) -> bool:
        """Take a source out in one atomic step; False when there is none of that path."""
        with self.writing():
            left = tuple(source for source in self._manifest.sources if source.path != path)
            if len(left) == len(self._manifest.sources):
                return False
            self._commit(replace(self._manifest, sources=left))
            return True

    def refresh_graph(self, progress: Callable[[int], object] | None = None) -> None:
        """Bring the graph up to the vectors: build, extend, rebuild or drop it.

        Called at the end of indexing; until then, searches rank what it lacks exactly.

        Args:
            progress: called with the number of vectors just added, now and then.
        """
        with self.writing():
            manifest, view = self._manifest, self._view
            record = manifest.graph
            if view.count < graph.MIN_TILES:
                if record:
                    self._commit(replace(manifest, graph=None))
                return
            live = {segment.name: segment for segment in view.segments}
            tree: Graph | None = None
            held: tuple[tuple[str, int], ...] = ()
            new: list[SegmentRecord] = []
            if record and record.dim == manifest.model.dim:
                dead = sum(tiles for name, tiles in record.segments if name not in live)
                held = record.segments
                new = [
                    segment for name, segment in live.items() if (name, segment.tiles) not in held
                ]
                if dead <= graph.MAX_DEAD * record.count:
                    room = record.count + sum(segment.tiles for segment in new)
                    tree = Graph.load(self.path, record, room_for=room)
                if tree and not new:
                    if not record.tuning:
                        self._commit(replace(manifest, graph=self._tuned(record, None)))
                    return
            tuning = record.tuning if record and tree else None
            if not tree:
                tree, held, new = Graph.empty(manifest.model.dim, view.count), (), view.segments
            for segment in new:
                vectors = view.vectors(segment)
                steps = range(0, segment.tiles, BLOCK_ROWS)
                tree.add((vectors[i : i + BLOCK_ROWS] for i in steps), progress)
            segments = (*held, *((segment.name, segment.tiles) for segment in new))
            name = f"{manifest.next_name:06d}"
            file = tree.save(self.path, f"graph/{name}.hnsw")
            fresh = GraphRecord(name, manifest.model.dim, tree.count, segments, file)
            del tree  # measuring loads it anew: once in memory is enough
            fresh = self._tuned(fresh, tuning)
            self._commit(replace(manifest, graph=fresh, next_name=manifest.next_name + 1))

    def _tuned(self, record: GraphRecord, before: Tuning | None) -> GraphRecord:
        """The record with what its graph needs and costs; measured, unless it has hardly grown."""
        if before and record.count <= (1 + graph.MAX_GROWTH) * before.count:
            return replace(record, tuning=before)
        began = time.process_time()
        tree = Graph.load(self.path, record)
        if not tree:
            return record
        load = time.process_time() - began
        view = self._view
        tree.drop(np.flatnonzero(view.rows_of(record) < 0))
        rows = np.random.default_rng(0).permutation(view.count)[: 3 * graph.PROBES]
        probes = graph.probes_between(view.take(rows))
        return replace(record, tuning=graph.tune(tree, probes, view.blocks, load))

    def _write_segment(
        self, name: str, source: str, tiles: TileTable, vectors: Vectors
    ) -> SegmentRecord:
        """Write a segment's files, whole and on disk, but not yet named in the manifest."""
        stored = write_beside(
            self.path / f"vectors/{name}.npy",
            lambda file: np.save(file, vectors, allow_pickle=False),
        )
        table = write_beside(
            self.path / f"tiles/{name}.parquet", lambda file: write_table(file, source, tiles)
        )
        return SegmentRecord(name=name, tiles=len(tiles), table=table, vectors=stored)

    def _commit(self, manifest: Manifest) -> None:
        before = self._manifest.files()
        manifest.write(self.path)
        self._view = Snapshot(self.path, manifest)
        self._delete(before.keys() - manifest.files().keys())

    def _sweep(self) -> None:
        """Delete what work cut short has left: files of ours that the manifest does not name."""
        found = {
            f"{kind}/{file.name}"
            for kind, suffix in _FOLDERS.items()
            for file in (self.path / kind).glob("*")
            if file.name.startswith(PARTIAL) or file.suffix == suffix
        }
        self._delete(found - self._manifest.files().keys())

    def _delete(self, names: Iterable[str]) -> None:
        for name in names:
            # Windows keeps a file that a reader has open: the next writer's sweep gets it.
            with contextlib.suppress(OSError):
                (self.path / name).unlink()

    @property
    def _manifest(self) -> Manifest:
        return self._view.manifest

    # --- searching ----------------------------------------------------------------------------

    def search(
        self,
        vectors: npt.ArrayLike,
        top: int = 10,
        *,
        bbox: tuple[float, float, float, float] | None = None,
        near: tuple[float, float, float] | None = None,
        exact: bool = False,
        keep_overlaps: bool = False,
    ) -> list[list[Hit]]:
        """Rank the tiles for each query.

        Args:
            vectors: (Q, dim) unit vectors.
            top: hits to return at most, for each query.
            bbox: keep tiles whose centre lies in (west, south, east, north), degrees; west > east
                crosses the antimeridian.
            near: keep tiles whose centre lies within (latitude, longitude, metres), great circle.
            exact: never use the graph.
            keep_overlaps: do not leave out hits that overlap a better one by more than half of
                the smaller.

        Returns:
            For each query its hits, best first; fewer than `top` when there are no more.

        Raises:
            UsageError: `top`, `bbox` or `near` make no sense.
            TileIndexError: vectors of another dimension, or a damaged index.
        """
        queries = np.ascontiguousarray(vectors, np.float32)
        if queries.ndim != 2 or queries.shape[1] != self.model.dim:
            raise TileIndexError(
                f"queries of shape {queries.shape}, but the index holds vectors of "
                f"{self.model.dim} dimensions",
                where=self.path,
            )
        if not np.isfinite(queries).all():
            raise TileIndexError("a query vector that is not finite", where=self.path)
        if top < 1:
            raise UsageError(f"the best {top} hits", hint="Ask for one or more.")
        if bbox is not None:
            check_bbox(bbox)
        if near is not None:
            check_near(near)
        while True:
            try:
                return find(self._view, queries, top, bbox, near, exact, keep_overlaps)
            except FileNotFoundError as error:
                # A writer has replaced a source since this index was opened: look again.
                latest = Manifest.read(self.path)
                if latest == self._manifest:
                    raise damaged(Path(error.filename), "it is missing") from error
                stamp = self.model
                self._view = Snapshot(self.path, latest)
                self.check_model(stamp)


def _size_trouble(folder: Path, manifest: Manifest) -> str | None:
    for name, record in manifest.files().items():
        if manifest.graph and name == manifest.graph.path:
            continue  # a cache: searching and `refresh_graph` do without it
        try:
            size = (folder / name).stat().st_size
        except FileNotFoundError:
            return f"{name} is missing"
        except OSError as error:
            return f"{name}: {error.strerror}"
        if size != record.bytes:
            return f"{name} has {size} bytes where {record.bytes} were committed"
    return None
