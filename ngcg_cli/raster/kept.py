"""Rasters kept open while the hits that lie in them are looked at."""

from __future__ import annotations

from collections import OrderedDict
from types import TracebackType
from typing import Self

from ngcg_cli.errors import RasterError
from ngcg_cli.raster.servers import require
from ngcg_cli.raster.source import Raster
from ngcg_cli.raster.tiles import Window

# Sides of a tile by which its place may differ: another PROJ may know a datum better.
MOVED = 0.25


class KeptOpen:
    """Opens rasters and keeps the last few open; for one thread, close it after use.

    Args:
        fetch: also open rasters on servers that only the index names. It may come from anywhere
            and name any address: what is done unasked does not go there (`raster.servers`).
        most: rasters that are open at once. Hits of one question mostly come from a few.
    """

    def __init__(self, fetch: bool = False, most: int = 8) -> None:
        self._fetch = fetch
        self._most = most
        self._open: OrderedDict[str, Raster] = OrderedDict()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the rasters."""
        while self._open:
            self._open.popitem()[1].close()

    def holding(
        self, path: str, window: tuple[int, int, int, int], lon: float, lat: float
    ) -> Raster:
        """The open raster at `path`, in which a window lies where an index says.

        Args:
            path: of the raster.
            window: column, row, width, height.
            lon, lat: of its centre, degrees.

        Raises:
            RasterError: as `raster`; or another raster has taken its place.
        """
        raster = self.raster(path)
        away = raster.metres_from(Window(*window), lon, lat)
        # Written so that NaN, of what is off the Earth now, fails too.
        if not away <= MOVED * min(raster.gsd) * min(window[2:]):
            raise RasterError(
                f"has changed since it was indexed: window {list(window)} lies elsewhere now",
                where=path,
                hint="Index it again, with --force: the file itself may be the same.",
            )
        return raster

    def raster(self, path: str) -> Raster:
        """The open raster at `path`.

        Raises:
            RasterError: it cannot be opened, or lies where only the index says.
        """
        if not self._fetch:
            require(path)
        if path not in self._open:
            self._open[path] = Raster.open(path)
            if len(self._open) > self._most:
                self._open.popitem(last=False)[1].close()
        self._open.move_to_end(path)
        return self._open[path]
