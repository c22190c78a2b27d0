"""Files that are either whole or not there."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ngcg_cli.errors import TileIndexError

# Hidden, so that Parquet readers pass over a half-written table in the same folder.
PARTIAL = ".partial-"

# Files flushed at once: eight take an eighth of the time, more gain nothing.
_FLUSHERS = 8

Writer = Callable[[IO[bytes]], object]


@dataclass(frozen=True)
class FileRecord:
    """Size and SHA-256 of a file as it was committed."""

    bytes: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> FileRecord:
        """The record of the file as it is now."""
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return cls(bytes=file.tell(), sha256=digest)


def write_all(files: Mapping[Path, Writer]) -> dict[Path, FileRecord]:
    """Write files under hidden names beside theirs, flush them to disk, then move all into place.

    Raises:
        TileIndexError: the file system refuses. No half-written file is left behind; of several
            files, some may be in place.
    """
    partials = {path: path.with_name(f"{PARTIAL}{path.name}") for path in files}
    folders = dict.fromkeys(path.parent for path in files)
    at = next(iter(files), Path())
    try:
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        for at, write in files.items():
            with partials[at].open("wb") as file:
                write(file)
        _flush(list(partials.values()))
        records = {path: FileRecord.of(partial) for path, partial in partials.items()}
        for at in files:
            partials[at].replace(at)
        for folder in folders:
            flush_folder(folder)
    except BaseException as error:
        for partial in partials.values():
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise unwritable(at, error) from error
        raise
    return records


def write_beside(path: Path, write: Writer) -> FileRecord:
    """Write one file as `write_all` does."""
    return write_all({path: write})[path]


def unwritable(path: Path, error: OSError) -> TileIndexError:
    """The error of a file that the file system refuses."""
    return TileIndexError(
        f"cannot be written: {error.strerror or error}",
        where=path,
        hint="What was committed before is safe: make room or fix access and run again.",
    )


def damaged(path: Path, reason: object, hint: str | None = None) -> TileIndexError:
    """The error of a file of an index that is not what was committed."""
    return TileIndexError(
        f"is damaged ({reason})",
        where=path,
        hint=hint or "Restore it from a copy, or index its source again with --force.",
    )


def _flush(paths: list[Path]) -> None:
    """Make files last through a power cut; a file system takes many at once in one go."""

    def flush(path: Path) -> None:
        with path.open("rb+") as file:
            os.fsync(file.fileno())

    if len(paths) <= 2:
        for path in paths:
            flush(path)
        return
    with ThreadPoolExecutor(_FLUSHERS) as pool:
        list(pool.map(flush, paths))


def flush_folder(folder: Path) -> None:
    """Make a rename last through a power cut (a folder cannot be opened so on Windows)."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems cannot; the rename is still atomic for readers.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)
