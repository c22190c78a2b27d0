"""A model folder from the hub or its local cache, and whether all of it is there."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
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
#: What git takes for the name of a branch, a tag or a commit, without its rarer signs.
_REVISION = re.compile(r"[A-Za-z0-9][\w./-]{0,99}", re.ASCII)

#: A whole commit, which the hub's cache keeps as a folder of that name.
_COMMIT = re.compile(r"[0-9a-f]{40}")


def split_revision(model: str) -> tuple[str, str | None]:
    """`USER/NAME@REVISION` to the name and the revision; of a folder there is none.

    Raises:
        ModelError: what follows the @ is no revision.
    """
    name, at, revision = model.rpartition("@")
    if not at or not name or os.path.isabs(name) or os.path.isdir(os.path.expanduser(model)):
        return model, None
    if not _REVISION.fullmatch(revision):
        raise ModelError(
            f"{revision!r} is no revision", where=model, hint="A branch, a tag or a commit is due."
        )
    return name, revision


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
    from huggingface_hub.errors import (
        GatedRepoError,
        IncompleteSnapshotError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    where = f"{hub_id} at revision {revision}"
    lead = "" if named else "no such directory, and "
    fetch = f"hf download {shlex.quote(hub_id)} --revision {revision}"
    silence = None if offline else _silence(hub_id, revision)
    try:
        # Weights as safetensors only: nothing is ever unpickled.
        patterns = ["*.json", "*.jinja", "*.safetensors"]
        with bars_for_terminals():
            folder = snapshot_download(
                hub_id,
                revision=revision,
                allow_patterns=patterns,
                local_files_only=offline or silence is not None,
            )
        return Path(folder)
    except GatedRepoError as error:
        raise ModelError(
            "the hub gives it only to those who have accepted its terms",
            where=where,
            hint=f"Accept them at huggingface.co/{hub_id}, then: hf auth login",
        ) from error
    except RevisionNotFoundError as error:
        raise ModelError(
            "the hub has no such revision of it",
            where=where,
            hint=f"Take the newest with --model {shlex.quote(hub_id)}",
        ) from error
    except RepositoryNotFoundError as error:
        raise ModelError(
            f"{lead}the hub has none of that name that you may see",
            where=where,
            hint="See how it is spelled; if it is private: hf auth login",
        ) from error
    except IncompleteSnapshotError as error:
        raise ModelError(
            "its copy in the cache is not whole, and the hub cannot be reached",
            where=where,
            hint=f"With a network: {fetch}",
        ) from error
    except Exception as error:  # a family of HTTP, cache and file errors; all mean the same here
        if offline:
            raise ModelError(
                "its base model is not in the cache, and the hub is asked only for what you name",
                where=where,
                hint=f"If you trust it: {fetch}",
            ) from error
        raise ModelError(
            f"{lead}the hub has no answer ({reason(silence or error)})",
            where=where,
            hint=_OFFLINE,
        ) from error


def _silence(hub_id: str, revision: str) -> Exception | None:
    """Why the hub cannot be reached, where its list of a commit's files would be asked for.

    A cache that an older huggingface_hub filled has no such list. Without a network
    `snapshot_download` asks for it six times, in 23 seconds and eleven lines of its own, before it
    takes what is there; this asks once.
    """
    from huggingface_hub import HfApi, get_cached_repo_tree
    from huggingface_hub.errors import HfHubHTTPError

    if not _COMMIT.fullmatch(revision):
        return None  # snapshot_download asks once what commit it is
    try:
        get_cached_repo_tree(hub_id, revision=revision)
        return None
    except Exception:  # not there, or not to be read; the hub is asked
        pass
    try:
        HfApi().model_info(hub_id, revision=revision)
    except HfHubHTTPError:
        pass  # an answer, of which snapshot_download will tell
    except Exception as error:  # a family of errors of the network
        return error
    return None


@contextmanager
def bars_for_terminals() -> Iterator[None]:
    """huggingface_hub draws its bars only where stderr is a terminal."""
    from huggingface_hub.utils.tqdm import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    if sys.stderr.isatty() or are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


def reason(error: BaseException) -> str:
    """Why the hub could not do it, in a few words, without what the request carried."""
    line = next(iter(str(error).splitlines()), "") or type(error).__name__
    status = getattr(getattr(error, "response", None), "status_code", None)
    line = f"HTTP {status}" if status else re.sub(r"hf_\w+", "hf_...", line)
    return line[:200].rstrip(".")


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
