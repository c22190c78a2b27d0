"""The rasters of hits, opened again: each once, and those that cannot be read told once."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np
import numpy.typing as npt

from ngcg_cli.errors import RasterError

if TYPE_CHECKING:
    from ngcg_cli.raster import Raster
    from ngcg_cli.search.hits import Hit

logger = logging.getLogger(__name__)


class Rasters:
    """Reads the pixels of hits; use it as a context manager.

    Args:
        why: what is not done where a raster cannot be read, for messages: "not refined".
    """

    def __init__(self, why: str) -> None:
        self._why = why
        self._opened: dict[str, Raster | None] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def of(self, hit: Hit) -> Raster | None:
        """The open raster of a hit; None, and told, where it cannot be opened."""
        if hit.source not in self._opened:
            from ngcg_cli.raster import Raster
            from ngcg_cli.raster.servers import require

            self._opened[hit.source] = None
            try:
                require(hit.source)
                self._opened[hit.source] = self._stack.enter_context(Raster.open(hit.source))
            except RasterError as error:
                logger.warning("%s: %s", self._why, error)
        return self._opened[hit.source]

    def pixels(self, hit: Hit, max_side: int) -> npt.NDArray[np.uint8] | None:
        """A hit's tile as uint8 RGB (h, w, 3), sides up to `max_side`; None if unreadable."""
        raster = self.of(hit)
        if raster is None:
            return None
        from ngcg_cli.raster import Window

        try:
            return raster.read(Window(*hit.window), max_side=max_side)[0]
        except RasterError as error:
            logger.warning("%s: %s", self._why, error)
            return None
