"""Evaluation: the protocols, over one ranking core."""
