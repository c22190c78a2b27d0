"""The one door to what a STAC file names: where its links and assets may lead, and how much.

A STAC file may come from anywhere. Files of this machine are named by files of this machine alone,
and a server is asked only if the user named it: on the command line, in `NGCG_SERVERS`, or with
`--fetch`, which allows all.
"""

from __future__ import annotations

import os
import time
import urllib.error
import urllib.request
from http.client import HTTPException, HTTPMessage
from typing import IO, Any
from urllib.parse import unquote, urljoin, urlsplit

from ngcg_cli.errors import NgcgError, RasterError
from ngcg_cli.raster import signed
from ngcg_cli.raster.servers import servers
from ngcg_cli.raster.vrt import is_plain

#: Bytes of one document, and of all that are read for one SOURCE.
MAX_DOCUMENT = 128 * 2**20
MAX_BYTES = 2 * 2**30
WEB = ("http", "https")
# What GDAL reads by range beside these; a document is not read from there.
_STORES = ("s3", "gs", "az", "oss")
_SILENCE = 30.0
_LONGEST = 300.0
_TRIES = 3
_AGAIN = frozenset((429, 500, 502, 503, 504))


def is_web(address: str) -> bool:
    """Whether it is http:// or https://."""
    return address.partition("://")[0].lower() in WEB


