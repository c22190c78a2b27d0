"""`ngcg.json`: what a checkpoint or an export says of itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

from ngcg_cli.choices import Pooling
from ngcg_cli.encoder.received import read_object
from ngcg_cli.errors import ModelError

FORMAT = 1
STAMP = "ngcg.json"
#: The learned query, where the pooling has one.
POOLING = "pooling.safetensors"
ADAPTER_CONFIG = "adapter_config.json"
POOLINGS: tuple[str, ...] = get_args(Pooling)


def read_stamp(path: Path) -> dict[str, Any]:
    """The stamp at `path`.

    Raises:
        ModelError: missing, damaged, or of another format.
    """
    stamp = read_object(path)
    if stamp.get("format") != FORMAT:
        raise ModelError(
            f"checkpoint format {stamp.get('format')!r}, this version reads {FORMAT}", where=path
        )
    if stamp.get("pooling", "eos") not in POOLINGS:
        raise ModelError(f"unknown pooling {str(stamp['pooling'])[:60]!r}", where=path)
    if not isinstance(stamp.get("settings", {}), dict):
        raise ModelError("settings is not a JSON object", where=path)
    return stamp
