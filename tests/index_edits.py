"""An index as a stranger may send it: manifests rewritten, with checksums that fit."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ngcg_cli.errors import NgcgError
from ngcg_cli.search import TileIndex

# The files of an index's first segment.
TABLE, VECTORS = "tiles/000001.parquet", "vectors/000001.npy"


def sealed(data: dict[str, Any]) -> bytes:
    """A manifest's bytes with the checksum that format 3 asks for (docs/index-format.md)."""
    body = json.dumps({name: value for name, value in data.items() if name != "checksum"})[:-1]
    digest = hashlib.sha256(body.encode()).hexdigest()
    return f'{body},\n"checksum": "{digest}"\n}}\n'.encode()


def manifest_of(folder: Path) -> dict[str, Any]:
    """The manifest as plain data."""
    data = json.loads((folder / "manifest.json").read_bytes())
    assert isinstance(data, dict)
    return data


def rewrite(folder: Path, data: dict[str, Any]) -> None:
    """Give an index another manifest."""
    (folder / "manifest.json").write_bytes(sealed(data))


def record(folder: Path, name: str) -> dict[str, Any]:
    """What the manifest says of a file as it is now."""
    data = (folder / name).read_bytes()
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def told(call: Callable[[], object]) -> str:
    """The one line that a call ends with."""
    with pytest.raises(NgcgError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def resized(index: TileIndex, name: str) -> None:
    """Makes the manifest agree with a file that was replaced."""
    data = manifest_of(index.path)
    kind = "table" if name == TABLE else "vectors"
    data["sources"][0]["segments"][0][kind] = record(index.path, name)
    rewrite(index.path, data)
