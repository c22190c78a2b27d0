"""What an index in Milvus is called: `milvus:FILE[#COLLECTION]`, `milvus:http://HOST:PORT...`."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from ngcg_cli.errors import UsageError

PREFIX = "milvus:"
COLLECTION = "ngcg"
_COLLECTION = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}")
_FORMS = "It is milvus:FILE[#COLLECTION] or milvus:http://HOST:PORT[/DATABASE][#COLLECTION]."


@dataclass(frozen=True)
class Place:
    """Where an index is.

    Attributes:
        name: as the user says it.
        file: the folder of the embedded engine, None on a server.
        url: the server's, None for the embedded engine.
        database: the server's database; empty for its default.
        collection: the collection of the tiles; another beside it, `records`, holds the sources.
    """

    name: str
    file: Path | None
    url: str | None
    database: str
    collection: str

    @property
    def records(self) -> str:
        """The collection of the sources' records."""
        return f"{self.collection}_sources"

    @property
    def whole(self) -> str:
        """The same place, wherever one stands."""
        if self.file is None:
            return f"{PREFIX}{self.url}/{self.database}#{self.collection}"
        return f"{PREFIX}{os.path.realpath(self.file)}#{self.collection}"


def is_milvus(where: str | os.PathLike[str]) -> bool:
    """Whether a name of an index means one in Milvus."""
    return os.fspath(where).startswith(PREFIX)


def parse(where: str | os.PathLike[str]) -> Place:
    """Read the name of an index in Milvus.

    Raises:
        UsageError: it is none.
    """
    name = os.fspath(where)
    rest, mark, collection = name.removeprefix(PREFIX).partition("#")
    if mark and not _COLLECTION.fullmatch(collection):
        raise UsageError(
            f"{collection!r} is no name of a collection",
            hint="Letters, digits and _ make one, a digit not first.",
        )
    collection = collection or COLLECTION
    if not rest:
        raise UsageError(f"{name!r} names no index", hint=_FORMS)
    # A `Path` makes one slash of two.
    server = re.fullmatch(r"(https?):/{1,2}([^/].*)", rest, re.IGNORECASE)
    if not server:
        # A URL of another kind, or one that names no host, must not become a folder `ftp:`. One
        # letter and a colon are a drive.
        if re.match(r"([A-Za-z][A-Za-z0-9+.-]+:/|//)", rest):
            raise UsageError(f"{name!r} names no index", hint=_FORMS)
        return Place(name, Path(os.path.expanduser(rest)), None, "", collection)
    parts = urlsplit(f"{server[1]}://{server[2]}")
    try:
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise UsageError(f"{name!r}: {error}", hint=_FORMS) from None
    if parts.username or parts.password:
        raise UsageError(
            "an index's name holds no password",
            hint="Give USER:PASSWORD, or the token, in MILVUS_TOKEN.",
        )
    database = parts.path.strip("/")
    if not host or parts.query or (database and not _COLLECTION.fullmatch(database)):
        raise UsageError(f"{name!r} names no index", hint=_FORMS)
    host = f"[{host}]" if ":" in host else host
    url = f"{parts.scheme}://{host}:{port or 19530}"
    return Place(f"{PREFIX}{rest}" if not mark else name, None, url, database, collection)
