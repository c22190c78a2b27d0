"""Which models an index may have loaded for it without being asked.

An index names its model, and an index may come from anywhere. So what it names is loaded unasked
only if it is bundled, or if this user has used that very index with that model before. That is
remembered outside of any index, in the user's state folder: a small file for each index.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shlex
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ngcg_cli.errors import ModelError
from ngcg_cli.search.milvus.name import is_milvus, parse

logger = logging.getLogger(__name__)


def remember(index: str | Path, model: str) -> None:
    """Notes that this user has named `model` for the index at `index`.

    Where the home cannot be written, nothing is noted: `--model` must then be given every time.
    """
    place = _place(index)
    if _is_bundled(model) or model in _remembered(place):
        return
    known = {"index": _whole(index), "models": [*_remembered(place), model]}
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=place.parent, delete=False) as beside:
            json.dump(known, beside)
        os.replace(beside.name, place)
    except OSError as error:
        logger.debug("%s: cannot be written (%s): the model is not remembered", place, error)


def require(index: str | Path, model: str) -> None:
    """Refuses a model that an index names and that this user never named for it.

    Raises:
        ModelError: with what to type.
    """
    if _is_bundled(model):
        return
    # A name that is no whole path would mean another folder wherever one stands.
    if model in _remembered(_place(index)) and (os.path.isabs(model) or not os.path.isdir(model)):
        return
    raise ModelError(
        f"names the model {model!r}, which is loaded only when you say so",
        where=index,
        hint=f"If you trust it: --model {shlex.quote(model)}",
    )


def _is_bundled(model: str) -> bool:
    from ngcg_cli.encoder.backbones import BACKBONES

    return model in BACKBONES and BACKBONES[model].bundled is not None


def pass_on(indexes: Sequence[str | Path], merged: str | Path, model: str) -> None:
    """A merged index is as well known as those it was made from."""
    if all(model in _remembered(_place(index)) for index in indexes):
        remember(merged, model)


def _whole(index: str | Path) -> str:
    """The index's path, whichever way it was reached; other names as they are."""
    if is_milvus(index):
        return parse(index).whole
    return os.path.realpath(index) if os.path.isdir(index) else str(index)


def _place(index: str | Path) -> Path:
    import platformdirs

    name = hashlib.sha256(os.fsencode(_whole(index))).hexdigest()
    return platformdirs.user_state_path("ngcg", appauthor=False) / "indexes" / f"{name}.json"


def _remembered(place: Path) -> list[str]:
    try:
        known: Any = json.loads(place.read_text("utf-8"))
        return [str(model) for model in known["models"]]
    except (OSError, ValueError, TypeError, KeyError):
        return []
