"""Which rasters the SOURCE arguments name: files, folders, URLs, and what STAC files name."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ngcg_cli.errors import NgcgError
from ngcg_cli.journeys.files import from_root, is_gone, is_local
from ngcg_cli.progress import Progress
from ngcg_cli.search import SourceRecord
from ngcg_cli.search.match import file_of

if TYPE_CHECKING:
    from ngcg_cli.stac import Picked

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Choice:
    """How rasters are taken from STAC files.

    Attributes:
        asset: name of the asset, or a pattern; None picks one by role and type.
        fetch: ask also servers that only the STAC file names.
    """

    asset: str | None = None
    fetch: bool = False


@dataclass
class Found:
    """What the sources name.

    Attributes:
        paths: the rasters, each once and in order; where there is none, what was looked for.
        failed: of the paths, those where there is nothing to open, and why.
        items: of the paths, those that a STAC item names.
        whole: STAC files of which all could be read.
    """

    paths: list[str] = field(default_factory=list)
    failed: dict[str, NgcgError] = field(default_factory=dict)
    items: dict[str, Picked] = field(default_factory=dict)
    whole: set[str] = field(default_factory=set)


def find(
    sources: list[str],
    known: Mapping[str, SourceRecord],
    choice: Choice,
    progress: Progress | None = None,
) -> Found:
    """The rasters that the sources name.

    One that the index knows by another path to the same file keeps that name.

    Args:
        sources: rasters, folders, STAC files.
        known: sources of the index by path.
        choice: how to take rasters from STAC files.
        progress: is told what of a STAC file has been listed.
    """
    from ngcg_cli.raster import find_rasters
    from ngcg_cli.raster.products import pictures
    from ngcg_cli.raster.servers import servers

    named = frozenset(server for source in sources for server in servers(source))
    names = {os.path.realpath(path): path for path in known if os.path.exists(path)}
    taken: set[str] = set()
    found = Found()
    beside: dict[str, int] = {}
    for source in sources:
        name = from_root(source)
        try:
            if not _take_stac(found, name, choice, named, names, taken, progress or Progress()):
                chosen = pictures(find_rasters(name))
                for path in chosen.paths:
                    _add(found, path, names, taken)
                for product, error in chosen.failed.items():
                    _fail(found, product, error)
                beside |= chosen.beside
        except NgcgError as error:
            _fail(found, name, error)
    if beside:
        logger.info(
            "satellite products: %s, one picture of each is taken; files left out: %s, "
            "name one to index it",
            f"{len(beside):,}",
            f"{sum(beside.values()):,}",
        )
    return found


def _add(found: Found, path: str, names: dict[str, str], taken: set[str]) -> str:
    """Takes a raster unless it is there already; the name that it has."""
    real = os.path.realpath(path) if is_local(path) else path
    name = names.setdefault(real, path)
    if real not in taken:
        taken.add(real)
        found.paths.append(name)
    return name


def _fail(found: Found, name: str, error: NgcgError) -> None:
    if name not in found.failed:
        found.failed[name] = error
        found.paths.append(name)


def _take_stac(
    found: Found,
    name: str,
    choice: Choice,
    named: frozenset[str],
    names: dict[str, str],
    taken: set[str],
    progress: Progress,
) -> bool:
    """Takes the rasters of a STAC file; whether it is one."""
    from ngcg_cli.stac import Failure, rasters_of

    if os.path.isdir(name):
        return False
    entries = rasters_of(name, choice.asset, named, choice.fetch, progress)
    if entries is None:
        return False
    catalog, whole = "", True
    progress.start("listing", None, "items")
    for entry in entries:
        progress.advance(1)
        if isinstance(entry, Failure):
            _fail(found, entry.where, entry.error)
            whole = False
            continue
        catalog = entry.catalog
        found.items.setdefault(_add(found, entry.path, names, taken), entry)
    if whole:
        found.whole.add(catalog)
    return True


def gone_under(sources: list[str], known: Mapping[str, SourceRecord], found: Found) -> list[str]:
    """Sources of the index that the given ones named once and name no more.

    Of files and folders: what is there no more, but only where the folder above is there: a disk
    that is not mounted takes nothing with it. Of a STAC file that was read to the end: what it does
    not name any more.
    """
    roots = [root for root in map(from_root, sources) if is_local(root)]
    folders = tuple(os.path.join(root, "") for root in roots if _holds_files(root))
    files = {root for root in roots if _holds_files(os.path.dirname(root))}
    there = set(found.paths)

    def named(file: str) -> bool:
        return file in files or file.startswith(folders)

    return [
        path
        for path, record in known.items()
        if (named(file_of(path)) and is_gone(path))
        or (record.catalog in found.whole and path not in there)
    ]


def _holds_files(folder: str) -> bool:
    """An empty folder may be where a disk is mounted at other times."""
    try:
        with os.scandir(folder) as entries:
            return any(entries)
    except OSError:
        return False
