"""A model folder from the hub or its local cache, and whether all of it is there."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from ngcg_cli.encoder.received import read_object
from ngcg_cli.errors import ModelError

_OFFLINE = (
    "Weights come from the hub or its local cache (HF_HOME): connect once, or point HF_HOME at a "
    "cache that has them, or use the bundled `--model tiny`."
)
_INDEX = "model.safetensors.index.json"
#: Weights that are unpickled to be read, which runs what they hold.
_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


def fetch_snapshot(hub_id: str, revision: str, *, named: bool, offline: bool = False) -> Path:
    """The folder of a model at a revision, fetched or taken from the cache.

    Args:
        hub_id: like org/model.
        revision: a commit, branch or tag.
        named: it is one of the named backbones, so that no folder can be meant.
        offline: only the cache is asked.

    Raises:
        ModelError: the hub cannot be reached, does not have it, or wants to know who asks.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError

    where = f"{hub_id} at revision {revision}"
    try:
        # Weights as safetensors only: nothing is ever unpickled.
        patterns = ["*.json", "*.safetensors"]
        return Path(
            snapshot_download(
                hub_id, revision=revision, allow_patterns=patterns, local_files_only=offline
            )
        )
    except GatedRepoError as error:
        raise ModelError(
            "the hub gives it only to those who have accepted its terms",
            where=where,
            hint=f"Accept them at huggingface.co/{hub_id}, then: hf auth login",
        ) from error
    except Exception as error:  # a family of HTTP, cache and file errors; all mean the same here
        if offline:
            raise ModelError(
                "its base model is not in the cache, and the hub is asked only for what you name",
                where=where,
                hint=f"If you trust it: hf download {shlex.quote(hub_id)} --revision {revision}",
            ) from error
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        lead = "" if named else "no such directory, and "
        raise ModelError(
            f"{lead}the hub has no answer ({reason.rstrip('.')})", where=where, hint=_OFFLINE
        ) from error


def check_complete(folder: Path, hub_id: str | None) -> None:
    """See that the weights of a model folder are there, all of them, as safetensors.

    Raises:
        ModelError: none, only pickled ones, or fewer than its list of shards names.
    """
    index = folder / _INDEX
    there = {path.name for path in folder.glob("model*.safetensors")}
    due = {"model.safetensors"}
    if index.is_file():
        shards = read_object(index).get("weight_map")
        names: list[Any] = list(shards.values()) if isinstance(shards, dict) else [None]
        if not all(isinstance(name, str) for name in names):
            raise ModelError("weight_map does not name files", where=index)
        due = set(names)
    missing = sorted(due - there) if index.is_file() or not there else []
    if not missing:
        return
    again = f"Fetch it again: hf download {hub_id}" if hub_id else "Copy the whole folder again."
    if there or index.is_file():
        raise ModelError(
            f"{len(missing)} of {len(due)} weight files are missing ({missing[0]})",
            where=folder,
            hint=again,
        )
    pickled = sorted(path.name for pattern in _PICKLED for path in folder.glob(pattern))
    if pickled:
        raise ModelError(
            f"no *.safetensors weights, and pickled ones ({pickled[0]}) are never opened",
            where=folder,
            hint="Convert them to safetensors, or take a revision that has them.",
        )
    raise ModelError("no *.safetensors weights", where=folder, hint=again if hub_id else None)
