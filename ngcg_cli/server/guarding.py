"""Who may ask the server what: checked before anything is done, for every request."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from ngcg_cli.output.page import BASE_MAPS

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

MAX_PATH = 300
MAX_TARGET = 8000
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    f"img-src 'self' data: {BASE_MAPS}; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "strict-origin-when-cross-origin",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}


class Guard:
    """Refuses what no reader of the page sends, and puts the same headers on every answer.

    - A Host that is not this server's: a name of someone else's that leads here (DNS rebinding).
    - An Origin, or a fetch, of another site. Only the page itself may be opened from a link.
    - Any method but GET and HEAD, and very long addresses.

    Args:
        app: what answers.
        host: what the server listens on.
    """

    def __init__(self, app: App, host: str) -> None:
        self._app = app
        self._host = host.lower()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message["headers"] = [*message.get("headers", []), *own]
            await send(message)

        refused = self._refused(scope)
        if refused is None:
            await self._app(scope, receive, answer)
            return
        status, reason = refused
        headers = [(b"content-type", b"text/plain; charset=utf-8")]
        await answer({"type": "http.response.start", "status": status, "headers": headers})
        await answer({"type": "http.response.body", "body": f"{reason}\n".encode()})

    def _refused(self, scope: Scope) -> tuple[int, str] | None:
        if scope["method"] not in ("GET", "HEAD"):
            return 405, "only GET is answered"
        path = len(scope.get("raw_path") or b"")
        if path > MAX_PATH or path + len(scope["query_string"]) > MAX_TARGET:
            return 414, f"an address of more than {MAX_PATH} and {MAX_TARGET} bytes"
        headers: dict[str, list[str]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
        hosts = headers.get("host", [])
        if len(hosts) != 1 or not allowed_host(hosts[0], self._host):
            return 421, "this server has another name"
        if any(origin != f"http://{hosts[0]}" for origin in headers.get("origin", [])):
            return 403, "asked by another site"
        site = headers.get("sec-fetch-site", ["none"])[0]
        opens = scope["path"] == "/" and headers.get("sec-fetch-mode") == ["navigate"]
        if site not in ("same-origin", "none") and not opens:
            return 403, "asked by another site"
        return None


def allowed_host(header: str, host: str) -> bool:
    """Whether a Host header names a server that listens on `host`.

    A name is what an attacker can point here; a bare address he cannot. So addresses of the own
    kind (loopback only for a loopback server), `localhost`, and the server's own names pass.
    """
    name = header.lower()
    if name.startswith("["):
        name, bracket, port = name[1:].partition("]")
        if not bracket or (port and not _is_port(port)):
            return False
    elif ":" in name:
        name, _, port = name.partition(":")
        if not _is_port(f":{port}"):
            return False
    if name == host:
        return True
    loopback = host == "localhost" or _address(host, "is_loopback")
    if name == "localhost" or _address(name, "is_loopback"):
        return loopback or _address(host, "is_unspecified")
    return not loopback and (_address(name, "version") or name == socket.gethostname().lower())


def _is_port(text: str) -> bool:
    return text.startswith(":") and text[1:].isascii() and text[1:].isdigit()


def _address(name: str, quality: str) -> bool:
    try:
        return bool(getattr(ipaddress.ip_address(name), quality))
    except ValueError:
        return False
