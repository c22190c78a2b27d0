"""Which models and servers an index may have used for it without being asked.

An index names its model and its rasters, and an index may come from anywhere. So a model that it
names is loaded unasked only if it is bundled, or if this user has used that very index with that
model before; and a server that it names is asked for pictures only if this user has put rasters of
that server into that very index. That is remembered outside of any index, in the user's state
folder: a small file for each index.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

from ngcg_cli.beside import beside
from ngcg_cli.errors import ModelError, NgcgError
from ngcg_cli.search.milvus.name import is_milvus, parse

logger = logging.getLogger(__name__)


def remember(index: str | Path, model: str) -> None:
    """Notes that this user has named `model` for the index at `index`.

    Where the home cannot be written, nothing is noted: `--model` must then be given every time.
    """
    if not _is_bundled(model):
        _note(index, "models", [model])


def remember_servers(index: str | Path, paths: Iterable[str]) -> None:
    """Notes the servers of rasters that this user has named for the index at `index`."""
    from ngcg_cli.raster.servers import servers

    _note(index, "servers", sorted({name for path in paths for name in servers(path)}))


def allow_servers(index: str | Path) -> None:
    """Lets pictures be fetched, in this process, from the servers noted for an index."""
    if known := _remembered(_file_of(index), "servers"):
        from ngcg_cli.raster.servers import allow

        allow(known)


def _note(index: str | Path, what: str, names: list[str]) -> None:
    path = _file_of(index)
    known = {each: _remembered(path, each) for each in ("models", "servers")}
    new = [name for name in names if name not in known[what]]
    if not new:
        return
    known[what] += new
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside(path) as fresh:
            fresh.touch(0o600)  # where a user's indexes lie is nobody else's business
            fresh.write_text(json.dumps({"index": _whole(index), **known}), "utf-8")
    except (OSError, NgcgError) as error:
        logger.debug("%s: cannot be written (%s): %s are not remembered", path, error, what)


def require(index: str | Path, model: str) -> None:
    """Refuses a model that an index names and that this user never named for it.

    Raises:
        ModelError: with what to type.
    """
    if _is_bundled(model):
        return
    # A name that is no whole path would mean another folder wherever one stands.
    if model in _remembered(_file_of(index), "models") and (
        os.path.isabs(model) or not os.path.isdir(model)
    ):
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
    if all(model in _remembered(_file_of(index), "models") for index in indexes):
        remember(merged, model)
    known = [_remembered(_file_of(index), "servers") for index in indexes]
    _note(merged, "servers", sorted({name for names in known for name in names}))


def _whole(index: str | Path) -> str:
    """The index's path, whichever way it was reached; other names as they are."""
    if is_milvus(index):
        return parse(index).whole
    return os.path.realpath(index) if os.path.isdir(index) else str(index)


def _file_of(index: str | Path) -> Path:
    import platformdirs

    name = hashlib.sha256(os.fsencode(_whole(index))).hexdigest()
    return platformdirs.user_state_path("ngcg", appauthor=False) / "indexes" / f"{name}.json"


def _remembered(path: Path, what: str) -> list[str]:
    try:
        return [str(name) for name in json.loads(path.read_text("utf-8")).get(what, [])]
    except (OSError, ValueError, TypeError, AttributeError):
        return []
