"""The lock that keeps writers apart, and the name of the one who holds it."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import shlex
import socket
import stat
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from ngcg_cli.beside import NO_LOCKS
from ngcg_cli.errors import TileIndexError

logger = logging.getLogger(__name__)

LOCK = "writer.lock"
_LONGEST_COMMAND = 200
_LONGEST_HOLDER = 4096
_NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


@contextlib.contextmanager
def writer_lock(folder: Path, wait: bool = False) -> Iterator[Callable[[], None]]:
    """Hold the folder's only writer's place; the system frees it however the process ends.

    Args:
        folder: the index.
        wait: until another process is done, which is named in a warning, instead of failing.

    Yields:
        A check to be called before anything is put in its place. It raises TileIndexError once the
        folder was moved away or its lock file deleted: then another process may hold its place.

    Raises:
        TileIndexError: another process writes, which is named; or the folder is not writable.
    """
    path = folder / LOCK
    with _locked(path, wait):
        try:
            descriptor = os.open(path, os.O_RDWR | _NO_LINK)
        except OSError as error:
            raise _unwritable(path, error) from error
        try:
            held = os.fstat(descriptor), os.stat(folder)
            _tell(descriptor, json.dumps(me()).encode())

            def check() -> None:
                with contextlib.suppress(OSError):
                    if all(map(os.path.samestat, held, (os.lstat(path), os.stat(folder)))):
                        return
                raise TileIndexError(
                    f"was moved, or its {LOCK} deleted, while this process wrote it",
                    where=folder,
                    hint="Stopped before it could harm it; give the same command again.",
                )

            try:
                yield check
            finally:
                _tell(descriptor, b"")
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def _locked(path: Path, wait: bool) -> Iterator[None]:
    from filelock import FileLock, Timeout

    try:
        facts = os.lstat(path)
        # With a second name it may be anybody's file.
        if not stat.S_ISREG(facts.st_mode) or facts.st_nlink != 1:
            raise TileIndexError(
                "is no plain file", where=path, hint="Delete it: ngcg makes it anew."
            )
    except FileNotFoundError:
        pass
    except OSError as error:
        raise _unwritable(path, error) from error
    lock = FileLock(path, thread_local=False, fallback_to_soft=False)
    with contextlib.ExitStack() as held:
        try:
            try:
                held.enter_context(lock.acquire(timeout=0))
            except Timeout:
                busy = f"is being written by {_holder(path)}"
                if not wait:
                    raise TileIndexError(
                        busy,
                        where=path.parent,
                        hint="Wait until it is done, or give --wait; queries work meanwhile.",
                    ) from None
                logger.warning("%s: %s; waiting for it", path.parent, busy)
                held.enter_context(lock.acquire(timeout=-1, poll_interval=0.1))
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise _unwritable(path, error) from error
        yield


def _unwritable(path: Path, error: OSError) -> TileIndexError:
    return TileIndexError(
        f"cannot be written: {error.strerror or error}",
        where=path,
        hint="Check the folder's access.",
    )


def _tell(descriptor: int, text: bytes) -> None:
    # Only to be read by people: a full disk must not keep anybody from writing.
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, text, 0) if hasattr(os, "pwrite") else os.write(descriptor, text)


def me() -> dict[str, Any]:
    """This process, as others are told of it."""
    command = shlex.join([os.path.basename(sys.argv[0]), *sys.argv[1:]])
    # What follows a URL's question mark may be a key, and the index may be given away.
    command = re.sub(r"\?[^\s']+", "?...", command)
    if len(command) > _LONGEST_COMMAND:
        command = f"{command[:_LONGEST_COMMAND]}..."
    since = datetime.now().astimezone().isoformat(" ", "seconds")
    return {"pid": os.getpid(), "host": socket.gethostname(), "command": command, "since": since}


def _holder(path: Path) -> str:
    """Who holds the lock, by what the file says; a process killed long ago may have left it."""
    try:
        with open(os.open(path, os.O_RDONLY | _NO_LINK), "rb") as file:
            return holder_text(json.loads(file.read(_LONGEST_HOLDER)))
    except (OSError, ValueError, RecursionError):
        return "another process"


def holder_text(holder: Any) -> str:
    """Who holds a writer's place, by what `me` said of it."""
    try:
        told = f"process {holder['pid']} on {holder['host']}"
        return f"{told} (`{holder['command']}`, since {holder['since']})"
    except (KeyError, TypeError):
        return "another process"
