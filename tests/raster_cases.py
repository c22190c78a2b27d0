"""Rasters of many kinds to be damaged, and ways to damage them."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import rasterio
from rasterio.control import GroundControlPoint
from rasterio.enums import ColorInterp, Resampling
from rasterio.errors import RasterioError
from rasterio.rpc import RPC
from rasterio.transform import from_origin

WIDTH, HEIGHT = 96, 80
TILED = {"tiled": True, "blockxsize": 32, "blockysize": 32}
# Name, creation options and what of the raster differs from three bands of uint8.
KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "tiled": TILED,
    "strips": {"blockysize": 1},
    "planar": {**TILED, "interleave": "band"},
    "deflate": {"compress": "deflate"},
    "deflate-predictor": {"compress": "deflate", "predictor": 2, "dtype": "uint16", **TILED},
    "lzw": {"compress": "lzw", **TILED},
    "lzw-float": {"compress": "lzw", "predictor": 3, "dtype": "float32", "count": 1},
    "jpeg": {"compress": "jpeg", "photometric": "ycbcr", **TILED},
    "zstd": {"compress": "zstd", **TILED},
    "lzma": {"compress": "lzma"},
    "packbits": {"compress": "packbits"},
    "lerc": {"compress": "lerc", "dtype": "float32", "count": 1},
    "webp": {"compress": "webp", **TILED},
    "fax": {"compress": "ccittfax4", "nbits": 1, "count": 1},
    "big": {"bigtiff": "yes", "compress": "deflate", **TILED},
    "big-endian": {"endianness": "big", "dtype": "int16", "count": 1, "nodata": -1},
    "masked": {"compress": "deflate", "mask": True, **TILED},
    "external-mask": {"mask": True, "internal_mask": False},
    "palette": {"count": 1, "palette": True},
    "alpha": {"count": 4, "alpha": "yes", "photometric": "rgb"},
    "overviews": {"overviews": [2, 4], "compress": "deflate", **TILED},
    "complex": {"dtype": "complex64", "count": 1},
    "sparse": {"sparse_ok": True, "part": True, **TILED},
    "points": {"points": True},
    "rpc": {"rpc": True},
}


def generate(folder: Path) -> list[Path]:
    """A GeoTIFF of each of `KINDS` whose codec is there."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, kind in KINDS.items():
        path = folder / f"{name}.tif"
        try:
            write_kind(path, dict(kind))
        except RasterioError:
            path.unlink(missing_ok=True)  # GDAL was built without this codec
        else:
            paths.append(path)
    return paths


def write_kind(path: Path, kind: dict[str, Any]) -> Path:
    """A raster of random blocks, 30 m pixels in UTM 18N."""
    mask, palette, part = (kind.pop(name, False) for name in ("mask", "palette", "part"))
    internal, overviews = kind.pop("internal_mask", True), kind.pop("overviews", [])
    place: dict[str, Any] = {"crs": "EPSG:32618", "transform": from_origin(5e5, 4.65e6, 30, 30)}
    if kind.pop("points", False):
        place = {"gcps": corner_points(), "crs": "EPSG:4326"}
    if kind.pop("rpc", False):
        place = {"rpcs": plain_rpc()}
    profile = {"count": 3, "dtype": "uint8", **place, **kind}
    shape = (profile["count"], HEIGHT // 8, WIDTH // 8)
    coarse = np.random.default_rng(7).integers(1, 250, shape)
    pixels = np.kron(coarse, np.ones((1, 8, 8), int)).astype(profile["dtype"])
    if profile.get("nbits") == 1:
        pixels &= 1
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=internal),
        rasterio.open(path, "w", driver="GTiff", width=WIDTH, height=HEIGHT, **profile) as out,
    ):
        if palette:
            out.colorinterp = [ColorInterp.palette]
            out.write_colormap(1, {index: (index, 255 - index, 7, 255) for index in range(256)})
        if part:
            out.write(pixels[:, :32, :32], window=rasterio.windows.Window(32, 32, 32, 32))
        else:
            out.write(pixels)
        if mask:
            out.write_mask(np.tri(HEIGHT, WIDTH, dtype=bool))
        if overviews:
            out.build_overviews(overviews, Resampling.average)
    return path


def corner_points() -> list[GroundControlPoint]:
    """One at each corner of a raster of `WIDTH` x `HEIGHT`, 0.001 degrees a pixel."""
    return [
        GroundControlPoint(row, column, -75 + column / 1000, 42 - row / 1000, 0)
        for row in (0, HEIGHT)
        for column in (0, WIDTH)
    ]


