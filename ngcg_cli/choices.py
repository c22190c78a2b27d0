"""The words that options take, in one place: light, so that `--help` is quick."""

from __future__ import annotations

from typing import Literal

# What the gallery of `recall` and `geotext` holds, and what makes a tile right in `cvg-text`.
Gallery = Literal["unique", "rows"]
Match = Literal["position", "name"]
