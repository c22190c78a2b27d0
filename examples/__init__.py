"""Worked examples beside the package."""
