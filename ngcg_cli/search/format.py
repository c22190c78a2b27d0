"""What an index folder holds, as frozen records, and the one file that names it all.

Every file but `manifest.json` is written once under a name of its own and never changed. The
manifest is replaced in one atomic step, so an index is always in exactly one committed state.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ngcg_cli.errors import TileIndexError
from ngcg_cli.search.files import FileRecord, damaged, write_beside

MANIFEST = "manifest.json"
# The manifest before the last commit, for the day that the disk spoils the last one.
PREVIOUS = "manifest.previous.json"
FORMAT = "ngcg-index"
VERSION = 3
READABLE = (1, 2, 3)

_NAME = re.compile(r"\d{6,}")  # also keeps a hostile manifest from pointing out of the folder


@dataclass(frozen=True)
class ModelStamp:
    """The model that made an index's vectors.

    Attributes:
        name: what the user calls it.
        fingerprint: hash of its config, weights and prompts: equal means the same vectors.
        dim: width of its vectors.
        precision: what they were computed in; float32 in an index of format 2 or before, which did
            not say.
    """

    name: str
    fingerprint: str
    dim: int
    precision: str = "float32"

    def __post_init__(self) -> None:
        if self.dim < 1:
            raise ValueError(f"a model of {self.dim} dimensions")
        if not re.fullmatch(r"[a-z0-9]{1,16}", self.precision):
            raise ValueError(f"a model with the precision {self.precision!r}")


@dataclass(frozen=True)
class SegmentRecord:
    """A block of tiles: row i of the vector file is row i of the tile table.

    Attributes:
        bbox: west, south, east, north of what holds the tiles and their centres; None in an index
            of format 1.
    """

    name: str
    tiles: int
    table: FileRecord
    vectors: FileRecord
    bbox: tuple[float, float, float, float] | None = None

    def __post_init__(self) -> None:
        _check_name(self.name)
        if self.tiles < 1:
            raise ValueError(f"segment {self.name} of {self.tiles} tiles")
        if self.bbox is not None and len(self.bbox) != 4:
            raise ValueError(f"segment {self.name} with a box of {len(self.bbox)} edges")

    @property
    def table_path(self) -> str:
        """Where its GeoParquet table lies, from the index folder."""
        return f"tiles/{self.name}.parquet"

    @property
    def vectors_path(self) -> str:
        """Where its vectors lie, from the index folder."""
        return f"vectors/{self.name}.npy"

    def files(self) -> dict[str, FileRecord]:
        """Its files, by path from the index folder."""
        return {self.table_path: self.table, self.vectors_path: self.vectors}


@dataclass(frozen=True)
class SourceRecord:
    """A raster in the index, and how it was cut into tiles.

    Attributes:
        path: path or URL, as the user gave it; the key of the source.
        size: bytes, None where unknown (remote).
        mtime_ns: time of last change, None where unknown.
        tile: tile size with its unit ("224px", "100m"), or "auto".
        overlap: fraction of a tile shared with the next.
        min_valid: least share of valid pixels for a tile to be taken.
        tiles: tiles in the index; `TileIndex.commit` fills it in.
        complete: False while a source is committed block by block and not all are in.
        segments: where its tiles lie; `TileIndex.commit` fills it in.
        content: hex SHA-256 of the file's bytes, None where it has none of its own (remote, VRT).
        done: windows of the grid, in its order, that have been looked at and committed.
        windows: size of the grid; 0 in an index of format 1.
        skipped: of those done, the windows that could not be read.
    """

    path: str
    size: int | None
    mtime_ns: int | None
    tile: str
    overlap: float
    min_valid: float
    tiles: int = 0
    complete: bool = True
    segments: tuple[SegmentRecord, ...] = ()
    content: str | None = None
    done: int = 0
    windows: int = 0
    skipped: int = 0

    def up_to_date(self, wanted: SourceRecord) -> bool:
        """Whether this record, from the index, already is all the work that `wanted` asks for."""
        facts = ("path", "size", "mtime_ns", "tile", "overlap", "min_valid")
        return self.complete and all(getattr(self, f) == getattr(wanted, f) for f in facts)


@dataclass(frozen=True)
class Tuning:
    """What a graph needs and costs, as measured on this index when the graph was written.

    All times are processor seconds, which a busy machine does not spoil.

    Attributes:
        count: vectors in the graph then.
        ef: breadth of its search (HNSW's ef) for `graph.DEPTH` ranks; None when none was found
            that is both right often enough and cheaper than exact search.
        recall: share of the `graph.RANKS` best that it then found.
        load: seconds to load the graph.
        query: seconds for a query by the graph.
        scan: seconds of exact search for going through the vectors once, however many the queries.
        score: seconds of exact search for each query on top.
    """

    count: int
    ef: int | None
    recall: float
    load: float
    query: float
    scan: float
    score: float

    def exact_seconds(self, queries: int, tiles: int) -> float:
        """What exact search of so many tiles costs."""
        return tiles / self.count * (self.scan + queries * self.score)


@dataclass(frozen=True)
class GraphRecord:
    """The HNSW graph: labels 0..count-1 run through `segments` in order.

    The graph file tells neither its dimension nor its space, so they are kept here, and the
    checksum ties them to that very file. Segments that have left the index since may be listed:
    their labels are ignored.

    Attributes:
        segments: (name, tiles) of each segment in the graph, in label order.
        tuning: None for a graph by an ngcg that did not measure; it is not searched.
    """

    name: str
    dim: int
    count: int
    segments: tuple[tuple[str, int], ...]
    file: FileRecord
    tuning: Tuning | None = None

    def __post_init__(self) -> None:
        _check_name(self.name)
        if self.count != sum(tiles for _, tiles in self.segments):
            raise ValueError("the graph's count is not that of its segments")

    @property
    def path(self) -> str:
        """Where it lies, from the index folder."""
        return f"graph/{self.name}.hnsw"


@dataclass(frozen=True)
class Manifest:
    """One committed state of an index.

    Attributes:
        next_name: number of the next file to be written; only ever grows.
        version: of the format it was read from; it is always written in today's.
    """

    model: ModelStamp
    sources: tuple[SourceRecord, ...] = ()
    graph: GraphRecord | None = None
    next_name: int = 1
    version: int = VERSION

    @property
    def segments(self) -> list[SegmentRecord]:
        """All segments in row order."""
        return [segment for source in self.sources for segment in source.segments]

    def files(self) -> dict[str, FileRecord]:
        """Every file that belongs to this state, by its path from the index folder."""
        named = {}
        for segment in self.segments:
            named.update(segment.files())
        if self.graph:
            named[self.graph.path] = self.graph.file
        return named

    def write(self, folder: Path) -> None:
        """Replace the folder's manifest by this one: the moment of commit."""
        fields = {"format": FORMAT, **vars(self), "version": VERSION}
        # A line a source: good to read and to compare, and many times faster than `indent`.
        sources = ",\n".join(json.dumps(source, default=vars) for source in fields.pop("sources"))
        parts = [f'"{name}": {json.dumps(value, default=vars)}' for name, value in fields.items()]
        text = "{\n" + ",\n".join([*parts, f'"sources": [\n{sources}\n]']) + "\n}\n"
        with contextlib.suppress(OSError):  # a help for a day that may never come
            (folder / PREVIOUS).unlink(missing_ok=True)
            os.link(folder / MANIFEST, folder / PREVIOUS)
        write_beside(folder / MANIFEST, lambda file: file.write(text.encode()))

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read the folder's manifest.

        Raises:
            TileIndexError: there is none, or it is damaged or of another format version.
        """
        path = folder / MANIFEST
        try:
            data = json.loads(path.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            raise TileIndexError(
                "no index here",
                where=folder,
                hint="Make one with `ngcg index SOURCE`, or name another with --index.",
            ) from None
        except OSError as error:
            raise TileIndexError(f"cannot be read: {error.strerror}", where=path) from error
        except ValueError as error:
            raise _damaged(path, f"not JSON: {error}") from error
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise _damaged(path, "not the manifest of an ngcg index")
        if data.get("version") not in READABLE:
            raise TileIndexError(
                f"index format {data.get('version')!r}, but this ngcg reads format {VERSION}",
                where=folder,
                hint="Use the ngcg that made it, or index again into another folder.",
            )
        try:
            return _manifest(data)
        except (KeyError, TypeError, ValueError) as error:
            reason = f"lacks {error}" if isinstance(error, KeyError) else str(error)
            raise _damaged(path, reason) from error


def file_name(number: int) -> str:
    """The name of the file of that number, without its ending."""
    return f"{number:06d}"


def _damaged(path: Path, reason: str) -> TileIndexError:
    hint = "Restore it from a copy, or delete the index and index again."
    if path.with_name(PREVIOUS).exists():
        hint = f"Copy {PREVIOUS}, the state before the last commit, over it, and index again."
    return damaged(path, reason, hint)


def _manifest(data: dict[str, Any]) -> Manifest:
    graph = data["graph"]
    manifest = Manifest(
        model=ModelStamp(**data["model"]),
        sources=tuple(_source(source) for source in data["sources"]),
        graph=None if graph is None else _graph(graph),
        next_name=int(data["next_name"]),
        version=data["version"],
    )
    names = [segment.name for segment in manifest.segments]
    paths = [source.path for source in manifest.sources]
    if len(set(names)) < len(names) or len(set(paths)) < len(paths):
        raise ValueError("a source or segment is named twice")
    return manifest


def _source(data: dict[str, Any]) -> SourceRecord:
    segments = tuple(
        SegmentRecord(
            **{
                **segment,
                "table": FileRecord(**segment["table"]),
                "vectors": FileRecord(**segment["vectors"]),
                "bbox": _box(segment.get("bbox")),
            }
        )
        for segment in data["segments"]
    )
    source = SourceRecord(**{**data, "segments": segments})
    if source.tiles != sum(segment.tiles for segment in segments):
        raise ValueError(f"{source.path}: the tile count is not that of its segments")
    return source


def _box(edges: list[float] | None) -> tuple[float, ...] | None:
    return None if edges is None else tuple(float(edge) for edge in edges)


def _graph(data: dict[str, Any]) -> GraphRecord:
    segments = tuple((str(name), int(tiles)) for name, tiles in data["segments"])
    tuning = data.get("tuning")
    return GraphRecord(
        **{
            **data,
            "segments": segments,
            "file": FileRecord(**data["file"]),
            "tuning": None if tuning is None else Tuning(**tuning),
        }
    )


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name of a file of an index")
