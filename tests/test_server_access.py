"""`ngcg serve`: who may ask, how many at once, and what becomes of a fault."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from serving import HOST, copied, desk_of
from starlette.testclient import TestClient

from ngcg_cli.server.app import MAX_WAITING, application
from ngcg_cli.server.desk import Desk
from ngcg_cli.server.guarding import allowed_host


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory, town: Path) -> Path:
    return copied(town, tmp_path_factory.mktemp("served"))


@pytest.fixture(scope="module")
def desk(index: Path) -> Desk:
    return desk_of(index)


@pytest.fixture(scope="module")
def client(desk: Desk) -> Iterator[TestClient]:
    with TestClient(application(desk, HOST), base_url=f"http://{HOST}:8765") as opened:
        yield opened


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"host": "localhost:8765"}, 200),
        ({"host": "[::1]:8765"}, 200),
        ({"host": "evil.example"}, 421),
        ({"host": "127.0.0.1.evil.example:8765"}, 421),
        ({"host": "192.168.1.5:8765"}, 421),
        ({"host": ""}, 421),
        ({"host": "127.0.0.1:x"}, 421),
        ({"origin": "http://127.0.0.1:8765"}, 200),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://127.0.0.1:9999"}, 403),
        ({"sec-fetch-site": "same-origin"}, 200),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}, 403),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
    ],
)
def test_only_the_own_page_may_ask(
    client: TestClient, headers: dict[str, str], status: int
) -> None:
    answer = client.get("/api/info", headers=headers)
    assert answer.status_code == status
    assert "access-control-allow-origin" not in answer.headers
    assert "script-src 'self';" in answer.headers["content-security-policy"]


def test_the_page_may_be_opened_from_a_link(client: TestClient) -> None:
    headers = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    answer = client.get("/", headers=headers)
    assert answer.status_code == 200
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert client.post("/").status_code == 405
    assert client.get("/?q=" + "a" * 9000).status_code == 414


@pytest.mark.parametrize(
    ("header", "host", "allowed"),
    [
        ("192.168.1.5:8765", "0.0.0.0", True),
        ("192.168.1.5", "192.168.1.5", True),
        ("10.0.0.1", "192.168.1.5", True),  # an address cannot be pointed elsewhere
        ("localhost", "0.0.0.0", True),
        ("localhost", "192.168.1.5", False),
        ("evil.example", "0.0.0.0", False),
        ("maps.example:8765", "maps.example", True),
        ("[::1", "127.0.0.1", False),
        ("[::1]x", "127.0.0.1", False),
    ],
)
def test_names_of_a_server_that_others_reach(header: str, host: str, allowed: bool) -> None:
    assert allowed_host(header, host) is allowed


def test_too_many_questions_are_told_to_wait(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MAX_WAITING, "questions", 2)
    gate = threading.Event()
    real = desk.ask
    monkeypatch.setattr(desk, "ask", lambda asked: gate.wait(20) and real(asked))
    statuses: list[int] = []
    with TestClient(application(desk, HOST), base_url=f"http://{HOST}") as client:
        asking = [
            threading.Thread(
                target=lambda: statuses.append(client.get("/api/query?q=a").status_code)
            )
            for _ in range(5)
        ]
        for thread in asking:
            thread.start()
        for _ in range(200):
            if len(statuses) == 3:
                break
            time.sleep(0.05)
        gate.set()
        for thread in asking:
            thread.join()
    assert sorted(statuses) == [200, 200, 503, 503, 503]


def test_a_fault_of_the_servers_is_told_on_its_side(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(asked: object) -> None:
        raise ValueError("secret")

    monkeypatch.setattr(desk, "ask", broken)
    monkeypatch.setattr("ngcg_cli.server.app.logger.parent.propagate", True)
    app = application(desk, HOST)
    client = TestClient(app, base_url=f"http://{HOST}", raise_server_exceptions=False)
    answer = client.get("/api/query?q=a")
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert "internal error, ValueError: secret" in caplog.text
