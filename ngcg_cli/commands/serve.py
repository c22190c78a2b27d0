"""`ngcg serve`: the page of hits, alive, for one's own browser."""

from __future__ import annotations

import logging
from importlib.util import find_spec
from typing import Annotated

import typer

from ngcg_cli.commands.options import (
    DEFAULT_INDEX,
    DeviceOption,
    IndexModelOption,
    IndexOption,
    IndexPrecisionOption,
)
from ngcg_cli.errors import NgcgError

logger = logging.getLogger(__name__)


def serve(
    host: Annotated[
        str,
        typer.Option(
            "--host",
            metavar="ADDRESS",
            help="What to listen on. Anything but loopback lets others ask: there is no password.",
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option(
            "--port", metavar="N", min=0, max=65535, help="Port to listen on; 0: a free one."
        ),
    ] = 8765,
    open_browser: Annotated[
        bool, typer.Option("--open", help="Open the page in your browser.")
    ] = False,
    fetch: Annotated[
        bool,
        typer.Option(
            "--fetch", help="For imagery, also read rasters on servers that only the index names."
        ),
    ] = False,
    index: IndexOption = DEFAULT_INDEX,
    model: IndexModelOption = None,
    device: DeviceOption = "auto",
    precision: IndexPrecisionOption = "auto",
) -> None:
    """Ask an index in a browser: a map with the imagery, hits and scores, and a JSON API.

    What an index run commits meanwhile is seen at the next question. GET /openapi.json describes
    the API; GET /api/query answers what `ngcg query --format geojson` prints.

    \b
    Example:
      ngcg serve --open
      ngcg serve --index town-index --port 8080
      curl 'http://127.0.0.1:8765/api/query?q=a+harbour&k=3'
    """
    if any(find_spec(name) is None for name in ("starlette", "uvicorn", "js_lib_leaflet")):
        raise NgcgError(
            "the server needs packages that are missing", hint="pip install 'ngcg[serve]'"
        )
    from ngcg_cli.server.desk import Desk
    from ngcg_cli.server.running import run

    run(Desk(index, model, device, precision), host, port, open_browser, fetch)
