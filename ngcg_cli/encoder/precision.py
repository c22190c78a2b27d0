"""The numbers a model computes with: a setting, never a measurement.

The same command must give the same vectors on every machine, so nothing here asks how fast this one
is. What each precision costs and gives is in `docs/performance.md`.
"""

from __future__ import annotations

from typing import Literal

#: What vectors can have been computed in.
Precision = Literal["float32", "bfloat16", "int8"]
#: What a user may ask for.
PrecisionChoice = Literal["auto", "float32", "bfloat16", "int8"]


def settle(choice: PrecisionChoice, device_type: str) -> Precision:
    """What `auto` stands for: bfloat16 on CUDA (as the paper), float32 everywhere else.

    Args:
        choice: as the user gave it.
        device_type: `cpu`, `cuda` or `mps`.
    """
    if choice != "auto":
        return choice
    return "bfloat16" if device_type == "cuda" else "float32"
