"""Satellite products that are a file for each band: which of their files is the picture.

Band by band they would be an index of grey near-duplicates. Sentinel-2 brings a true-colour image
(TCI) along; of Landsat, and of Sentinel-2 before December 2016, one has to be made of three files.
Names as ESA's product specification and the USGS's data format control books give them.
"""

from __future__ import annotations

import os
import re
import shlex
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from ngcg_cli.errors import RasterError
from ngcg_cli.raster import vrt

# Of Sentinel-2: T32TQM_20200101T101411_B04_10m.jp2, since 2016; and whatever lies in a granule, as
# S2A_OPER_MSI_L1C_TL_..._T32TQM_N02.01/IMG_DATA/..._B04.jp2 before, and masks.
_LAYERS = r"B\d[\dA]|TCI|AOT|WVP|SCL"
_TILE = re.compile(
    r"(.*?/)(?:R\d0m/)?((?:L2A_)?T\d\d[A-Z]{3}_\d{8}T\d{6})_"
    rf"(?:{_LAYERS}|PVI)(?:_\d0m)?\.(?:jp2|tiff?)",
    re.IGNORECASE,
)
_GRANULE = re.compile(
    rf"(.*/GRANULE/[^/]+)/(?:QI_DATA/.*|IMG_DATA/.*_(?:{_LAYERS})(?:_\d0m)?)\.(?:jp2|tiff?)",
    re.IGNORECASE,
)
_TRUE_COLOUR = re.compile(r".*_TCI(?:_\d0m)?\.(?:jp2|tiff?)", re.IGNORECASE)
# Of Landsat: LC08_L2SP_193024_20200101_20200823_02_T1_SR_B4.TIF. Other files that begin so are
# pictures that somebody has made of them.
_SCENE = re.compile(
    r"(.*/L([CEMOT])(\d\d)_(?:L[12]\w\w|CU|AK|HI)_\d{6}_\d{8}_\d{8}_\d\d(?:_(?:T[12]|RT))?)_"
    r"(?:(?:SR|ST|TA|BT|TOA)_)?(?:B(?:AND)?(?:1[01]|\d)(?:_VCID_\d)?|B?QA|AEROSOL|"
    r"(?:CLOUD|LINEAGE|PIXEL|RADSAT)_?QA|"
    r"QA_(?:PIXEL|RADSAT|AEROSOL)|ATMOS_OPACITY|ATRAN|CDIST|[DTU]RAD|EMIS|EMSD|[SV][AZ]A)"
    r"\.tiff?",
    re.IGNORECASE,
)
_BAND = re.compile(r"(.*_B(?:AND)?)(\d+)((?:_\d0m)?\.\w+)", re.IGNORECASE)


@dataclass
class Pictures:
    """What is indexed of the rasters that a search has found.

    Attributes:
        paths: the rasters, in order.
        failed: products of which no picture is there, by what their files' names begin with.
        beside: of products that have one, how many other files they have; by the same names.
    """

    paths: list[str]
    failed: dict[str, RasterError]
    beside: dict[str, int]


def pictures(paths: list[str]) -> Pictures:
    """Of each product among the rasters its true-colour image; all others as they are.

    A product without one fails, unless a VRT among the rasters is made of its bands. One file of a
    product alone is a raster like any other, as is each that the user names.

    Args:
        paths: as `find_rasters` gives them, sorted.
    """
    products: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        if product := _product_of(path):
            products[product].append(path)
    products = {name: files for name, files in products.items() if len(files) > 1}
    failed: dict[str, RasterError] = {}
    beside: dict[str, int] = {}
    taken = set(paths)
    joined: set[str] | None = None
    for name, files in products.items():
        taken.difference_update(files)
        colour = next(filter(_TRUE_COLOUR.fullmatch, files), None)
        if colour is not None:
            taken.add(colour)  # the finest, R10m, comes first
            beside[name] = len(files) - 1
            continue
        joined = _in_mosaics(paths) if joined is None else joined
        if joined.isdisjoint(files):
            failed[name] = _without_picture(name, files)
        else:
            beside[name] = len(files)
    return Pictures([path for path in paths if path in taken], failed, beside)


def is_true_colour(path: str) -> bool:
    """Whether a raster is the true-colour image of a Sentinel-2 product, by its name.

    In such an image 0 in every band means that there is no data, which the file does not declare.
    """
    path = path.partition("?")[0]  # a signed URL's signature
    return bool(_TRUE_COLOUR.fullmatch(path) and _product_of(os.path.abspath(path)))


def _product_of(path: str) -> str | None:
    """What the names of all files of a product begin with; None of a raster that is in none."""
    if scene := _SCENE.fullmatch(path):
        return scene[1]
    if granule := _GRANULE.fullmatch(path):
        return granule[1]
    tile = _TILE.fullmatch(path)
    return tile and tile[1] + tile[2]


def _in_mosaics(paths: Iterable[str]) -> set[str]:
    """The files of which the VRTs among the rasters are made."""
    found: set[str] = set()
    for path in paths:
        if path.lower().endswith(".vrt"):
            with suppress(RasterError):  # opening it tells
                found.update(map(os.path.normpath, vrt.plain_parts(path)))
    return found


def _without_picture(name: str, files: list[str]) -> RasterError:
    """What to do for a picture: join the three visible bands, where they are there."""
    for file in files:
        if (red := _BAND.fullmatch(file)) is None:
            continue
        head, _, tail = red.groups()
        numbers = _visible(file)
        if not numbers or not all(f"{head}{number}{tail}" in files for number in numbers):
            continue
        bands = f"{shlex.quote(head)}{{{','.join(numbers)}}}{shlex.quote(tail)}"
        target = shlex.quote(f"{head.rpartition('_')[0]}_RGB.vrt")
        # No full stop: the command is copied to the end of the line.
        hint = f"Join three, then index again: gdalbuildvrt -separate {target} {bands}"
        if name.startswith("/vsi"):
            hint = "Unpack it where it lies: its folder stands for it, and says how to join three."
        what = f"its {len(files)} files hold a band each, and none is a colour picture"
        return RasterError(what, where=name, hint=hint)
    return RasterError(
        f"its {len(files)} files hold a band each, red, green and blue not among them",
        where=name,
        hint="Name the file that is to be indexed.",
    )


def _visible(file: str) -> tuple[str, ...]:
    """The numbers of the red, green and blue band, as they are written in the name."""
    scene = _SCENE.fullmatch(file)
    if scene is None:
        return ("04", "03", "02")
    _, sensor, mission, *_ = scene.groups()
    if sensor.upper() == "M":  # MSS has no blue
        return ()
    return ("4", "3", "2") if mission in ("08", "09") else ("3", "2", "1")
