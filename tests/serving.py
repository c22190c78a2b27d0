"""An index to serve and to write to, and a server that runs."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from samples import write_raster

from ngcg_cli.app import run
from ngcg_cli.search import TileIndex
from ngcg_cli.server.app import application
from ngcg_cli.server.desk import Desk
from ngcg_cli.server.running import _listening

HOST = "127.0.0.1"
HOSTILE_RASTER = "<img src=x onerror=alert(1)>.tif"


def copied(town: Path, folder: Path) -> Path:
    """A copy of the town's index in a folder of its own, to be written to."""
    shutil.copytree(town / "index", folder / "index")
    return folder / "index"


def desk_of(index: Path) -> Desk:
    return Desk(index, TileIndex.open(index).model.name, "cpu")


def add_hostile_raster(index: Path) -> None:
    """16 tiles of a raster whose name is markup."""
    path = index.parent / HOSTILE_RASTER
    write_raster(path, 5, west=583_000.0 + 40 * 128)
    model = TileIndex.open(index).model.name
    args = ["--index", index, "--model", model, "--tile", "32px", "--overlap", 0, "-q"]
    assert run(["index", *map(str, [path, *args])]) == 0


@contextmanager
def served(desk: Desk) -> Iterator[str]:
    """The address of a running server."""
    listener = _listening(HOST, 0)
    port = listener.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(application(desk, HOST), log_config=None, ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://{HOST}:{port}/"
    finally:
        server.should_exit = True
        thread.join(20)
