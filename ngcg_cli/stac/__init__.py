"""STAC as a source of rasters: items, collections, catalogs, and tables of items."""

from ngcg_cli.stac.reading import Failure, Picked, rasters_of

__all__ = ["Failure", "Picked", "rasters_of"]
