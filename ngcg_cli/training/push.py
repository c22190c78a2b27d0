"""`ngcg push`: a checkpoint to the hub, with a card."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ngcg_cli.encoder.hub import bars_for_terminals, check_complete, reason
from ngcg_cli.encoder.stamp import ADAPTER_CONFIG, POOLING, STAMP, read_stamp
from ngcg_cli.errors import ModelError, UsageError
from ngcg_cli.training.card import card, metrics_rows, without_paths

if TYPE_CHECKING:
    from huggingface_hub import HfApi

logger = logging.getLogger(__name__)

CARD = "README.md"
_METRICS = "metrics.jsonl"
_ADAPTER = "adapter_model.safetensors"
_MODEL = ("config.json", "tokenizer.json", "tokenizer_config.json", "preprocessor_config.json")
_WEIGHTS = ("model*.safetensors", "model.safetensors.index.json")
#: The confidence of its answers goes with a model.
_BESIDE = (POOLING, "confidence.safetensors")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
#: Git's rules for a branch, and somewhat stricter.
_BRANCH = re.compile(r"[A-Za-z0-9][\w./-]{0,99}", re.ASCII)


@dataclass(frozen=True)
class Parcel:
    """What would be sent: the files of a checkpoint by the name they get, as paths or as bytes."""

    folder: Path
    files: dict[str, Path | bytes]

    @property
    def bytes(self) -> int:
        """Of all files."""
        return sum(
            file.stat().st_size if isinstance(file, Path) else len(file)
            for file in self.files.values()
        )


@dataclass(frozen=True)
class Pushed:
    """What `push` left at the hub.

    Attributes:
        model: USER/NAME.
        revision: the commit; `--model {model}@{revision}` means this very checkpoint.
        url: the commit's page.
        files: the names of the files sent.
        bytes: of all of them.
    """

    model: str
    revision: str
    url: str
    files: list[str]
    bytes: int

    def as_json(self) -> dict[str, Any]:
        """The object that `ngcg push --json` prints."""
        return dict(vars(self))


def pack(checkpoint: Path, repo: str, licence: str | None = None) -> Parcel:
    """The files of a checkpoint that others need, and its card; nothing else in the folder.

    `ngcg.json` goes without the paths of this machine. A `README.md` that stands in the folder is
    the card; else one is written.

    Args:
        checkpoint: what `ngcg train` wrote, or the folder of a run, whose best is taken.
        repo: USER/NAME.
        licence: for the card.

    Raises:
        UsageError: `repo` is no USER/NAME.
        ModelError: no checkpoint, an incomplete one, or one whose base model only this machine has.
    """
    if not _HUB_ID.fullmatch(repo) or ".." in repo or "--" in repo:
        raise UsageError(f"{repo!r} is no USER/NAME", hint="Such as me/harbours.")
    if not checkpoint.is_dir():
        raise ModelError("no such folder", where=checkpoint)
    folder = _checkpoint_in(checkpoint)
    stamp = read_stamp(folder / STAMP)
    files: dict[str, Path | bytes] = {path.name: path for path in _model_files(folder, stamp)}
    told = without_paths(stamp)
    files[STAMP] = (json.dumps(told, indent=2, ensure_ascii=False) + "\n").encode()
    metrics = next(
        (path for path in (folder / _METRICS, folder.parent / _METRICS) if path.is_file()), None
    )
    if metrics is not None:
        files[_METRICS] = metrics
    rows = metrics_rows(metrics) if metrics is not None else []
    own = folder / CARD
    files[CARD] = own if own.is_file() else card(told, rows, repo, licence).encode()
    return Parcel(folder, files)


def _checkpoint_in(folder: Path) -> Path:
    """The folder itself, or a run's best checkpoint, else its last."""
    for inner in (folder, folder / "best", folder / "last"):
        if (inner / STAMP).is_file():
            return inner
    raise ModelError(
        f"no {STAMP}: it is no checkpoint that ngcg wrote",
        where=folder,
        hint="Name the folder that `ngcg train --out` was given.",
    )


