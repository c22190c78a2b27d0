"""The names of the output formats; they are the choices of the command line too."""

from __future__ import annotations

from typing import Literal

HitFormat = Literal["table", "jsonl", "csv", "geojson"]
RowFormat = Literal["table", "jsonl", "csv"]
