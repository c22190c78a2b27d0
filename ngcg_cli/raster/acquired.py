"""When the picture was taken, as far as tags or the file's name tell."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from datetime import datetime

# The plainest word first: TIFF's own tag may also tell when the file was last written.
TAGS = (
    "ACQUISITIONDATETIME", "EXIF_DATETIMEORIGINAL", "ACQUISITION_DATETIME", "ACQUISITION_DATE",
    "DATE_ACQUIRED", "SENSING_TIME", "DATATAKE_1_DATATAKE_SENSING_START", "PRODUCT_START_TIME",
    "NITF_IDATIM", "ACQUISITIONDATE", "EXIF_DATETIME", "TIFFTAG_DATETIME",
)  # fmt: skip

# A date, and a time of day if it follows: 2020-05-15T10:20:30Z, 2020:05:15 10:20:30, 20200515.
_DATE = r"(?<!\d)(\d{4})([-:_.]?)(\d{2})\2(\d{2})"
_TIME = r"(?:[T _-]?(\d{2}):?(\d{2}):?(\d{2}))?(?!\d)"
_MOMENT = re.compile(_DATE + _TIME)
_EARLIEST = 1900


def acquired(path: str, domains: Iterable[Mapping[str, str]]) -> str | None:
    """ISO 8601 date, with the time of day where it is known (UTC, or as the camera had it).

    Args:
        path: of the raster; a date in its name counts when no tag tells one.
        domains: the raster's metadata, item to value.
    """
    found = {name.upper(): value for items in domains for name, value in items.items()}
    values = [found[tag] for tag in TAGS if tag in found]
    name = os.path.basename(path.rstrip("/")).partition("?")[0]
    for value in (*values, name):
        for match in _MOMENT.finditer(value):
            moment = _moment(match)
            if moment is not None:
                return moment
    return None


def _moment(match: re.Match[str]) -> str | None:
    year, _, month, day, *clock = match.groups()
    try:
        date = datetime(int(year), int(month), int(day))
        if not _EARLIEST <= date.year <= datetime.now().year:
            return None
        if clock[0] is not None:
            return date.replace(
                hour=int(clock[0]), minute=int(clock[1]), second=int(clock[2])
            ).isoformat()
    except ValueError:
        return None
    return date.date().isoformat()
