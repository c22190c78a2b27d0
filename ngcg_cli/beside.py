"""Files for the user that are either whole or not there."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from ngcg_cli.errors import NgcgError, UsageError


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
    """A path to write to, in the folder of `target`; it takes the place of `target` at the end.

    The suffix is the same: libraries judge by it. After an error nothing is left, and what was at
    `target` stays as it was. Where `target` is a link, what it points to is replaced, not the link.

    Args:
        target: the file.
        alone: nobody else writes it meanwhile. Then the path is always the same, and what a killed
            run has left there is written over.

    Raises:
        NgcgError: the file system refuses.
    """
    mark = target.stem if alone else os.getpid()
    place = Path(os.path.realpath(target))
    partial = place.with_name(f".ngcg-{mark}{target.suffix}")
    try:
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(place)
    except OSError as error:
        raise NgcgError(f"cannot be written: {error.strerror or error}", where=target) from error
    finally:
        partial.unlink(missing_ok=True)
