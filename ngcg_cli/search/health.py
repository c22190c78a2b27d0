"""Whether the files of an index are what was committed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from ngcg_cli.errors import TileIndexError
from ngcg_cli.search.files import FileRecord, file_size, open_inside
from ngcg_cli.search.format import Manifest
from ngcg_cli.search.records import SegmentRecord

# Of many damaged sources so many are named in a warning.
_NAMED = 3


def size_trouble(folder: Path, segments: Iterable[SegmentRecord]) -> dict[str, str]:
    """What is wrong with segments, by name: files missing or of another size. Reads none."""
    found: dict[str, str] = {}
    for segment in segments:
        for name, record in segment.files().items():
            try:
                size = file_size(folder, name)
            except FileNotFoundError:
                found[segment.name] = f"{name} is missing"
            except TileIndexError as error:
                found[segment.name] = f"{name} {error.what}"
            else:
                if size == record.bytes:
                    continue
                found[segment.name] = f"{name} has {size} bytes where {record.bytes} were committed"
            break
    return found


def checksum_trouble(folder: Path, files: dict[str, FileRecord]) -> list[str]:
    """What is wrong with files, a line each; reads them all."""
    troubles = []
    for name, record in files.items():
        try:
            with open_inside(folder, name, record.bytes):
                pass
            if FileRecord.of(folder, name) != record:
                troubles.append(f"{name}: differs from what was committed")
        except TileIndexError as error:
            troubles.append(f"{name}: {error.what}")
        except OSError as error:
            troubles.append(f"{name}: {error.strerror}")
    return troubles


def warning(manifest: Manifest, broken: Mapping[str, str], lost: Collection[str]) -> str:
    """One line that names the sources whose segments `lost` are broken, and why."""
    reasons = {
        source.path: broken[segment.name]
        for source in manifest.sources
        for segment in source.segments
        if segment.name in lost
    }
    told = [f"{path} ({reason})" for path, reason in reasons.items()]
    if len(told) > _NAMED:
        told[_NAMED:] = [f"{len(told) - _NAMED:,} more"]
    return f"damaged, and left out: tiles of {', '.join(told)}; index again what is named"
