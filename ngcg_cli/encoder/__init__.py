"""THE one encoder: texts or pixels in, unit vectors out, the same weights for both sides."""
