"""Several indexes of one model into one."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ngcg_cli.errors import TileIndexError, UsageError
from ngcg_cli.search.files import PARTIAL, flush_folder, unwritable
from ngcg_cli.search.index import TileIndex
from ngcg_cli.search.lock import LOCK, writer_lock
from ngcg_cli.search.records import SegmentRecord, SourceRecord, file_name
from ngcg_cli.search.store import Store


@dataclass
class MergeReport:
    """What was joined.

    Attributes:
        duplicates: for each source that several indexes hold: its path, the index whose tiles
            were kept, and those whose were left out.
    """

    index: str
    model: str
    dim: int
    tiles: int = 0
    sources: int = 0
    merged: list[dict[str, Any]] = field(default_factory=list)
    duplicates: list[dict[str, Any]] = field(default_factory=list)


def merge(paths: Sequence[Path], out: Path) -> MergeReport:
    """Join indexes of one model in a new index; they stay as they are.

    Files are hard links where the file system can, else copies: they never change once written.
    Of a source that several hold, a complete one is kept before others, then the newest, then
    the first. `out` appears whole or not at all.

    Raises:
        TileIndexError: no index, indexes of different models, `out` is there already, or the file
            system refuses.
        UsageError: an index is named twice.
    """
    if len({path.resolve() for path in paths}) < len(paths):
        raise UsageError("an index is named twice", hint="Name each index once.")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise TileIndexError(
            "is there already", where=out, hint="Give --out a folder that is not there yet."
        )
    indexes = [TileIndex.open(path) for path in paths]
    for index in indexes[1:]:
        check_models(indexes[0], index)
    model = indexes[0].model
    report = MergeReport(os.fspath(out), model.name, model.dim)
    chosen = choose(indexes, report)
    work = out.with_name(f"{PARTIAL}{out.name}")
    try:
        work.mkdir(parents=True, exist_ok=True)
        with writer_lock(work):  # nobody else makes the same one
            try:
                _build(work, indexes, chosen)
                flush_folder(work)
                work.replace(out)  # onto an empty folder, too
            except BaseException:
                shutil.rmtree(work, ignore_errors=True)
                raise
        flush_folder(out.parent)
    except OSError as error:
        raise unwritable(out, error) from error
    result = TileIndex.open(out)
    result.refresh_graph()
    report.tiles, report.sources = result.tile_count, len(chosen)
    return report


def check_models(first: Store, other: Store) -> None:
    """See that two indexes are of one model; TileIndexError names both."""
    try:
        other.check_model(first.model)
    except TileIndexError as error:
        raise TileIndexError(
            f"{error.what} as {first.path}",
            where=other.path,
            hint="Only indexes of one model can be joined.",
        ) from None


def choose(indexes: Sequence[Store], report: MergeReport) -> list[tuple[int, SourceRecord]]:
    """(number of the index, source) for each path, in order of appearance; fills in the report."""
    found: dict[str, list[tuple[int, SourceRecord]]] = {}
    for number, index in enumerate(indexes):
        for source in index.sources():
            found.setdefault(source.path, []).append((number, source))
    chosen = []
    for path, candidates in found.items():
        best = max(
            candidates, key=lambda entry: (entry[1].complete, entry[1].mtime_ns or -1, -entry[0])
        )
        chosen.append(best)
        if len(candidates) > 1:
            others = [os.fspath(indexes[n].path) for n, _ in candidates if n != best[0]]
            kept = os.fspath(indexes[best[0]].path)
            report.duplicates.append({"path": path, "kept": kept, "left_out": others})
    for number, index in enumerate(indexes):
        mine = [source for n, source in chosen if n == number]
        tiles = sum(source.tiles for source in mine)
        report.merged.append({"index": os.fspath(index.path), "sources": len(mine), "tiles": tiles})
    return chosen


def _build(work: Path, indexes: list[TileIndex], chosen: list[tuple[int, SourceRecord]]) -> None:
    for entry in work.iterdir():  # left by a merge that was killed
        if entry.name != LOCK:
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    folders = [work / "tiles", work / "vectors"]
    for folder in folders:
        folder.mkdir()
    next_name = 1
    sources = []
    for number, source in chosen:
        index = indexes[number]
        segments = []
        for segment in source.segments:
            if segment.name not in index.broken:
                segments.append(_take(index.path, segment, work, file_name(next_name)))
                next_name += 1
        tiles = sum(segment.tiles for segment in segments)
        sources.append(replace(source, segments=tuple(segments), tiles=tiles))
    for folder in folders:
        flush_folder(folder)
    replace(indexes[0].manifest, sources=tuple(sources), graph=None, next_name=next_name).write(
        work
    )


def _take(folder: Path, segment: SegmentRecord, work: Path, name: str) -> SegmentRecord:
    taken = replace(segment, name=name)
    for (old, record), new in zip(segment.files().items(), taken.files(), strict=True):
        try:
            _link_or_copy(folder / old, work / new)
        except FileNotFoundError:
            raise TileIndexError(
                "changed while it was read", where=folder, hint="Join again when it is at rest."
            ) from None
        if (work / new).stat().st_size != record.bytes:
            raise TileIndexError(f"{old} has another size than was committed", where=folder)
    return taken


def _link_or_copy(old: Path, new: Path) -> None:
    with contextlib.suppress(OSError):  # another disk, or no links at all
        os.link(old, new)
        return
    shutil.copyfile(old, new)
    with new.open("rb+") as file:
        os.fsync(file.fileno())
