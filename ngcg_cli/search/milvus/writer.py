"""The one who writes: a row that says so, renewed while the work goes on.

Milvus knows no locks. So a writer puts its name into one row, and looks whether it is still there
before it commits. A name that is not renewed is that of a writer that died.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from ngcg_cli.errors import TileIndexError
from ngcg_cli.search.lock import holder_text, me
from ngcg_cli.search.milvus.catalogue import WRITER, writer_row
from ngcg_cli.search.milvus.engine import Engine

logger = logging.getLogger(__name__)

# Seconds between two renewals, and without one after which a writer is taken for dead.
BEAT = 10.0
_DEAD = 45.0
# Seconds in which another that looked at the same time has written its name too.
_SETTLE = 0.5
# The tokens of this process, which each begin alike.
_PROCESS = uuid.uuid4().hex
_mine: set[str] = set()


@contextlib.contextmanager
def writers_place(engine: Engine, wait: bool) -> Iterator[Callable[[], None]]:
    """Hold the only writer's place.

    Yields:
        A check to be called before a commit. It raises TileIndexError once the place is lost.

    Raises:
        TileIndexError: another one writes, who is named.
    """
    token = f"{_PROCESS}:{uuid.uuid4().hex}"
    told = False
    while (holder := _take(engine, token)) is not None:
        busy = f"is being written by {holder_text(holder)}"
        if not wait:
            raise TileIndexError(
                busy,
                where=engine.place.name,
                hint="Wait until it is done, or give --wait; queries work meanwhile.",
            )
        if not told:
            logger.warning("%s: %s; waiting for it", engine.place.name, busy)
            told = True
        time.sleep(1)
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(BEAT):
            with contextlib.suppress(TileIndexError):
                if (_read(engine) or {}).get("token") == token:
                    _write(engine, token)

    def check() -> None:
        if (_read(engine) or {}).get("token") != token:
            raise TileIndexError(
                "was taken over by another writer, as this one had been silent for long",
                where=engine.place.name,
                hint="Stopped before it could harm it; give the same command again.",
            )

    # The embedded engine lets no other process in.
    beating = None if engine.embedded else threading.Thread(target=beat, daemon=True)
    try:
        if beating:
            beating.start()
        yield check
    finally:
        stop.set()
        if beating:
            beating.join()
        _mine.discard(token)
        with contextlib.suppress(TileIndexError):
            if (_read(engine) or {}).get("token") == token:
                engine.delete(engine.place.records, f'key == "{WRITER}"')


def _take(engine: Engine, token: str) -> dict[str, Any] | None:
    """Become the writer; returns who is it, if that is another one."""
    holder = _read(engine)
    if holder and not _is_dead(engine, holder):
        return holder
    _mine.add(token)
    _write(engine, token)
    if not engine.embedded:
        time.sleep(_SETTLE)
    holder = _read(engine)
    if holder and holder.get("token") == token:
        return None
    _mine.discard(token)
    return holder or {}


def _is_dead(engine: Engine, holder: dict[str, Any]) -> bool:
    token = str(holder.get("token"))
    if token in _mine:
        return False
    if engine.embedded or token.startswith(_PROCESS):
        return True
    if holder.get("host") == socket.gethostname() and os.name == "posix":
        try:
            os.kill(int(holder["pid"]), 0)
        except (ProcessLookupError, OverflowError):
            return True
        except (PermissionError, ValueError, KeyError, TypeError):
            pass
    try:
        silent = time.time() - float(holder["beat"])
    except (KeyError, TypeError, ValueError):
        return True
    if 0 <= silent < _DEAD:
        return False
    # Its clock may be another than ours.
    time.sleep(2 * BEAT)
    again = _read(engine)
    return again is None or again.get("beat") == holder["beat"]


def _read(engine: Engine) -> dict[str, Any] | None:
    rows = engine.query(engine.place.records, f'key == "{WRITER}"', ["record"])
    try:
        told = json.loads(rows[0]["record"]) if rows else None
        return told if isinstance(told, dict) else None
    except ValueError:
        return None


def _write(engine: Engine, token: str) -> None:
    row = writer_row({**me(), "token": token, "beat": time.time()})
    engine.upsert(engine.place.records, [row])
