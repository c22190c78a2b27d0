"""`--crops DIR`: a georeferenced GeoTIFF and a PNG for each hit, and a list of them."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from ngcg_cli.beside import beside, sweep
from ngcg_cli.errors import NgcgError, RasterError, UsageError
from ngcg_cli.output.hits import hit_record
from ngcg_cli.output.pictures import Pictures, encoded
from ngcg_cli.plain import json_text
from ngcg_cli.raster import Window

if TYPE_CHECKING:
    from ngcg_cli.journeys.querying import Answer
    from ngcg_cli.search import Hit

logger = logging.getLogger(__name__)

LIST = "crops.jsonl"
# Numbers alone: no word of a question and no name of a source becomes a file name.
_NAME = re.compile(r"\d{4,}-\d{3,}\.(tif|png)")
PNG_SIDE = 1024


class Crops:
    """A folder of crops: `0001-003.tif` and `.png` are the first question's third hit.

    `crops.jsonl` has one line per hit: what the jsonl format has, and its files `tif` and `png`.

    Args:
        folder: a new or empty one, or one of earlier crops, which are replaced.
        fetch: see `Pictures`.

    Raises:
        UsageError: the folder holds anything else, or cannot be made; nothing is written then.
    """

    def __init__(self, folder: Path, fetch: bool = False) -> None:
        self.unreadable = 0
        self._fetch = fetch
        self._folder = folder
        names = self._names()
        foreign = sorted(name for name in names if name != LIST and not _NAME.fullmatch(name))
        if foreign or (names and LIST not in names):
            other = (foreign or sorted(names))[0]
            raise UsageError(
                f"--crops {folder}: holds {other!r}, which is no crop of ours",
                hint="Name a new or empty folder.",
            )
        self._old = names

    def _names(self) -> list[str]:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            sweep(self._folder)
            return os.listdir(self._folder)
        except OSError as error:
            raise UsageError(
                f"--crops {self._folder}: cannot be used as a folder: {error.strerror}",
                hint="Name a new or empty folder.",
            ) from error

    def of(self, answers: Iterable[Answer]) -> Iterator[Answer]:
        """Passes answers on, each when its crops are written.

        A raster that cannot be read is told in an error and counted in `unreadable`.
        """
        # Empty, not gone: it tells a later run that the crops of a killed one are ours.
        with beside(self._folder / LIST) as path:
            path.touch()
        for name in self._old:
            if name != LIST:
                (self._folder / name).unlink()
        with (
            beside(self._folder / LIST) as path,
            path.open("w", encoding="utf-8", errors="backslashreplace") as listed,
            Pictures(self._fetch) as pictures,
        ):
            for number, answer in enumerate(answers, 1):
                for hit in answer.hits:
                    self._crop(pictures, number, answer.query, hit, listed)
                yield answer

    def _crop(self, pictures: Pictures, number: int, query: str, hit: Hit, listed: TextIO) -> None:
        stem = f"{number:04}-{hit.rank:03}"
        tif, png = (self._folder / f"{stem}{suffix}" for suffix in (".tif", ".png"))
        window = Window(*hit.window)
        try:
            raster = pictures.holding(hit.source, hit.window, hit.lon, hit.lat)
            raster.crop(window, tif)
            png.write_bytes(encoded(raster.read(window, PNG_SIDE)[0], "PNG"))
        except RasterError as error:
            tif.unlink(missing_ok=True)
            self.unreadable += 1
            logger.error("no crop of hit %d: %s", hit.rank, error)
            return
        except OSError as error:
            raise NgcgError(f"cannot be written: {error.strerror}", where=png) from error
        record = {**hit_record(query, hit), "tif": tif.name, "png": png.name}
        listed.write(json_text(record) + "\n")
