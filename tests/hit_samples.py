"""A hit for the tests of output, with digits to be rounded."""

from __future__ import annotations

from typing import Any

from ngcg_cli.search import Hit

SQUARE = [(10.0, 50.0), (10.0, 49.9), (10.1, 49.9), (10.1, 50.0), (10.0, 50.0)]


def hit(rank: int = 1, **changes: Any) -> Hit:
    values: dict[str, Any] = {
        "rank": rank,
        "score": 0.123456789,
        "lon": 10.123456789,
        "lat": -0.00000000001,
        "bbox": (10.0, 49.9, 10.1, 50.0),
        "source": "/data/a.tif",
        "window": (0, 224, 224, 100),
        "footprint": [[SQUARE]],
    }
    return Hit(**{**values, **changes})
