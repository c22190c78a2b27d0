"""The one file that names all that an index holds.

Every file but `manifest.json` is written once under a name of its own and never changed. The
manifest is replaced in one atomic step, so an index is always in exactly one committed state.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_type_hints

from ngcg_cli.errors import TileIndexError
from ngcg_cli.search.files import FileRecord, damaged, open_inside, write_beside
from ngcg_cli.search.records import (
    GraphRecord,
    ModelStamp,
    SegmentRecord,
    SourceRecord,
)

MANIFEST = "manifest.json"
# The manifest before the last commit, for the day that the disk spoils the last one.
PREVIOUS = "manifest.previous.json"
FORMAT = "ngcg-index"
VERSION = 3
READABLE = (1, 2, 3)
# From this version on a manifest ends with a checksum of all before it.
CHECKED = 3
_SUM = b',\n"checksum": "'

# What is larger is taken for an attack, not for an index: these are some 200,000 segments.
MAX_MANIFEST = 64_000_000


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

    def write(self, folder: Path, ready: Callable[[], object] | None = None) -> None:
        """Replace the folder's manifest by this one: the moment of commit.

        Args:
            folder: the index.
            ready: called just before; what it raises leaves all as it was.

        Raises:
            TileIndexError: the file system refuses, or there are too many segments.
        """
        fields = {"format": FORMAT, **vars(self), "model": self.model.told(), "version": VERSION}
        # A line a source: good to read and to compare, and many times faster than `indent`.
        sources = ",\n".join(json.dumps(source, default=vars) for source in fields.pop("sources"))
        parts = [f'"{name}": {json.dumps(value, default=vars)}' for name, value in fields.items()]
        body = ("{\n" + ",\n".join([*parts, f'"sources": [\n{sources}\n]'])).encode()
        if len(body) + 100 > MAX_MANIFEST:
            raise TileIndexError(
                f"{len(self.segments):,} segments are more than an index can hold",
                where=folder,
                hint="Index into another folder, or in larger blocks (--block).",
            )
        previous = folder / PREVIOUS
        with contextlib.suppress(OSError):  # a help for a day that may never come
            previous.unlink(missing_ok=True)
            os.link(folder / MANIFEST, previous)
        data = body + _end(body)
        write_beside(folder / MANIFEST, lambda file: file.write(data), ready)

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read the folder's manifest.

        Raises:
            TileIndexError: there is none, or it is damaged or of another format version.
        """
        path = folder / MANIFEST
        text = _bytes_of(folder)
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise _damaged(path, f"not JSON: {error}") from error
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise _damaged(path, "not the manifest of an ngcg index")
        version = data.get("version")
        if type(version) is not int or version not in READABLE:
            raise TileIndexError(
                f"index format {version!r:.20}, but this ngcg reads format {VERSION}",
                where=folder,
                hint="Use the ngcg that made it, or index again into another folder.",
            )
        if version >= CHECKED or "checksum" in data:
            body, _, _ = text.rpartition(_SUM)
            if text != body + _end(body):
                raise _damaged(path, "its bytes do not fit its checksum: edited, or spoilt")
        try:
            return _manifest(data)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            reason = f"lacks {error}" if isinstance(error, KeyError) else str(error)
            raise _damaged(path, reason[:200]) from error


def _bytes_of(folder: Path) -> bytes:
    """The manifest's bytes; raises as `Manifest.read`."""
    path = folder / MANIFEST
    hint = "Make one with `ngcg index SOURCE`, or name another with --index."
    try:
        if not stat.S_ISDIR(os.stat(folder).st_mode):
            raise TileIndexError("is a file, and an index is a folder", where=folder, hint=hint)
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        raise TileIndexError("no index here", where=folder, hint=hint) from None
    except OSError as error:
        raise TileIndexError(f"cannot be read: {error.strerror}", where=folder) from error
    try:
        with open_inside(folder, MANIFEST) as file:
            text = file.read(MAX_MANIFEST + 1)
    except OSError as error:
        raise TileIndexError(f"cannot be read: {error.strerror}", where=path) from error
    except TileIndexError as error:  # a link, a pipe, ...
        raise TileIndexError(error.what, where=path, hint=_hint(path)) from error
    if len(text) > MAX_MANIFEST:
        raise _damaged(path, f"it has more than {MAX_MANIFEST:,} bytes")
    return text


def _end(body: bytes) -> bytes:
    """What stands behind the rest of a manifest: its checksum, and the closing brace."""
    return _SUM + hashlib.sha256(body).hexdigest().encode() + b'"\n}\n'


