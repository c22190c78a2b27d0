"""The lock that keeps writers apart, and the name of the one who holds it."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import re
import shlex
import socket
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from ngcg_cli.errors import TileIndexError

try:
    import fcntl
except ImportError:  # Windows: a single writer is the user's care there
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)

LOCK = "writer.lock"
# A file system without locks: going on is better than no index at all there.
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)
_LONGEST_COMMAND = 200


@contextlib.contextmanager
def writer_lock(folder: Path, wait: bool = False) -> Iterator[None]:
    """Hold the folder's only writer's place; the system frees it however the process ends.

    Args:
        folder: the index.
        wait: until another process is done, which is named in a warning, instead of failing.

    Raises:
        TileIndexError: another process writes, which is named; or the folder is not writable.
    """
    path = folder / LOCK
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise TileIndexError(
            f"cannot be written: {error.strerror}", where=path, hint="Check the folder's access."
        ) from error
    try:
        _take(descriptor, folder, wait)
        _tell(descriptor, _me())
        try:
            yield
        finally:
            _tell(descriptor, b"")
    finally:
        os.close(descriptor)


def _take(descriptor: int, folder: Path, wait: bool) -> None:
    if fcntl is None:
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            busy = f"is being written by {_holder(folder / LOCK)}"
            if not wait:
                raise TileIndexError(
                    busy,
                    where=folder,
                    hint="Wait until it is done, or give --wait; queries work meanwhile.",
                ) from None
            logger.warning("%s: %s; waiting for it", folder, busy)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise TileIndexError(f"cannot be locked: {error.strerror}", where=folder) from error


def _tell(descriptor: int, text: bytes) -> None:
    # Only to be read by people: a full disk must not keep anybody from writing.
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, text, 0) if hasattr(os, "pwrite") else os.write(descriptor, text)


def _me() -> bytes:
    command = shlex.join([os.path.basename(sys.argv[0]), *sys.argv[1:]])
    # What follows a URL's question mark may be a key, and the index may be given away.
    command = re.sub(r"\?[^\s']+", "?...", command)
    if len(command) > _LONGEST_COMMAND:
        command = f"{command[:_LONGEST_COMMAND]}..."
    since = datetime.now().astimezone().isoformat(" ", "seconds")
    me = {"pid": os.getpid(), "host": socket.gethostname(), "command": command, "since": since}
    return json.dumps(me).encode()


def _holder(path: Path) -> str:
    """Who holds the lock, by what the file says; a process killed long ago may have left it."""
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
        told = f"process {holder['pid']} on {holder['host']}"
        return f"{told} (`{holder['command']}`, since {holder['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
