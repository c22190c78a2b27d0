"""What of the indexed rasters lies in a box of the map: tiles and pictures for the page."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from ngcg_cli.errors import RasterError
from ngcg_cli.output.pictures import Pictures, encoded
from ngcg_cli.raster.mercator import EDGE, unproject
from ngcg_cli.search.extent import meets
from ngcg_cli.server.desk import Refused, State

logger = logging.getLogger(__name__)

SIDE = 256
MAX_ZOOM = 24
# Rasters drawn over each other in one tile.
MAX_DEEP = 12
# Encoded images kept: some 10 kB each.
KEPT = 2000


class Imagery:
    """Draws and encodes; any thread may ask, each has open rasters of its own.

    Args:
        fetch: see `Pictures`.
    """

    def __init__(self, fetch: bool = False) -> None:
        self._fetch = fetch
        self._own = threading.local()
        self._lock = threading.Lock()
        self._made: OrderedDict[object, bytes] = OrderedDict()
        self._bad: set[tuple[int, int]] = set()

    def tile(self, state: State, z: int, x: int, y: int) -> bytes:
        """A tile of the usual scheme as WebP, transparent where no raster lies.

        Raises:
            Refused: there is no such tile.
        """
        if not (0 <= z <= MAX_ZOOM and 0 <= x < 2**z and 0 <= y < 2**z):
            raise Refused(f"no tile {z}/{x}/{y}")
        size = 2 * EDGE / 2**z
        left, top = x * size - EDGE, EDGE - y * size
        bounds = (left, top - size, left + size, top)
        return self._kept(
            (state.revision, z, x, y),
            lambda: self._drawn(state, self._there(state, bounds), bounds, SIDE),
        )

    def picture(self, state: State, number: int, bounds: Sequence[float], side: int) -> bytes:
        """A box of one source, metres of the map, as WebP.

        Raises:
            Refused: the index names no source of that number, or the box is none.
        """
        left, bottom, right, top = bounds
        reach = 3 * EDGE
        if not (-reach <= left < right <= reach and -EDGE <= bottom < top <= EDGE):
            raise Refused(f"no box of the map: {list(bounds)}")
        if number not in state.paths:
            raise Refused(f"no source {number}")
        return self._kept(
            (state.revision, number, *bounds, side),
            lambda: self._drawn(state, [number], tuple(bounds), side),
        )

    def _kept(self, key: object, draw: Callable[[], bytes]) -> bytes:
        with self._lock:
            if key in self._made:
                self._made.move_to_end(key)
                return self._made[key]
        image = draw()
        with self._lock:
            self._made[key] = image
            if len(self._made) > KEPT:
                self._made.popitem(last=False)
        return image

    def _there(self, state: State, bounds: tuple[float, ...]) -> list[int]:
        """Numbers of the sources whose box meets a box of the map."""
        west, south = unproject(bounds[0], bounds[1])
        east, north = unproject(bounds[2], bounds[3])
        sources = [source for source in state.info["sources"] if source["bbox"]]
        if not sources:
            return []
        boxes = np.array([source["bbox"] for source in sources])
        near = meets(boxes, (west, south, east, north))
        return [sources[at]["number"] for at in np.flatnonzero(near)[:MAX_DEEP]]

    def _drawn(
        self, state: State, numbers: Iterable[int], bounds: tuple[float, ...], side: int
    ) -> bytes:
        canvas = np.zeros((side, side, 4), np.uint8)
        for number in numbers:
            layer = self._layer(state, number, bounds, side)
            if layer is not None:
                free = canvas[..., 3] == 0
                canvas[free] = layer[free]
        return encoded(canvas)

    def _layer(
        self, state: State, number: int, bounds: tuple[float, ...], side: int
    ) -> NDArray[np.uint8] | None:
        if (state.revision, number) in self._bad:
            return None
        # A raster that has been indexed again is opened again.
        if getattr(self._own, "revision", None) != state.revision:
            if hasattr(self._own, "pictures"):
                self._own.pictures.close()
            self._own.pictures, self._own.revision = Pictures(self._fetch), state.revision
        try:
            raster = self._own.pictures.raster(state.paths[number])
        except RasterError as error:
            self._bad.add((state.revision, number))
            logger.warning("no imagery: %s", error)
            return None
        try:
            return raster.on_map(bounds, side, side)
        except RasterError as error:
            logger.debug("no imagery: %s", error)
            return None