def plain_rpc(**changes: Any) -> RPC:
    """RPCs that are linear in longitude and latitude, round 75 W 42 N."""
    sample, line, one = [0.0] * 20, [0.0] * 20, [0.0] * 20
    sample[1], line[2], one[0] = 1.0, -1.0, 1.0  # the 2nd is longitude, the 3rd latitude
    values = {
        "height_off": 120.0, "height_scale": 500.0,
        "lat_off": 42.0, "lat_scale": 0.05, "long_off": -75.0, "long_scale": 0.1,
        "line_off": HEIGHT / 2, "line_scale": HEIGHT / 2,
        "samp_off": WIDTH / 2, "samp_scale": WIDTH / 2,
        "line_den_coeff": one, "line_num_coeff": line,
        "samp_den_coeff": one, "samp_num_coeff": sample,
    }  # fmt: skip
    return RPC(**{**values, **changes})


class Entry(NamedTuple):
    """A tag of a TIFF directory: where its type, its count and its value stand in the file."""

    tag: int
    at: int
    data: int
    order: str
    wide: bool


# Bytes of a value of each TIFF type.
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 16: 8, 17: 8}


def entries(data: bytes) -> Iterator[Entry]:
    """The tags of all directories of a TIFF, classic or Big, that can be made out."""
    order = {b"II": "<", b"MM": ">"}.get(bytes(data[:2]))
    if order is None:
        return
    wide = data[2:4] in (b"+\0", b"\0+")
    size, number, pointer = (20, "Q", "Q") if wide else (12, "H", "I")
    seen: set[int] = set()
    try:
        at = struct.unpack_from(order + pointer, data, 8 if wide else 4)[0]
        while at and at not in seen and len(seen) < 16:
            seen.add(at)
            count = struct.unpack_from(order + number, data, at)[0]
            at += struct.calcsize(number)
            for _ in range(min(count, 100)):
                tag, kind, values = struct.unpack_from(f"{order}HH{pointer}", data, at)
                value = at + size - struct.calcsize(pointer)
                if values * _SIZES.get(kind, 1) > struct.calcsize(pointer):
                    value = struct.unpack_from(order + pointer, data, value)[0]
                yield Entry(tag, at, value, order, wide)
                at += size
            at = struct.unpack_from(order + pointer, data, at)[0]
    except struct.error:
        return


_INTEGERS = (0, 1, 2, 3, 5, 7, 8, 16, 32, 255, 256, 32_768, 50_000, 65_535, 2**20, 2**31 - 1)
_WIDE = (2**31, 2**32 - 1, 2**40, 2**62, 2**63, 2**64 - 1)
_FLOATS = (0.0, -0.0, 1e300, -1e300, 5e-324, 1e-30, float("nan"), float("inf"), 4e7, 89.0)


def damage_tag(data: bytearray, chance: random.Random) -> bool:
    """Gives one tag of a TIFF another type, count or value; whether there was one."""
    found = list(entries(data))
    if not found:
        return False
    entry = chance.choice(found)
    if chance.random() < 0.25:
        at, form = chance.choice(((entry.at + 2, "H"), (entry.at + 4, "Q" if entry.wide else "I")))
    else:
        kind = struct.unpack_from(entry.order + "H", data, entry.at + 2)[0]
        form = {3: "H", 4: "I", 11: "f", 12: "d", 16: "Q"}.get(kind, "B")
        at = entry.data + chance.choice((0, 0, 1, 2, 3, 5)) * struct.calcsize(form)
    if form in "fd":
        value: float = chance.choice(_FLOATS[4:] if form == "f" else _FLOATS)
    else:
        bits = 8 * struct.calcsize(form)
        value = chance.choice((*_INTEGERS, *_WIDE)) % 2**bits
    if at + struct.calcsize(form) > len(data):
        return False
    struct.pack_into(entry.order + form, data, at, value)
    return True


def damage(data: bytearray, chance: random.Random) -> None:
    """Cuts the end off, changes tags, or flips bytes, in place."""
    if not data:
        return
    kind = chance.random()
    if kind < 0.12:
        del data[chance.randrange(len(data)) :]
        return
    if kind < 0.6 and damage_tag(data, chance):
        for _ in range(chance.choice((0, 0, 0, 1, 3))):
            damage_tag(data, chance)
        return
    reach = len(data) if chance.random() < 0.4 else min(len(data), 1024)
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        at = chance.randrange(reach)
        data[at] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, data[at] ^ (1 << chance.randrange(8))))


def spoil_block(path: str | Path, column: int, row: int) -> None:
    """Overwrite the start of a block of a compressed GeoTIFF, so that it cannot be decoded."""
    with rasterio.open(path) as dataset:
        offset = int(dataset.get_tag_item(f"BLOCK_OFFSET_{column}_{row}", "TIFF", bidx=1))
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(b"\xff" * 64)
