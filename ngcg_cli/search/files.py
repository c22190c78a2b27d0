"""Files that are either whole or not there, and the lock that keeps writers apart."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ngcg_cli.errors import TileIndexError

try:
    import fcntl
except ImportError:  # Windows: a single writer is the user's care there
    fcntl = None  # type: ignore[assignment]

LOCK = "writer.lock"
# Hidden, so that Parquet readers pass over a half-written table in the same folder.
PARTIAL = ".partial-"


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


def write_beside(path: Path, write: Callable[[IO[bytes]], object]) -> FileRecord:
    """Write a file under a hidden name beside `path`, flush it to disk, then move it into place.

    Raises:
        TileIndexError: the file system refuses; nothing is left behind and `path` is as before.
    """
    partial = path.with_name(f"{PARTIAL}{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        record = FileRecord.of(partial)
        partial.replace(path)
        _flush_folder(path.parent)
    except BaseException as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise TileIndexError(
                f"cannot be written: {error.strerror or error}",
                where=path,
                hint="What was committed before is safe: make room or fix access and run again.",
            ) from error
        raise
    return record


def damaged(path: Path, reason: object) -> TileIndexError:
    """The error of a file of an index that is not what was committed."""
    return TileIndexError(
        f"is damaged ({reason})",
        where=path,
        hint="Restore it from a copy, or delete the index and index again.",
    )


def _flush_folder(folder: Path) -> None:
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


@contextlib.contextmanager
def writer_lock(folder: Path) -> Iterator[None]:
    """Hold the folder's only writer's place; the system frees it however the process ends.

    Raises:
        TileIndexError: another process writes, which is named; or the folder is not writable.
    """
    path = folder / LOCK
    try:
        file = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise TileIndexError(
            f"cannot be written: {error.strerror}", where=path, hint="Check the folder's access."
        ) from error
    with file:
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise TileIndexError(
                    f"is being written by {_holder(path)}",
                    where=folder,
                    hint="Wait until it is done; queries work meanwhile.",
                ) from None
            except OSError as error:
                # A file system without locks: going on is better than no index at all there.
                if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
                    raise
        file.truncate(0)
        file.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}))
        file.flush()
        yield


def _holder(path: Path) -> str:
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
        return f"process {holder['pid']} on {holder['host']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