def _damaged(path: Path, reason: str) -> TileIndexError:
    return damaged(path, reason, _hint(path))


def _hint(path: Path) -> str:
    if path.with_name(PREVIOUS).exists():
        return f"Copy {PREVIOUS}, the state before the last commit, over it, and index again."
    return "Restore it from a copy, or delete the index and index again."


Record = TypeVar("Record")


def _kinds(cls: type) -> dict[str, tuple[type, ...]]:
    """For each field of a record the types that it may have."""
    return {
        name: get_args(hint) if isinstance(hint, UnionType) else (hint,)
        for name, hint in get_type_hints(cls).items()
    }


_KINDS: dict[Any, dict[str, tuple[type, ...]]] = {
    cls: _kinds(cls) for cls in (FileRecord, ModelStamp, SegmentRecord, SourceRecord, GraphRecord)
}


def _record(cls: type[Record], data: Any, **made: Any) -> Record:
    """A record from a JSON object, of exactly its fields' types; `made` are read already."""
    if not isinstance(data, dict):
        raise TypeError(f"{cls.__name__} is no object")
    known = _KINDS[cls]
    fields = dict(made)
    for name, value in data.items():
        if name in made:
            continue
        if name not in known:
            raise ValueError(f"{cls.__name__} with an unknown field {name!r:.40}")
        if type(value) is int and float in known[name]:
            value = float(value)
        if type(value) not in known[name]:
            raise ValueError(f"{cls.__name__} with {name} {value!r:.40}")
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{cls.__name__} with {name} {value}")
        if isinstance(value, int) and abs(value) >= 2**63:
            raise ValueError(f"{cls.__name__} with too large a {name}")
        fields[name] = value
    return cls(**fields)


def _manifest(data: dict[str, Any]) -> Manifest:
    graph = data["graph"]
    next_name = data["next_name"]
    if type(next_name) is not int or not 1 <= next_name < 10**15:
        raise ValueError(f"next_name {next_name!r:.40}")
    manifest = Manifest(
        model=_record(ModelStamp, data["model"]),
        sources=tuple(_source(source) for source in _list(data["sources"])),
        graph=None if graph is None else _graph(graph),
        next_name=next_name,
        version=data["version"],
    )
    names = [segment.name for segment in manifest.segments]
    paths = [source.path for source in manifest.sources]
    if len(set(names)) < len(names) or len(set(paths)) < len(paths):
        raise ValueError("a source or segment is named twice")
    for segment in manifest.segments:
        # What is left is the header: see `vectors.MAX_HEADER`.
        if not 0 < segment.vectors.bytes - 4 * segment.tiles * manifest.model.dim < 1 << 12:
            raise ValueError(f"segment {segment.name}: its bytes are not those of its tiles")
    return manifest


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError("no list where one is due")
    return value


def _source(data: Any) -> SourceRecord:
    segments = tuple(
        _record(
            SegmentRecord,
            segment,
            table=_record(FileRecord, segment["table"]),
            vectors=_record(FileRecord, segment["vectors"]),
            bbox=_box(segment.get("bbox")),
        )
        for segment in _list(data["segments"])
    )
    source = _record(SourceRecord, data, segments=segments)
    if source.tiles != sum(segment.tiles for segment in segments):
        raise ValueError(f"{source.path}: the tile count is not that of its segments")
    return source


def _box(edges: Any) -> tuple[float, ...] | None:
    if edges is None:
        return None
    if not all(type(edge) in (int, float) for edge in _list(edges)):
        raise TypeError("a box of odd edges")
    return tuple(float(edge) for edge in edges)


def _graph(data: Any) -> GraphRecord | None:
    segments = []
    for name, tiles in _list(data["segments"]):
        if type(name) is not str or type(tiles) is not int or tiles < 1:
            raise ValueError("a graph of odd segments")
        segments.append((name, tiles))
    ef = data.get("ef")
    if "ef" not in data:
        # Before format 3 the breadth stood among other measurements, if there were any.
        old = data.get("tuning")
        if old is None:
            return None  # built anew by the next writer
        ef = old["ef"]
    if type(ef) not in (int, NoneType):
        raise ValueError(f"a graph with the ef {ef!r:.40}")
    return _record(
        GraphRecord,
        {name: value for name, value in data.items() if name != "tuning"},
        segments=tuple(segments),
        file=_record(FileRecord, data["file"]),
        ef=ef,
    )
