"""A raster that GDAL opens: its pixels as uint8 RGB, its windows on the Earth."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import numpy as np
import rasterio
from numpy.typing import NDArray
from PIL import Image
from rasterio.enums import MaskFlags, Resampling
from rasterio.vrt import WarpedVRT

from ngcg_cli.errors import RasterError
from ngcg_cli.raster import bands, tiles
from ngcg_cli.raster.crop import write_crop
from ngcg_cli.raster.footprint import Footprints, Georeference, metres_between
from ngcg_cli.raster.gdal import FAILURES, settings, telling
from ngcg_cli.raster.header import Fill, Header, doubts
from ngcg_cli.raster.opening import crs_of, open_dataset
from ngcg_cli.raster.sampling import lattice
from ngcg_cli.raster.tiles import TileSize, Window

# A window of more blocks is not looked through for whether it is empty.
EMPTY_BLOCKS = 4096

SAMPLE_SIDE = 1024  # of the sample for the stretch and the meaning of alpha
# A raster without overviews up to this size is sampled throughout; of a larger one, a lattice of
# windows is read.
SAMPLE_PIXELS = 4096 * 4096
# A palette's indices cannot be averaged: they are read up to this many times finer, then
# their colours are averaged.
PALETTE_OVERSAMPLING = 4

T = TypeVar("T")


@dataclass(frozen=True)
class _Plan:
    """How this raster's bands become RGB; the same for every window."""

    colours: tuple[int, ...]
    alpha: int | None
    table: NDArray[np.uint8] | None = None
    ranges: tuple[tuple[float, float], ...] | None = None


