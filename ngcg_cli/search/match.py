"""Which sources of an index are meant by a path."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable

from ngcg_cli import items
from ngcg_cli.errors import TileIndexError
from ngcg_cli.search.store import Store

_IN_ZIP = re.compile(r"/vsizip/\{?(/.+?\.zip)\}?/.*", re.IGNORECASE)


def matching(index: Store, names: str | Iterable[str]) -> list[str]:
    """The paths of the sources that are named, or lie in the folders that are named.

    A name is a path as it is stored, or another path to the same place.

    Raises:
        UsageError: a name is empty.
        TileIndexError: nothing in the index has that name; near ones are told.
    """
    paths = [source.path for source in index.sources()]
    stored = set(paths)
    places = {path: _place(path) for path in paths}
    found: dict[str, None] = {}
    for name in items.paths(names):
        place = _place(name)
        folder = place.rstrip("/" + os.sep) + ("/" if "://" in place else os.sep)
        some = [name] if name in stored else [p for p in paths if places[p] == place]
        some = some or [p for p in paths if places[p].startswith(folder)]
        # What is gone is known by the path it had, links and all.
        some = some or [p for p in paths if os.path.abspath(name) in (p, os.path.dirname(p))]
        if not some:
            raise TileIndexError(
                f"{name}: no such source", where=index.path, hint=_near(name, paths)
            )
        found.update(dict.fromkeys(some))
    return list(found)


def _place(path: str) -> str:
    """A path from the root, without links; what is no local path (a URL, /vsi...) as it is.

    What is in a zip archive lies below the archive's own path.
    """
    archive = file_of(path)
    if archive != path:
        return os.path.realpath(archive) + path.partition(archive)[2]
    return path if "://" in path or path.startswith("/vsi") else os.path.realpath(path)


def file_of(path: str) -> str:
    """The file that a source is read from: of one in a zip archive the archive, there or gone."""
    inside = _IN_ZIP.fullmatch(path)
    return inside[1] if inside else path


def _near(name: str, paths: list[str]) -> str:
    last = os.path.basename(name)
    near = [path for path in paths if last and os.path.basename(path) == last]
    near += difflib.get_close_matches(name, paths, n=3)
    by_last = {os.path.basename(path): path for path in paths}
    near += [by_last[base] for base in difflib.get_close_matches(last, by_last, n=3)]
    told = ", ".join(list(dict.fromkeys(near))[:3])
    return f"Is it {told}?" if told else "`ngcg info` lists the sources."
