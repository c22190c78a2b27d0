"""Data sets: every format becomes a list of `Pair`, images stay on disk until they are needed."""

from ngcg_cli.choices import DataFormat, ImageType
from ngcg_cli.datasets.formats import describe, detect_format, load_pairs
from ngcg_cli.datasets.images import (
    MAX_BROKEN_SHARE,
    ImageFailures,
    drop_missing,
    load_image,
    read_image,
)
from ngcg_cli.datasets.json_lines import has_images, load_places
from ngcg_cli.datasets.pairs import Pair, Place, data_fingerprint

__all__ = [
    "MAX_BROKEN_SHARE",
    "DataFormat",
    "ImageFailures",
    "ImageType",
    "Pair",
    "Place",
    "data_fingerprint",
    "describe",
    "detect_format",
    "drop_missing",
    "has_images",
    "load_image",
    "load_pairs",
    "load_places",
    "read_image",
]
