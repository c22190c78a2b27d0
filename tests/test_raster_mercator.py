"""Rasters on the web's map, against GDAL's own warper."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from raster_files import write
from rasterio.enums import Resampling
from rasterio.transform import from_bounds, from_origin
from rasterio.vrt import WarpedVRT

from ngcg_cli.errors import RasterError
from ngcg_cli.raster import Raster, Window, mercator

SIDE = 256


def smooth() -> np.ndarray:
    """Three bands that change slowly, so that half a pixel is a grey level or so."""
    y, x = np.mgrid[:400, :500]
    return np.stack([40 + x * 0.4, 30 + y * 0.45, 20 + (x + y) * 0.2]).astype(np.uint8)


CASES = {
    "utm": {"crs": "EPSG:32632", "transform": from_origin(612_000, 5_311_000, 0.5, 0.5)},
    "rotated": {
        "crs": "EPSG:32632",
        "transform": from_origin(612_000, 5_311_000, 2, 2) @ Affine.rotation(-30),
    },
    "degrees": {"crs": "EPSG:4326", "transform": from_origin(10, 48, 0.001, 0.001)},
    "south up": {"crs": "EPSG:32632", "transform": Affine(3, 0, 612_000, 0, 3, 5_310_000)},
    "polar": {"crs": "EPSG:3995", "transform": from_origin(1e6, -1e6, 500, 500)},
}


def bounds_of(raster: Raster) -> tuple[float, ...]:
    box = raster.footprints([Window(0, 0, raster.width, raster.height)]).bbox[0]
    return mercator.around(tuple(box.tolist()), 0.1)


@pytest.mark.parametrize("case", CASES)
def test_the_map_is_the_warpers(tmp_path: Path, case: str) -> None:
    path = write(tmp_path / "a.tif", smooth(), **CASES[case])
    with Raster.open(path) as raster:
        bounds = bounds_of(raster)
        ours = raster.on_map(bounds, SIDE, SIDE)
    with (
        rasterio.open(path) as dataset,
        WarpedVRT(
            dataset,
            crs="EPSG:3857",
            transform=from_bounds(*bounds, SIDE, SIDE),
            width=SIDE,
            height=SIDE,
            add_alpha=True,
            resampling=Resampling.average,
        ) as warped,
    ):
        theirs = np.moveaxis(warped.read(), 0, -1)
    both = (ours[..., 3] > 0) & (theirs[..., 3] > 0)
    assert both.mean() > 0.3
    assert (ours[..., 3] > 0).mean() == pytest.approx((theirs[..., 3] > 0).mean(), abs=0.02)
    apart = np.abs(ours[both][:, :3].astype(int) - theirs[both][:, :3])
    assert np.percentile(apart, 99) <= 4


def test_longitudes_from_0_to_360_are_the_same_places(tmp_path: Path) -> None:
    images = []
    for west in (350, -10):
        path = write(
            tmp_path / "a.tif",
            smooth(),
            crs="EPSG:4326",
            transform=from_origin(west, 9, 0.01, 0.01),
        )
        with Raster.open(path) as raster:
            images.append(raster.on_map(bounds_of(raster), SIDE, SIDE))
    assert (images[0] == images[1]).mean() > 0.999
    assert (images[0][..., 3] > 0).mean() > 0.5


def test_across_the_antimeridian(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", smooth(), crs="EPSG:32601", transform=from_origin(
        60_000, 60_000, 500, 500))  # fmt: skip
    with Raster.open(path) as raster:
        box = raster.footprints([Window(0, 0, 500, 400)]).bbox[0]
        assert box[0] > box[2]
        seen = raster.on_map(bounds_of(raster), SIDE, SIDE)[..., 3] > 0
    assert seen[SIDE // 2, 26:-26].all()


def test_a_mercator_map_across_the_antimeridian_is_seen_whole(tmp_path: Path) -> None:
    transform = from_origin(mercator.EDGE - 5e4, 1e6, 200, 200)
    path = write(tmp_path / "a.tif", smooth(), crs="EPSG:3857", transform=transform)
    with Raster.open(path) as raster:
        for shift in (0, -2 * mercator.EDGE):
            x, y = mercator.EDGE + shift, 1e6 - 4e4
            seen = raster.on_map((x - 2e4, y - 2e4, x + 2e4, y + 2e4), SIDE, SIDE)
            assert (seen[..., 3] == 255).all()


def test_nothing_is_seen_where_there_is_nothing(tmp_path: Path) -> None:
    pixels = smooth()
    pixels[:, :200] = 0
    path = write(tmp_path / "a.tif", pixels, nodata=0, **CASES["utm"])
    with Raster.open(path) as raster:
        left, bottom, right, top = bounds_of(raster)
        seen = raster.on_map((left, bottom, right, top), SIDE, SIDE)[..., 3] > 0
        away = raster.on_map((left + 1e7, bottom, right + 1e7, top), SIDE, SIDE)
    assert not seen[: SIDE * 2 // 5].any()
    assert seen[SIDE * 3 // 5, 40:-40].all()
    assert not away.any()


def test_a_large_raster_without_overviews_is_not_decoded_for_a_glance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mercator, "MAX_PIXELS", 60_000)
    path = write(tmp_path / "a.tif", smooth(), **CASES["utm"])
    with Raster.open(path) as raster:
        bounds = bounds_of(raster)
        with pytest.raises(RasterError, match="without overviews"):
            raster.on_map(bounds, 64, 64)
    with rasterio.open(path, "r+") as dataset:
        dataset.build_overviews([2, 4], Resampling.average)
    with Raster.open(path) as raster:
        assert raster.on_map(bounds, 64, 64)[32, 32, 3]


def test_map_and_degrees_there_and_back() -> None:
    assert mercator.project(180, 0) == pytest.approx((mercator.EDGE, 0))
    assert mercator.project(0, 90)[1] == pytest.approx(mercator.EDGE)
    assert mercator.unproject(*mercator.project(-73.5, 61.25)) == pytest.approx((-73.5, 61.25))
