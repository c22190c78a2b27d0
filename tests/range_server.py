"""Serves a folder on loopback, ranges included, and keeps account of what it sent.

What lies in `secret/` is sent to those alone who ask with `?sig=key`. `/-moved/PATH` redirects to
PATH on `localhost`, another server by its name.

A process of its own: some calls of GDAL wait for an answer while they hold Python's lock.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ACCOUNT = "/-account"
REDIRECT = "/-moved/"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    folder = Path()
    asked: set[str] = set()  # noqa: RUF012
    sent = 0

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        if self.path == ACCOUNT:
            self._send(200, json.dumps({"sent": self.sent, "asked": sorted(self.asked)}).encode())
        else:
            self._answer(body=True)

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, body: bool) -> None:
        self.asked.add(self.path)
        path, _, query = self.path.partition("?")
        if path.startswith(REDIRECT):
            port = self.server.server_address[1]
            place = f"http://localhost:{port}/{path.removeprefix(REDIRECT)}"
            self._send(302, b"", body, {"Location": place})
            return
        if path.startswith("/secret/") and query != "sig=key":
            self._send(403, b"", body)
            return
        file = self.folder / path.lstrip("/")
        if not file.is_file():
            self._send(404, b"")
            return
        data = file.read_bytes()
        kind = {"Content-Type": "application/json"} if data.startswith(b"{") else {}
        span = self.headers.get("Range", "").removeprefix("bytes=")
        if not span:
            self._send(200, data, body, kind)
            return
        first, _, last = span.partition("-")
        start, end = int(first), min(int(last or len(data)), len(data) - 1)
        place = f"bytes {start}-{end}/{len(data)}"
        self._send(206, data[start : end + 1], body, {"Content-Range": place})

    def _send(
        self, status: int, data: bytes, body: bool = True, headers: dict[str, str] | None = None
    ) -> None:
        self.send_response(status)
        for name, value in {"Accept-Ranges": "bytes", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if body:
            self.wfile.write(data)
            if self.path != ACCOUNT:
                Handler.sent += len(data)


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The address at which a folder is served."""
    command = [sys.executable, __file__, folder]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield f"http://127.0.0.1:{server.stdout.readline().strip()}"
        server.kill()


def account(address: str) -> dict[str, Any]:
    """What was asked for, and how many bytes were sent."""
    with urllib.request.urlopen(address + ACCOUNT) as answer:
        return json.load(answer)


if __name__ == "__main__":
    Handler.folder = Path(sys.argv[1])
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()