def _model_files(folder: Path, stamp: dict[str, Any]) -> list[Path]:
    """An adapter's two files, or those of a whole model; and what goes with either."""
    if (folder / ADAPTER_CONFIG).is_file():
        _check_base(stamp, folder)
        due: tuple[str, ...] = (ADAPTER_CONFIG, _ADAPTER)
        wanted = [folder / name for name in due]
    else:
        check_complete(folder, None)
        due = _MODEL[:2]
        wanted = [folder / name for name in _MODEL]
        wanted += [path for name in _WEIGHTS for path in sorted(folder.glob(name))]
    for name in (*due, *((POOLING,) if stamp.get("pooling") == "query" else ())):
        if not (folder / name).is_file():
            raise ModelError(f"{name} is missing: half a checkpoint", where=folder)
    wanted += [folder / name for name in _BESIDE]
    return [path for path in wanted if path.is_file()]


def _check_base(stamp: dict[str, Any], folder: Path) -> None:
    base = stamp.get("base")
    name = base.get("name") if isinstance(base, dict) else None
    if not isinstance(name, str):
        raise ModelError("no base model is named", where=folder / STAMP)
    if Path(name).is_absolute():
        raise ModelError(
            f"its adapter stands on {name}, a folder that only this machine has",
            where=folder,
            hint="Train on a model of the hub, or with --tuning full; or upload that model first "
            "(hf upload) and train on it.",
        )


def push(
    parcel: Parcel,
    repo: str,
    *,
    private: bool = False,
    branch: str | None = None,
    message: str | None = None,
) -> Pushed:
    """Send a checkpoint to the hub, as one commit; the repository is made if it is not there.

    The files that another checkpoint has left there, and that would be read with this one, go.
    Who one is comes from huggingface_hub (`hf auth login`, HF_TOKEN).

    Args:
        parcel: see `pack`.
        repo: USER/NAME.
        private: when the repository is made, only its owner sees it.
        branch: where the commit goes; None for main.
        message: of the commit.

    Raises:
        ModelError: the hub cannot be reached, or does not let it happen.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    if branch is not None and not _BRANCH.fullmatch(branch):
        raise UsageError(f"--revision {branch!r} is no name of a branch")
    api = HfApi(library_name="ngcg")
    with _told(repo), bars_for_terminals():
        api.create_repo(repo, private=private or None, exist_ok=True)
        if branch is not None:
            api.create_branch(repo, branch=branch, exist_ok=True)
        stale = _stale(api, repo, branch, parcel)
        operations: list[CommitOperationAdd | CommitOperationDelete] = [
            CommitOperationAdd(name, file if isinstance(file, bytes) else str(file))
            for name, file in sorted(parcel.files.items())
        ]
        done = api.create_commit(
            repo,
            [*operations, *map(CommitOperationDelete, stale)],
            commit_message=message or "Checkpoint of ngcg",
            revision=branch,
        )
    return Pushed(repo, done.oid, str(done.commit_url), sorted(parcel.files), parcel.bytes)


def _stale(api: HfApi, repo: str, branch: str | None, parcel: Parcel) -> list[str]:
    """Files of a checkpoint at the hub that this one does not have."""
    names = (STAMP, ADAPTER_CONFIG, _ADAPTER, _METRICS, *_MODEL, *_BESIDE, *_WEIGHTS)
    there = api.list_repo_files(repo, revision=branch)
    ours = [name for name in there if any(fnmatchcase(name, one) for one in names)]
    return sorted(set(ours) - parcel.files.keys())


@contextmanager
def _told(repo: str) -> Iterator[None]:
    """What the hub refuses, in one line. The token is in no part of it."""
    try:
        yield
    except Exception as error:  # HTTP, network and library errors of many families
        cause = error
        while not hasattr(cause, "response") and cause.__cause__ is not None:
            cause = cause.__cause__  # type: ignore[assignment]
        status = getattr(getattr(cause, "response", None), "status_code", None)
        if status == 401:
            raise ModelError(
                "the hub does not know who you are",
                where=repo,
                hint="Say it with a token that may write: hf auth login",
            ) from None
        if status == 403:
            raise ModelError(
                "the hub does not let you write there",
                where=repo,
                hint="See whose name it is, and that your token may write: hf auth whoami",
            ) from None
        raise ModelError(
            f"could not be sent to the hub ({reason(cause)})",
            where=repo,
            hint="Nothing of it counts until all is there: give the same command again.",
        ) from None