class Raster:
    """An open raster; use it from one thread at a time, and close it (it is a context manager).

    A raster that has ground control points only is read through GDAL's warper: its pixels, and the
    windows on it, are then those of the warped raster.

    Attributes:
        path: as given to `open`.
        width, height: pixels.
        gsd: ground sample distance in metres along a row and a column, at the centre.
        acquired: when the picture was taken, ISO 8601, or None.
    """

    def __init__(self, path: str, dataset: Any, georeference: Georeference) -> None:
        self.path = path
        self.width: int = dataset.width
        self.height: int = dataset.height
        self.gsd = georeference.gsd(self.width, self.height)
        self._dataset = dataset
        self._header = Header(path, dataset)
        self.acquired = self._header.acquired
        self._fill = Fill(self._header)
        # What the header asks may look into the parts of a mosaic, and keep quiet on what is amiss.
        self._spoiled = bool(dataset.driver == "VRT" or isinstance(dataset, WarpedVRT))
        self._georeference = georeference
        self._resources = ExitStack()

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """Open anything that GDAL opens: a file, a URL, a `/vsi` path, a connection string.

        Raises:
            RasterError: it cannot be opened, has no bands, or has no place on the Earth.
        """
        name = os.fspath(path)
        with ExitStack() as stack, telling(name, "cannot be opened"):
            raster = cls(name, *open_dataset(name, stack))
            raster._resources = stack.pop_all()
            return raster

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
        """Release the file; more than once does no harm."""
        with settings(self.path):
            self._resources.close()

    def complaints(self) -> list[str]:
        """What the user may want to know of the raster: other pages; fill that looks like data.

        Fill is counted in the windows that were read so far.
        """
        pages, fill = self._header.pages, self._fill.told()
        told = f"of its {pages} pages the first is read; name another as GTIFF_DIR:2:{self.path}"
        return ([told] if pages > 1 else []) + ([fill] if fill else [])

    def doubts(self, tile: TileSize) -> list[str]:
        """What speaks against tiles of this size, or against this imagery, before it is read."""
        return doubts(self._header, (self.width, self.height), self.gsd, tile)

    def grid(self, tile: TileSize, overlap: float = 0.0) -> Sequence[Window]:
        """The windows of `tile` size that cover the raster, row by row; see `tiles.Grid`.

        Of `auto`, those of coarser tiles follow; see `tiles.Pyramid`.

        Raises:
            UsageError: `overlap` is out of range.
            RasterError: a tile is smaller than a pixel, or there would be too many.
        """
        try:
            finest, coarser = tile.pixels(self.gsd), tile.coarser(self.gsd)
            return tiles.Pyramid(self.width, self.height, finest, coarser, overlap)
        except RasterError as error:
            raise RasterError(error.what, where=self.path, hint=error.hint) from None

    def footprints(self, windows: Sequence[Window] | NDArray) -> Footprints:
        """Where `windows` lie, in WGS 84; those off the Earth come out as not `placed`."""
        return self._georeference.footprints(windows)

    def metres_from(self, window: Window, lon: float, lat: float) -> float:
        """How far a window's centre is from a place on the ground; NaN where it is off the Earth.

        Raises:
            RasterError: the window reaches out of the raster.
        """
        self._check(window)
        centre = self._georeference.at(
            window.column + window.width / 2, window.row + window.height / 2
        )
        return metres_between(*centre, lon, lat)

    def empty(self, window: Window) -> bool:
        """Whether the file stores nothing for `window`, told without decoding anything.

        True only of a GeoTIFF all of whose blocks there are left out (a sparse file), also where no
        nodata value is declared: nobody has ever written these pixels. False means "read it".
        """
        if self._dataset.driver != "GTiff":
            return False
        block_height, block_width = self._dataset.block_shapes[0]
        columns = _blocks(window.column, window.width, block_width)
        rows = _blocks(window.row, window.height, block_height)
        if len(columns) * len(rows) > EMPTY_BLOCKS:
            return False
        with suppress(*FAILURES), settings(self.path), self._fresh() as dataset:
            return not any(
                dataset.get_tag_item(f"BLOCK_SIZE_{column}_{row}", "TIFF", bidx=band)
                for row in rows
                for column in columns
                for band in self._header.colours
            )
        return False  # reading tells what is wrong

    def read(self, window: Window, max_side: int | None = None) -> tuple[NDArray[np.uint8], float]:
        """A window as an RGB image, and the fraction of its pixels that hold data.

        uint8 bands pass unchanged. Others are stretched linearly between the 2nd and 98th
        percentile of each band over the whole raster. Masked pixels take the mean colour of the
        window's other pixels.

        Args:
            window: within the raster.
            max_side: where the window's longer side has more pixels, it is averaged down to this
                many, from overviews where there are some.

        Returns:
            (h, w, 3) and the fraction, 0 to 1.

        Raises:
            RasterError: the window reaches out of the raster, or a block of it is unreadable.
        """
        image, valid = self._image(window, max_side)
        return image, np.count_nonzero(valid) / valid.size

    def read_rgba(self, window: Window, max_side: int | None = None) -> NDArray[np.uint8]:
        """As `read`, (h, w, 4): pixels without data are transparent."""
        image, valid = self._image(window, max_side)
        opacity = Image.fromarray(valid).resize(image.shape[1::-1], Image.Resampling.NEAREST)
        return np.dstack([image, np.asarray(opacity, np.uint8) * np.uint8(255)])

    def on_map(self, bounds: tuple[float, ...], width: int, height: int) -> NDArray[np.uint8]:
        """The part of it that lies in a box of the web's map, north up; see `mercator.on_map`."""
        from ngcg_cli.raster.mercator import on_map

        return on_map(self, self._georeference, bounds, width, height)

    @property
    def coarsest(self) -> int:
        """How many of its pixels a pixel of its coarsest overview stands for, along a side."""
        return self._header.shrink

    def _image(self, window: Window, max_side: int | None) -> tuple[NDArray[np.uint8], bands.Mask]:
        """A window as (h, w, 3), and which pixels hold data; of a palette, at a finer grain."""
        self._check(window)
        shape = _shape(window, max_side)
        if self.empty(window):
            return np.full((*shape, 3), bands.NEUTRAL, np.uint8), np.zeros(shape, bool)
        with telling(self.path, f"the pixels of window {list(window)} cannot be read"):
            plan = self._plan
            if plan.table is not None:
                return self._palette_image(window, shape, plan, plan.table)
            values, valid = self._values(plan, window, shape, Resampling.average)
            self._fill.add(values)
            channels = values if plan.ranges is None else bands.stretch(values, plan.ranges)
            if self._header.inverted:
                channels = 255 - channels
            return bands.compose(channels, valid), valid

    def crop(self, window: Window, target: Path) -> None:
        """Write a window as a GeoTIFF of its own: all bands as they are stored, georeferenced.

        Raises:
            RasterError: as from `read`, or the file cannot be written.
        """
        self._check(window)
        with (
            telling(self.path, f"window {list(window)} cannot be copied to {target}"),
            self._fresh() as dataset,
        ):
            write_crop(dataset, window, target, crs_of(self.path, dataset))

    def _check(self, window: Window) -> None:
        column, row, width, height = window
        inside = column >= 0 and row >= 0 and width > 0 and height > 0
        if not inside or column + width > self.width or row + height > self.height:
            raise RasterError(
                f"window {tuple(window)} is not within its {self.width} x {self.height} pixels",
                where=self.path,
                hint="Windows are [column, row, width, height] in pixels.",
            )

    def _palette_image(
        self, window: Window, shape: tuple[int, int], plan: _Plan, table: NDArray[np.uint8]
    ) -> tuple[NDArray[np.uint8], bands.Mask]:
        height, width = shape
        fine = _shape(window, max(shape) * PALETTE_OVERSAMPLING)
        indices, valid = self._values(plan, window, fine, Resampling.nearest)
        channels, shown = bands.expand(indices[0], table)
        valid &= shown
        image = bands.compose(channels, valid)
        if fine != shape:
            finer = Image.fromarray(image)
            image = np.asarray(finer.resize((width, height), Image.Resampling.BOX))
        return image, valid

    @cached_property
    def _plan(self) -> _Plan:
        colours, alpha = self._header.colours, self._header.alpha
        if alpha is not None:
            opacity = self._sampled(partial(self._band, alpha))
            alpha = alpha if bands.is_opacity(np.concatenate(opacity, axis=None)) else None
        if self._header.tags[colours[0] - 1] == "palette":
            with self._fresh() as dataset:
                table = bands.palette_table(dataset.colormap(colours[0]))
            return _Plan(colours, alpha, table=table)
        plan = _Plan(colours, alpha)
        return plan if self._header.eight_bit else replace(plan, ranges=self._ranges(plan))

    def _ranges(self, plan: _Plan) -> tuple[tuple[float, float], ...]:
        """What becomes black and white in each colour band."""

        def held(window: Window, shape: tuple[int, int]) -> list[bands.Values]:
            values, valid = self._values(plan, window, shape, Resampling.nearest)
            return [
                band[valid & bands.holds_data(band[None], [missing])]
                for band, missing in zip(values, self._header.nodata, strict=True)
            ]

        parts = self._sampled(held)
        if not any(band.size for part in parts for band in part):
            # The lattice fell between the islands of data.
            whole = Window(0, 0, self.width, self.height)
            parts = [held(whole, _shape(whole, SAMPLE_SIDE))]
        return tuple(bands.value_range(np.concatenate(band)) for band in zip(*parts, strict=True))

    def _sampled(self, read: Callable[[Window, tuple[int, int]], T]) -> list[T]:
        """What `read(window, shape)` gives for a sample of the raster.

        The whole raster decimated, where that is cheap; else a lattice of windows, of which the
        unreadable ones are left out: one bad block does not make the others unreadable.
        """
        whole = Window(0, 0, self.width, self.height)
        if self.width * self.height <= SAMPLE_PIXELS * self._header.shrink**2:
            with suppress(*FAILURES):
                return [read(whole, _shape(whole, SAMPLE_SIDE))]
        parts, failure = [], None
        for window in lattice(self.width, self.height):
            try:
                parts.append(read(window, (window.height, window.width)))
            except FAILURES as error:
                failure = error
        if not parts and failure is not None:
            raise failure
        return parts

    def _values(
        self, plan: _Plan, window: Window, shape: tuple[int, int], resampling: Resampling
    ) -> tuple[bands.Values, bands.Mask]:
        """Colour bands (1 or 3, h, w) as they are stored, and which pixels hold data (h, w)."""
        if self._header.kind.startswith("complex"):
            resampling = Resampling.nearest  # GDAL does not average complex numbers.
        area, count = _area(window), len(plan.colours)
        # Pixel by pixel in memory, as `bands.compose` wants it: GDAL turns them at no cost.
        stored = np.empty((*shape, count), self._header.kind).transpose(2, 0, 1)
        with self._fresh() as dataset:
            if self._header.mixed:
                for band, out in zip(plan.colours, stored, strict=True):
                    dataset.read(band, window=area, out=out, resampling=resampling)
            else:
                dataset.read(list(plan.colours), window=area, out=stored, resampling=resampling)
        values = bands.magnitude(stored)
        valid = bands.holds_data(values, self._header.nodata)
        # Masks are picked, not averaged: the fraction stays true, and a pixel that is picked as
        # valid lies in the cell that the colours were averaged over.
        if plan.alpha is not None:
            valid &= self._band(plan.alpha, window, shape) > 0
        # A nodata value for all bands together (NODATA_VALUES) is a mask of the dataset.
        together = {MaskFlags.per_dataset, MaskFlags.nodata} <= self._header.flags
        if (
            together
            or not {MaskFlags.all_valid, MaskFlags.alpha, MaskFlags.nodata} & self._header.flags
        ):
            own = plan.colours[:1] if MaskFlags.per_dataset in self._header.flags else plan.colours
            with self._fresh() as dataset:
                masks = dataset.read_masks(list(own), window=area, out_shape=(len(own), *shape))
            valid &= (masks > 0).any(axis=0)
        return values, valid

    def _band(self, band: int, window: Window, shape: tuple[int, int]) -> bands.Values:
        with self._fresh() as dataset:
            return dataset.read(band, window=_area(window), out_shape=shape)

    @contextmanager
    def _fresh(self) -> Iterator[Any]:
        """The dataset, opened again after a failure.

        GDAL tells of a part that is missing, or a band that cannot be computed, at the first read.
        Every later one fails without a word, and rasterio passes the untouched pixels on.
        """
        if self._spoiled:
            self._resources.close()
            self._dataset, _ = open_dataset(self.path, self._resources)
            self._spoiled = False
        try:
            yield self._dataset
        except FAILURES:
            self._spoiled = True
            raise


def _blocks(start: int, size: int, block: int) -> range:
    """The numbers of the blocks along an axis that `size` pixels from `start` touch."""
    return range(start // block, (start + size - 1) // block + 1)


def _shape(window: Window, max_side: int | None) -> tuple[int, int]:
    """Height and width of the image of a window."""
    scale = min(1.0, (max_side or np.inf) / max(window.width, window.height))
    return max(1, round(window.height * scale)), max(1, round(window.width * scale))


def _area(window: Window) -> rasterio.windows.Window:
    return rasterio.windows.Window(*window)
