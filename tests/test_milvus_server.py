"""A Milvus that is a server: it goes away, asks for a token, and is served from."""

import contextlib
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from milvus_samples import block, held
from samples import Ngcg
from tile_samples import MODEL, unit

from ngcg_cli.errors import TileIndexError
from ngcg_cli.search import Filters, create_index, index_exists, open_index
from ngcg_cli.search.milvus import engine, writer

pytest.importorskip("pymilvus")
pytest.importorskip("milvus_lite")


@pytest.fixture
def name(tmp_path: Path) -> str:
    return f"milvus:{tmp_path / 'index.db'}"


# With a token it lets in those who bring it, and says what a Milvus server says to others.
SERVER = """
import base64, sys, grpc
from milvus_lite.adapter.grpc import server

folder, port, token = sys.argv[1:]
made = grpc.server

class Guard(grpc.ServerInterceptor):
    def intercept_service(self, go_on, call):
        brought = dict(call.invocation_metadata).get("authorization", "")
        if base64.b64decode(brought).decode() == token:
            return go_on(call)
        def refuse(_, context):
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "auth check failure")
        return grpc.unary_unary_rpc_method_handler(refuse)

if token:
    server.grpc.server = lambda *args, **more: made(*args, interceptors=[Guard()], **more)
server.run_server(folder, "127.0.0.1", int(port))
"""


class Server:
    def __init__(self, folder: Path, token: str = "") -> None:
        self.folder = folder
        self.token = token
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.name = f"milvus:http://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [sys.executable, "-c", SERVER, str(self.folder), str(self.port), self.token]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(command, **quiet)  # type: ignore[call-overload]
        for _ in range(300):
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.2)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    served = Server(tmp_path / "server")
    served.start()
    yield served
    served.kill()


@pytest.mark.slow
def test_a_server_that_goes_away_and_comes_back(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_PATIENCE", 12.0)
    monkeypatch.setattr(writer, "_SETTLE", 0.05)
    store = create_index(server.name, MODEL)
    store.commit([block("a")])
    for exact in (False, True):
        hits = store.search(unit(2), 3, Filters(source="a"), exact=exact)
        assert [len(found) for found in hits] == [3, 3]
    with contextlib.ExitStack() as held_place:
        held_place.enter_context(store.writing())
        server.kill()
        with pytest.raises(TileIndexError, match="cannot be reached"):
            store.commit([block("b")])
    with pytest.raises(TileIndexError, match="cannot be reached"):
        open_index(server.name)
    server.start()
    again = open_index(server.name)
    assert held(again) == {"a": 3}
    again.commit([block("b")])  # the writer's place was left taken, by this very process
    assert held(open_index(server.name)) == {"a": 3, "b": 3}


@pytest.mark.slow
def test_a_server_lets_in_who_has_the_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = Server(tmp_path / "server", token="me:right")
    served.start()
    try:
        for wrong in ("me:wrong", None):
            if wrong is None:
                monkeypatch.delenv("MILVUS_TOKEN", raising=False)
            else:
                monkeypatch.setenv("MILVUS_TOKEN", wrong)
            for ask in (index_exists, open_index, lambda name: create_index(name, MODEL)):
                with pytest.raises(TileIndexError, match=r"refuses the token.*Set MILVUS_TOKEN"):
                    ask(served.name)
        monkeypatch.setenv("MILVUS_TOKEN", "me:right")
        create_index(served.name, MODEL).commit([block("a")])
        assert held(open_index(served.name)) == {"a": 3}
    finally:
        served.kill()


@pytest.mark.slow
def test_served_as_a_folder_is(
    ngcg: Ngcg, town: Path, fake_backbone: Path, name: str, tmp_path: Path
) -> None:
    testclient = pytest.importorskip("starlette.testclient")
    from ngcg_cli.server.app import application
    from ngcg_cli.server.desk import Desk

    folder = str(tmp_path / "folder")
    for index in (name, folder):
        args = ("--model", fake_backbone, "--tile", "32px", "--overlap", 0, "-q")
        assert ngcg("index", town / "a.tif", "--index", index, *args).status == 0
    clients = [
        testclient.TestClient(
            application(Desk(index, str(fake_backbone), "cpu"), "h"), base_url="http://h"
        )
        for index in (name, folder)
    ]

    def answers(address: str) -> list[bytes]:
        found = [client.get(address) for client in clients]
        assert [answer.status_code for answer in found] == [200, 200]
        return [answer.content for answer in found]

    asked = "/api/query?q=a+pond&k=40"
    heat = "/api/heat?q=a+pond&bounds=-20037508,-20037508,20037508,20037508"
    for tiles, more in ((16, None), (32, town / "b.tif")):
        if more:  # committed while it is served
            for index in (name, folder):
                assert ngcg("index", more, "--index", index, "-q").status == 0
        one, other = (json.loads(told) for told in answers("/api/info"))
        assert one["tiles"] == other["tiles"] == tiles
        assert one["sources"] == other["sources"]
        for address in (asked, heat):
            mine, theirs = answers(address)
            assert mine == theirs
        assert len(json.loads(answers(asked)[0])["features"]) == tiles
