"""Images without captions: those of a folder, or of a tar file."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import TypeVar

import numpy as np

from ngcg_cli.datasets.images import decode, read_image
from ngcg_cli.errors import DataError

_Named = TypeVar("_Named")
_SUFFIXES = {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".bmp"}
#: Bytes of one file in a tar; far more than a photograph has.
_LARGEST = 1 << 28


def read_images(path: Path, most: int) -> list[np.ndarray]:
    """Images of a folder (searched through) or a tar file, at most `most`, spread over them all.

    Returns:
        (h, w, 3) uint8 RGB each, in the order of their names.

    Raises:
        DataError: no folder and no tar, without an image, or an image cannot be read.
    """
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if _is_image(file.name) and file.is_file())
        return [read_image(file) for file in _spread(files, most, path)]
    if not path.is_file():
        raise DataError("neither a folder nor a tar file", where=path)
    try:
        with tarfile.open(path) as tar:
            members = sorted(
                (member for member in tar if member.isfile() and _is_image(member.name)),
                key=lambda member: member.name,
            )
            chosen = _spread(members, most, path)
            return [_read_member(tar, member, path) for member in chosen]
    except (OSError, EOFError, tarfile.TarError, ValueError) as error:
        raise DataError(f"cannot be read as a tar file ({error})", where=path) from error


def _read_member(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> np.ndarray:
    where = path / member.name
    if member.size > _LARGEST:
        raise DataError(f"{member.size:,} bytes, more than {_LARGEST:,}", where=where)
    file = tar.extractfile(member)
    assert file is not None  # it is a regular file
    return decode(io.BytesIO(file.read()), where)


def _is_image(name: str) -> bool:
    return Path(name).suffix.lower() in _SUFFIXES


def _spread(found: list[_Named], most: int, path: Path) -> list[_Named]:
    if not found:
        raise DataError("holds no image", where=path, hint="Give photographs, as JPEG or PNG.")
    step = max(1, len(found) / most)
    return [found[int(number * step)] for number in range(min(most, len(found)))]
