"""The folders of an index, and what work cut short leaves in them."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection, Iterable
from pathlib import Path

from ngcg_cli.search.files import PARTIAL, check_folder

_FOLDERS = {"tiles": ".parquet", "vectors": ".npy", "graph": ".hnsw"}


def check_folders(folder: Path) -> None:
    """See that the folders in an index are such, so that nothing is written or deleted elsewhere.

    Raises:
        TileIndexError: one is a link, or no folder.
    """
    for kind in _FOLDERS:
        check_folder(folder / kind)


def sweep(folder: Path, kept: Collection[str]) -> None:
    """Delete files of the names that ngcg writes, hidden ones too, except those kept."""
    found = {
        f"{kind}/{file.name}"
        for kind, suffix in _FOLDERS.items()
        for file in (folder / kind).glob("*")
        if re.fullmatch(rf"({re.escape(PARTIAL)})?[0-9]{{6,15}}{re.escape(suffix)}", file.name)
    }
    delete(folder, found - set(kept))


def delete(folder: Path, names: Iterable[str]) -> None:
    """Delete files of an index; one that cannot be is left to the next sweep."""
    for name in names:
        # Windows keeps a file that a reader has open.
        with contextlib.suppress(OSError):
            (folder / name).unlink()
