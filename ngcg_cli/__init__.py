"""Find places by description: overhead imagery in, coordinates out.

    import ngcg_cli as ngcg

    ngcg.index("region.tif", "my-index")
    places = ngcg.open("my-index")
    for hit in places.query("a pond", top=5):
        print(hit)

`docs/api.md` tells all of it. Importing the package is light: torch, rasterio and the rest are
imported when a name that needs them is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ngcg_cli.api import Places, evaluate, open, to_geopandas, train
    from ngcg_cli.encoder.loading import open_encoder as load_encoder
    from ngcg_cli.errors import NgcgError
    from ngcg_cli.journeys.captioning import caption
    from ngcg_cli.journeys.indexing import IndexReport
    from ngcg_cli.journeys.indexing import index_sources as index
    from ngcg_cli.search.hits import Hit

__version__ = "0.1.0"

# The public names and where they live: what `docs/api.md` tells, and nothing else.
_HOMES = {
    "index": ("ngcg_cli.journeys.indexing", "index_sources"),
    "open": ("ngcg_cli.api", "open"),
    "to_geopandas": ("ngcg_cli.api", "to_geopandas"),
    "load_encoder": ("ngcg_cli.encoder.loading", "open_encoder"),
    "caption": ("ngcg_cli.journeys.captioning", "caption"),
    "train": ("ngcg_cli.api", "train"),
    "evaluate": ("ngcg_cli.api", "evaluate"),
    "Places": ("ngcg_cli.api", "Places"),
    "Hit": ("ngcg_cli.search.hits", "Hit"),
    "IndexReport": ("ngcg_cli.journeys.indexing", "IndexReport"),
    "NgcgError": ("ngcg_cli.errors", "NgcgError"),
}

__all__ = [
    "Hit",
    "IndexReport",
    "NgcgError",
    "Places",
    "__version__",
    "caption",
    "evaluate",
    "index",
    "load_encoder",
    "open",
    "to_geopandas",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, own_name = _HOMES[name]
    return getattr(import_module(module), own_name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
