"""Runs the server until it is interrupted."""

from __future__ import annotations

import logging
import socket
import webbrowser

import uvicorn

from ngcg_cli.errors import NgcgError
from ngcg_cli.server.app import application
from ngcg_cli.server.desk import Desk

logger = logging.getLogger(__name__)

MAX_CONNECTIONS = 200


def run(desk: Desk, host: str, port: int, open_browser: bool, fetch: bool = False) -> None:
    """Serves until Ctrl-C.

    Args:
        desk: what answers questions.
        host, port: what to listen on; port 0 takes any that is free.
        fetch: see `output.pictures.Pictures`.
        open_browser: open the page in the user's browser.

    Raises:
        NgcgError: it cannot listen there.
    """
    listener = _listening(host, port)
    desk.warm_up()
    port = listener.getsockname()[1]
    shown = f"[{host}]" if ":" in host else host
    address = f"http://{shown}:{port}/"
    config = uvicorn.Config(
        application(desk, host, fetch),
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        limit_concurrency=MAX_CONNECTIONS,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=3,
        h11_max_incomplete_event_size=32_768,
    )
    logger.info("serving at %s (Ctrl-C ends it)", address)
    if open_browser:
        webbrowser.open(address)
    uvicorn.Server(config).run(sockets=[listener])


def _listening(host: str, port: int) -> socket.socket:
    try:
        kind, _, _, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(where[:2], family=kind, backlog=128)
    except OSError as error:
        raise NgcgError(
            f"cannot listen on {host} port {port}: {error.strerror or error}",
            hint="Name another --port, or 0 for any that is free.",
        ) from error
