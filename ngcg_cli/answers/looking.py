"""The pixels of hits, from their rasters; those that cannot be read are told once."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ngcg_cli.errors import RasterError
from ngcg_cli.raster.kept import KeptOpen

if TYPE_CHECKING:
    from ngcg_cli.raster import Raster
    from ngcg_cli.search.hits import Hit

logger = logging.getLogger(__name__)

# In rank order the rasters take turns, and a remote one is dear to open again.
_MOST_OPEN = 64


class Rasters(KeptOpen):
    """Reads the pixels of hits; use it as a context manager.

    Args:
        why: what is not done where a raster cannot be read, for messages: "not refined".
        unread: gets the sources of which something could not be read.
    """

    def __init__(self, why: str, unread: set[str] | None = None) -> None:
        super().__init__(most=_MOST_OPEN)
        self._why = why
        self._unread = set() if unread is None else unread
        self._unopened: set[str] = set()

    def of(self, hit: Hit) -> Raster | None:
        """The open raster of a hit; None, and told once, where it is not there as indexed."""
        if hit.source in self._unopened:
            return None
        try:
            return self.holding(hit.source, hit.window, hit.lon, hit.lat)
        except RasterError as error:
            self._unopened.add(hit.source)
            self._unread.add(hit.source)
            logger.warning("%s: %s", self._why, error)
            return None

    def pixels(self, hit: Hit, max_side: int) -> npt.NDArray[np.uint8] | None:
        """A hit's tile as uint8 RGB (h, w, 3), sides up to `max_side`; None if unreadable."""
        raster = self.of(hit)
        if raster is None:
            return None
        from ngcg_cli.raster import Window

        try:
            return raster.read(Window(*hit.window), max_side=max_side)[0]
        except RasterError as error:
            self._unread.add(hit.source)
            logger.warning("%s: %s", self._why, error)
            return None
