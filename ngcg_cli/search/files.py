"""Files that are either whole or not there."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import stat
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

# Not through a link, and not waiting for the other end of a pipe; Windows knows neither.
_NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)

Writer = Callable[[IO[bytes]], object]


@dataclass(frozen=True)
class FileRecord:
    """Size and SHA-256 of a file as it was committed."""

    bytes: int
    sha256: str

    def __post_init__(self) -> None:
        if self.bytes < 0:
            raise ValueError(f"a file of {self.bytes} bytes")

    @classmethod
    def of(cls, folder: Path, name: str) -> FileRecord:
        """The record of a folder's file as it is now; raises as `open_inside`."""
        with open_inside(folder, name) as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return cls(bytes=file.tell(), sha256=digest)


def check_folder(path: Path) -> None:
    """See that a folder of an index, if it is there, is one: not a link to one elsewhere.

    Raises:
        TileIndexError: it is a link or no folder.
    """
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            raise damaged(path, "it is a link or no folder", "Put a plain folder in its place.")


def file_size(folder: Path, name: str) -> int:
    """Bytes of a folder's file, if it is a regular one and no link.

    Raises:
        FileNotFoundError: it is not there.
        TileIndexError: it is no regular file, or lies behind a link.
    """
    path = folder / name
    if path.parent != folder:
        check_folder(path.parent)
    try:
        facts = os.lstat(path)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise damaged(path, error.strerror) from error
    _check_regular(path, facts)
    return facts.st_size


def open_inside(folder: Path, name: str, size: int | None = None) -> io.BufferedReader[io.FileIO]:
    """Open a file of an index for reading: an index may come from a stranger.

    Nothing but a regular file is opened, and no link is followed, in the folder or in `vectors/`
    and its like; what was opened is what was looked at. The folder itself may be a link: its user
    has named it.

    Args:
        folder: the index.
        name: the file, from there.
        size: bytes that it must have, if that is known.

    Raises:
        FileNotFoundError: it is not there.
        TileIndexError: it is something else, of another size, or cannot be read.
    """
    path = folder / name
    file_size(folder, name)  # opening a device may already do something
    try:
        descriptor = os.open(path, os.O_RDONLY | _NO_LINK)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise damaged(path, error.strerror) from error
    file = io.BufferedReader(io.FileIO(descriptor))
    try:
        facts = os.fstat(descriptor)
        _check_regular(path, facts)
        if size is not None and facts.st_size != size:
            raise damaged(path, f"{facts.st_size} bytes where {size} were committed")
    except BaseException:
        file.close()
        raise
    return file


def _check_regular(path: Path, facts: os.stat_result) -> None:
    if not stat.S_ISREG(facts.st_mode):
        raise damaged(path, "it is a link" if stat.S_ISLNK(facts.st_mode) else "it is no file")


def write_all(
    files: Mapping[Path, Writer], ready: Callable[[], object] | None = None
) -> dict[Path, FileRecord]:
    """Write files under hidden names beside theirs, flush them to disk, then move all into place.

    What lies under a hidden name or in a file's place is replaced; where it is a link, the link is,
    and not what it leads to.

    Args:
        files: what writes each file.
        ready: called at first, and before the first is moved; what it raises leaves all as it was.

    Raises:
        TileIndexError: the file system refuses. No half-written file is left behind; of several
            files, some may be in place.
    """
    partials = {path: path.with_name(f"{PARTIAL}{path.name}") for path in files}
    folders = dict.fromkeys(path.parent for path in files)
    at = next(iter(files), Path())
    if ready:
        ready()
    try:
        for folder in folders:
            with contextlib.suppress(FileExistsError):
                folder.mkdir()
        for at, write in files.items():
            partials[at].unlink(missing_ok=True)
            with partials[at].open("xb") as file:
                write(file)
        _flush(list(partials.values()))
        records = {path: FileRecord.of(p.parent, p.name) for path, p in partials.items()}
        if ready:
            ready()
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


def write_beside(
    path: Path, write: Writer, ready: Callable[[], object] | None = None
) -> FileRecord:
    """Write one file as `write_all` does."""
    return write_all({path: write}, ready)[path]


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
