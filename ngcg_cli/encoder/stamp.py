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


def stands_for(stamp: dict[str, Any], digest: str) -> str:
    """The digest of the weights whose vectors a folder's are.

    Those of an export are the vectors of the model that it was made of, in either engine.

    Args:
        stamp: the folder's.
        digest: of the weights in the folder.
    """
    facts = stamp.get("export")
    if not isinstance(facts, dict) or facts.get("weights") != digest:
        return digest  # no export, or one of other weights
    return str(facts.get("stands_for", digest))
