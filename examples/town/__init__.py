"""A drawn town: overhead scenes with exact captions, as training tiles and as a GeoTIFF."""
