"""Find places by description: overhead imagery in, coordinates out."""

__version__ = "0.1.0"
