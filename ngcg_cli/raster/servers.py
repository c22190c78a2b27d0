"""Which servers may be asked for the rasters that an index names.

An index may come from anywhere, and so may the addresses in it. Pictures of hits are fetched from
servers that the user named: when the rasters were indexed, or in `NGCG_SERVERS`. (With `--fetch`,
from any; that is decided where pictures are cut.)
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

from ngcg_cli.errors import RasterError

_ADDRESS = re.compile(r"\w+://[^/?#]+|/vsi\w+/[^/:]+(?=/)")
_LOCAL = re.compile(r"/vsi(zip|tar|gzip|7z|rar|mem|curl|curl_streaming)/")

_allowed: set[str] = set()


def servers(path: str) -> frozenset[str]:
    """The servers that reading `path` asks, as `https://example.org` or `/vsis3/bucket`."""
    from ngcg_cli.raster.gdal import is_remote

    if not is_remote(path):
        return frozenset()
    found = {name for name in _ADDRESS.findall(path) if not _LOCAL.match(name)}
    # Written otherwise, as `/vsicurl?url=`, it stands for itself alone.
    if not found or re.search(r"/vsi\w+\?", path):
        return frozenset([path])
    return frozenset(re.sub(r"://.*@", "://", name) for name in found)


def allow(names: Iterable[str]) -> None:
    """Allows servers from now on, in this process."""
    _allowed.update(names)


def require(path: str) -> None:
    """Sees that a raster which an index names is on this machine, or on an allowed server.

    Raises:
        RasterError: it is not, with what to type.
    """
    if path.startswith("/vsistdin"):
        raise RasterError("is standard input, which an index cannot name", where=path)
    unknown = servers(path) - _allowed - set(os.environ.get("NGCG_SERVERS", "").split())
    if unknown:
        name = min(unknown)
        raise RasterError(
            f"is not fetched unasked: only the index names the server {name}",
            where=path,
            hint=f"If you trust it: --fetch for pictures, or NGCG_SERVERS='{name}'.",
        )
