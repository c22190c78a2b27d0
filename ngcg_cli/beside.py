"""Files and folders for the user that are either whole or not there.

What is not whole yet lies in a *workshop*, a hidden folder beside its place, under a lock.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ngcg_cli.errors import NgcgError, UsageError

#: What a file system without locks answers: going on is better than no file at all there.
NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)

_PREFIX = ".ngcg-"
_NAME = re.compile(re.escape(_PREFIX) + "[a-z0-9_]{8}")  # as tempfile makes them
# In a workshop, hidden, too: the name of anything made there is the user's.
_LOCK = ".ngcg.lock"
_REPLACED = ".ngcg.replaced"
# Another's sweep may come first, but not time after time.
_TRIES = 20


def check_target(path: Path) -> None:
    """See, before any work, that a file can be put at `path`.

    Raises:
        UsageError: its folder is missing or cannot be written, or what is there is no file.
    """
    if path.is_dir():
        raise UsageError(f"{path}: is a folder", hint="Name a file.")
    if path.exists() and not path.is_file():
        raise UsageError(f"{path}: is a pipe or device, no file", hint="Name a file.")
    folder = Path(os.path.realpath(path)).parent if path.is_symlink() else path.parent
    if not folder.is_dir():
        raise UsageError(f"{path}: there is no folder {folder}", hint="Make it, or name another.")
    if not os.access(folder, os.W_OK):
        raise UsageError(f"{path}: the folder {folder} cannot be written", hint="Name another.")


@contextlib.contextmanager
def beside(target: Path, *, alone: bool = False) -> Iterator[Path]:
    """A path to write to, beside `target`; it takes the place of `target` at the end.

    The name is the same: libraries judge by its suffix. After an error nothing is left, and what
    was at `target` stays as it was. Where `target` is a link, what it points to is replaced, not
    the link.

    Args:
        target: the file.
        alone: nobody else writes it meanwhile. Then the path is always the same, hidden and in the
            folder of `target`, and what a killed run has left there is written over.

    Raises:
        NgcgError: the file system refuses.
    """
    place = Path(os.path.realpath(target))
    with contextlib.ExitStack() as held:
        try:
            if alone:
                partial = place.with_name(f".ngcg-{target.stem}{target.suffix}")
                held.callback(partial.unlink, missing_ok=True)
            else:
                partial = held.enter_context(workshop(place.parent)) / target.name
            yield partial
            with partial.open("rb") as file:
                os.fsync(file.fileno())
            partial.replace(place)
        except OSError as error:
            raise NgcgError(
                f"cannot be written: {error.strerror or error}", where=target
            ) from error


@contextlib.contextmanager
def workshop(folder: Path) -> Iterator[Path]:
    """A hidden folder in `folder` for what is not whole yet; at the end it is gone with all in it.

    A process that is killed leaves its workshop. The next one that opens a workshop in `folder`
    finds its lock free, as the system frees it however a process ends, and clears it away.

    Raises:
        OSError: the file system refuses.
    """
    sweep(folder)
    with contextlib.ExitStack() as held:
        shop = _open(folder, held)
        try:
            yield shop
        finally:
            _clear(shop, held)


def put_folder(fresh: Path, target: Path) -> None:
    """Move the folder `fresh`, made in a workshop beside `target`, to `target`.

    What stands there is moved into the workshop first: a folder cannot be replaced in one step.
    If the second step never comes, the end of the workshop or a sweep takes it back.

    Raises:
        OSError: the file system refuses.
    """
    if os.path.lexists(target):
        replaced = fresh.parent / _REPLACED
        replaced.mkdir()
        target.rename(replaced / target.name)
    fresh.rename(target)


def sweep(folder: Path) -> None:
    """Clear away the workshops in `folder` of processes that are no more.

    One that a process still holds stays, and so does what only looks like one, and what another
    user made. A folder that was about to be replaced is put back.
    """
    for shop in folder.glob(f"{_PREFIX}*"):
        # On a file system without locks all of them stay.
        with contextlib.suppress(OSError), contextlib.ExitStack() as held:
            if not _NAME.fullmatch(shop.name) or not _is_mine(shop):
                continue
            if not (shop / _LOCK).exists():
                shop.rmdir()  # killed before its lock, it is empty
            elif _lock(shop, held):
                _clear(shop, held)


def _is_mine(shop: Path) -> bool:
    """Whether it is a folder, no link, and this user's.

    In a folder that all may write to, such as /tmp, another user could put a link in place of what
    is theirs, just when it is cleared.
    """
    facts = os.lstat(shop)
    return stat.S_ISDIR(facts.st_mode) and (os.name != "posix" or facts.st_uid == os.geteuid())


def _open(folder: Path, held: contextlib.ExitStack) -> Path:
    """A new workshop, its lock in `held`."""
    for _ in range(_TRIES):
        shop = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=folder))
        try:
            mine = _lock(shop, held)
        except FileNotFoundError:
            mine = False
        except OSError as error:
            if error.errno not in NO_LOCKS:
                shutil.rmtree(shop, ignore_errors=True)
                raise
            mine = True
        # Another's sweep may have come between the folder and its lock.
        if mine and (shop / _LOCK).exists():
            return shop
        shutil.rmtree(shop, ignore_errors=True)
    raise OSError(errno.ENOLCK, "its file system gives no lock", str(folder))


def _lock(shop: Path, held: contextlib.ExitStack) -> bool:
    """Whether a workshop's lock was free; then `held` has it."""
    from filelock import FileLock, Timeout

    try:
        held.enter_context(
            FileLock(shop / _LOCK, timeout=0, thread_local=False, fallback_to_soft=False)
        )
    except Timeout:
        return False
    return True


def _clear(shop: Path, held: contextlib.ExitStack) -> None:
    """Delete a workshop; what cannot be deleted is left to the next sweep."""
    with contextlib.suppress(OSError):
        replaced = shop / _REPLACED
        if not replaced.is_symlink():
            for old in replaced.glob("*"):
                if not os.path.lexists(shop.parent / old.name):
                    old.rename(shop.parent / old.name)
        # The lock last: without it nobody takes the folder for a workshop.
        for entry in shop.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            elif entry.name != _LOCK:
                entry.unlink()
        held.close()  # Windows deletes no file that is open
        shutil.rmtree(shop)