class Door:
    """What may be read for one SOURCE; counts the bytes.

    Args:
        root: the SOURCE, an absolute path or a URL.
        named: servers that the user named (`raster.servers`).
        fetch: whether all servers may be asked.
    """

    def __init__(self, root: str, named: frozenset[str], fetch: bool) -> None:
        self._folder = os.path.join(os.path.realpath(os.path.dirname(root)), "")
        self._allowed = named | set(os.environ.get("NGCG_SERVERS", "").split())
        self._fetch = fetch
        self._left = MAX_BYTES
        handlers = (
            urllib.request.ProxyHandler(),
            urllib.request.HTTPHandler(),
            urllib.request.HTTPSHandler(),
            urllib.request.HTTPDefaultErrorHandler(),
            urllib.request.HTTPErrorProcessor(),
            _Redirects(self),
        )
        self._opener = urllib.request.OpenerDirector()  # of no other kind, such as file:
        for handler in handlers:
            self._opener.add_handler(handler)

    def link(self, base: str, href: str) -> str:
        """Where a link of the document at `base` leads: an absolute path, or a URL.

        Raises:
            RasterError: it is not followed from there.
        """
        address = _joined(base, href)
        if is_web(address):
            self.require(address)
            return address
        if "://" in address:
            raise RasterError("is not followed: links lead to files and to http(s)", where=address)
        if not os.path.realpath(address).startswith(self._folder):
            raise RasterError(
                f"is not followed: it lies outside of {self._folder}",
                where=address,
                hint="Name the catalog above both, or name it too.",
            )
        return address

    def asset(self, base: str, href: str) -> str:
        """Where an asset of the document at `base` lies: a plain file's absolute path, or a URL.

        Raises:
            RasterError: it is not read from there.
        """
        address = _joined(base, href)
        if "://" in address:
            self.require(address)
        elif not is_plain(address, folders=False):
            raise RasterError(f"its asset {href[:200]!r} is no plain file")
        return address

    def require(self, address: str) -> None:
        """Sees that the user named the server of a URL.

        Raises:
            RasterError: nobody but the file did.
        """
        unknown = servers(address) - self._allowed
        if unknown and not self._fetch:
            name = min(unknown)
            raise RasterError(
                f"is not fetched unasked: only the STAC file names the server {name}",
                where=signed.unsigned(address),
                hint=f"If you trust it: --fetch, or NGCG_SERVERS='{name}'.",
            )

    def read(self, address: str) -> bytes:
        """A document.

        Raises:
            RasterError: it cannot be read, or there is too much of it.
        """
        if "://" in address and not is_web(address):
            raise RasterError(
                "STAC is read from files and from http(s)",
                where=address,
                hint="Give its web address.",
            )
        data = self._fetched(address) if is_web(address) else _file(address)
        self._left -= len(data)
        if self._left < 0:
            raise RasterError(
                f"its documents have over {MAX_BYTES // 2**20:,} MiB together",
                where=address,
                hint="Name a smaller catalog.",
            )
        return data

    def probe(self, address: str) -> bytes | None:
        """The JSON behind a URL that does not tell what it leads to; None of what is no JSON."""
        try:
            with self._open(address) as answer:
                if "json" not in answer.headers.get("content-type", "").lower():
                    return None
                return _bounded(answer, address)
        except (NgcgError, OSError, HTTPException, ValueError):
            return None  # GDAL tells what is amiss

    def _fetched(self, address: str) -> bytes:
        for attempt in range(1, _TRIES + 1):
            try:
                with self._open(address) as answer:
                    return _bounded(answer, address)
            except (OSError, HTTPException, ValueError) as error:
                code = error.code if isinstance(error, urllib.error.HTTPError) else None
                if attempt == _TRIES or (code is not None and code not in _AGAIN):
                    reason = str(getattr(error, "reason", error) or type(error).__name__)
                    told = f"HTTP {code}, {reason}" if code else reason
                    raise RasterError(
                        f"cannot be fetched: {told}",
                        where=signed.unsigned(address),
                        hint="Check the address.",
                    ) from error
                time.sleep(attempt)
        raise AssertionError("unreachable")

    def _open(self, address: str) -> Any:
        accept = "application/geo+json, application/json;q=0.9, */*;q=0.5"
        asked = urllib.request.Request(address, headers={"Accept": accept, "User-Agent": "ngcg"})
        return self._opener.open(asked, timeout=_SILENCE)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """A server may send on to servers that may be asked, and nowhere else."""

    def __init__(self, door: Door) -> None:
        self._door = door

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        """The request that follows a redirection."""
        self._door.require(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _joined(base: str, href: str) -> str:
    """The absolute address of a reference: a path where it is a file's, else a URL."""
    if not href or any(ord(letter) < 32 or 0xD800 <= ord(letter) < 0xE000 for letter in href):
        raise RasterError(f"names {href[:100]!r}, which is no address", where=base)
    scheme = urlsplit(href).scheme.lower() if "://" in href else ""
    if href.startswith("/vsi") or (scheme and scheme not in (*WEB, *_STORES, "file")):
        raise RasterError(f"names {href[:200]!r}, which is neither a file nor a URL", where=base)
    if scheme and scheme != "file":
        return href
    if is_web(base):
        if scheme == "file":
            raise RasterError(
                f"names {href[:200]!r}, a file, but came from a server",
                where=base,
                hint="Save the item here, if you trust it, and index that.",
            )
        return urljoin(base, href)
    path = unquote(urlsplit(href).path) if scheme else href
    whole = os.path.abspath(os.path.join(os.path.dirname(base), path))
    # A reference is a URL's: a blank in a name may be written %20.
    return whole if scheme or os.path.exists(whole) or "%" not in whole else unquote(whole)


def require_plain(path: str) -> None:
    """Sees that a path, if anything is there, is a plain file's.

    Raises:
        RasterError: it is not.
    """
    if not is_plain(path, folders=False):
        raise RasterError("is no plain file", where=path)


def _file(path: str) -> bytes:
    require_plain(path)
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_DOCUMENT + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise RasterError(f"cannot be read: {reason}", where=path, hint="Check the path.") from None
    return _not_too_large(data, path)


def _bounded(answer: Any, address: str) -> bytes:
    """The body, within the bytes and the seconds that a document may take."""
    until = time.monotonic() + _LONGEST
    data = bytearray()
    while block := answer.read1(2**20):
        data += block
        _not_too_large(data, address)
        if time.monotonic() > until:
            raise TimeoutError(f"not done within {_LONGEST:.0f} s")
    return bytes(data)


def _not_too_large(data: Any, address: str) -> Any:
    if len(data) > MAX_DOCUMENT:
        raise RasterError(
            f"has over {MAX_DOCUMENT // 2**20} MiB", where=address, hint="Name a smaller catalog."
        )
    return data
