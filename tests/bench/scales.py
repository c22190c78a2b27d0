"""Recall of `--tile auto` against its finest tiles alone, also where things are larger.

    python tests/bench/scales.py REGION.tif REGION.jsonl OUT --times 1,2,4 [--side 2400]

REGION is a square of photographs side by side, each with captions at its centre. For each factor a
region of the same size, or of --side pixels, is put together from a corner of it, every photograph
over so many times the ground: what it shows is so many times larger. Each is indexed with `auto`,
and asked the captions of the photographs that it shows; then again without the coarser tiles, which
are left out of a copy of the index. Prints a JSON line for each.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import rasterio
import typer
from affine import Affine
from rasterio.enums import Resampling
from rasterio.warp import transform
from rasterio.windows import Window

from ngcg_cli.search import Block, TileIndex, TileTable

sys.path.insert(0, str(Path(__file__).parent))
from tile_sizes import run_ngcg


def main(
    region: Annotated[Path, typer.Argument()],
    captions: Annotated[Path, typer.Argument()],
    out: Annotated[Path, typer.Argument()],
    times: Annotated[str, typer.Option()] = "1,2,4",
    model: Annotated[str, typer.Option()] = "tiny",
    side: Annotated[int, typer.Option(help="Pixels of an enlarged region.")] = 4800,
) -> None:
    """Measure each factor with and without the coarser tiles."""
    out.mkdir(parents=True, exist_ok=True)
    for factor in map(int, times.split(",")):
        larger, asked = enlarged(region, captions, out, factor, side)
        index = out / f"index-{factor}"
        run_ngcg("index", str(larger), "--index", str(index), "--tile", "auto", "--model", model,
                 "--json", "-q")  # fmt: skip
        for kind, where in (("auto", index), ("finest", finest(index))):
            found = run_ngcg("eval", str(asked), "--protocol", "places", "--index", str(where),
                             "--json", "-q")  # fmt: skip
            tiles = TileIndex.open(where).tile_count
            print(json.dumps({"times": factor, "tiles": kind, "count": tiles, **found}), flush=True)


def enlarged(region: Path, captions: Path, out: Path, factor: int, side: int) -> tuple[Path, Path]:
    """A corner of the region over `factor` times the ground, at the region's pixel size."""
    larger, asked = out / f"region-{factor}.tif", out / f"region-{factor}.jsonl"
    if factor == 1:
        return region, captions
    with rasterio.open(region) as dataset:
        width = min(dataset.width, side) // factor
        height = min(dataset.height, side) // factor
        shape = (dataset.count, height * factor, width * factor)
        corner = Window(0, 0, width, height)
        pixels = dataset.read(window=corner, out_shape=shape, resampling=Resampling.bilinear)
        place, crs = dataset.transform, dataset.crs
    profile = {"count": shape[0], "height": shape[1], "width": shape[2], "dtype": "uint8"}
    if not larger.exists():
        with rasterio.open(
            larger, "w", driver="GTiff", crs=crs, transform=place, tiled=True, compress="deflate",
            **profile,
        ) as enlargement:  # fmt: skip
            enlargement.write(pixels)
    # About the corner, so that a place keeps its part of the picture.
    turn = place * Affine.scale(factor) * ~place
    rows: list[dict[str, Any]] = [json.loads(line) for line in captions.open()]
    xs, ys = transform("EPSG:4326", crs, [r["lon"] for r in rows], [r["lat"] for r in rows])
    kept = []
    for row, x, y in zip(rows, xs, ys, strict=True):
        column, line = ~place * (x, y)
        if column < width and line < height:
            (lon,), (lat,) = transform(crs, "EPSG:4326", *([value] for value in turn * (x, y)))
            kept.append(json.dumps({"captions": row["captions"], "lon": lon, "lat": lat}))
    asked.write_text("\n".join(kept) + "\n")
    return larger, asked


def finest(index: Path) -> Path:
    """A copy of an index with the smallest tiles of each source alone."""
    copy = index.with_name(f"{index.name}-finest")
    whole = TileIndex.open(index)
    if TileIndex.exists(copy):
        return copy
    blocks = list(whole.blocks())
    least = min(np.asarray(block.tiles.window)[:, 2].min() for block in blocks)
    thinned = TileIndex.create(copy, whole.model)
    for number, block in enumerate(blocks):
        rows = np.flatnonzero(np.asarray(block.tiles.window)[:, 2] == least)
        names = ("lon", "lat", "bbox", "window")
        columns = {name: getattr(block.tiles, name)[rows] for name in names}
        tiles = TileTable(**columns, geometry=[block.tiles.geometry[row] for row in rows])
        source = replace(block.source, segments=())
        thinned.commit([Block(source, tiles, np.asarray(block.vectors)[rows], fresh=number == 0)])
    return copy


if __name__ == "__main__":
    typer.run(main)
