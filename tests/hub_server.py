"""A hub on the loopback for tests: it speaks what huggingface_hub speaks, and keeps all in memory.

Repositories with commits and branches, regular and large files, tokens, gates. Nothing of it is a
stand-in for our code: huggingface_hub talks to it as to the real one.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

TOKEN = "hf_" + "secretsecret" * 3
USER = "me"


@dataclass
class Repo:
    """A model's repository: its commits by their ids, each a whole tree; and its branches."""

    private: bool = False
    gated: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)

    def tree(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        commit = self.branches.get(revision, revision)
        return (commit, self.commits[commit]) if commit in self.commits else None

    def commit(self, branch: str, tree: dict[str, bytes]) -> str:
        facts = repr((len(self.commits), sorted(tree.items()))).encode()
        commit = hashlib.sha1(facts, usedforsecurity=False).hexdigest()
        self.commits[commit] = tree
        self.branches[branch] = commit
        return commit


@dataclass
class Hub:
    """What the server knows, and what it was asked."""

    url: str = ""
    repos: dict[str, Repo] = field(default_factory=dict)
    large: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def log_message(self, *_: object) -> None:
        pass

    def answer(self, status: int, body: Any = b"", **headers: str) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def handle_all(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append(f"{self.command} {path}")
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length) if length else b""
        known = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        for method, pattern, act in _ROUTES:
            found = re.fullmatch(pattern, path)
            if method == self.command and found:
                act(self, body, known, *found.groups())
                return
        self.answer(404, {"error": "no such page"})

    do_GET = do_HEAD = do_POST = do_PUT = handle_all

    def may_write(self, known: bool, repo: str) -> bool:
        if not known:
            self.answer(401, {"error": "Invalid username or password."})
        elif not repo.startswith(f"{USER}/"):
            self.answer(403, {"error": "You don't have the rights"})
        else:
            return True
        return False

    def readable(self, known: bool, name: str) -> Repo | None:
        repo = self.hub.repos.get(name)
        if repo is None or (repo.private and not known):
            self.answer(401, {"error": "nothing"}, X_Error_Code="RepoNotFound")
            return None
        return repo

    # --- what is asked ---

    def yaml(self, body: bytes, known: bool) -> None:
        """The head of a card, which the real one checks word by word."""
        head = json.loads(body)["content"].partition("---\n")[2].partition("---\n")[0]
        good = "library_name:" in head
        errors = [] if good else [{"message": "no library"}]
        self.answer(200 if good else 400, {"warnings": [], "errors": errors})

    def create(self, body: bytes, known: bool) -> None:
        asked = json.loads(body)
        name = f"{asked['organization'] or USER}/{asked['name']}"
        if not self.may_write(known, name):
            return
        url = {"url": f"{self.hub.url}/{name}"}
        if name in self.hub.repos:
            self.answer(409, {"error": "You already created this model repo", **url})
            return
        self.hub.repos[name] = repo = Repo(private=asked.get("visibility") == "private")
        repo.commit("main", {".gitattributes": b"*.safetensors filter=lfs\n"})
        self.answer(200, url)

    def branch(self, body: bytes, known: bool, name: str, branch: str) -> None:
        if not self.may_write(known, name):
            return
        repo = self.hub.repos[name]
        if branch in repo.branches:
            self.answer(409, {"error": "Reference already exists"})
            return
        repo.branches[branch] = repo.branches["main"]
        self.answer(200, {})

    def preupload(self, body: bytes, known: bool, name: str, revision: str) -> None:
        if not self.may_write(known, name):
            return
        files = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
                "shouldIgnore": False,
            }
            for file in json.loads(body)["files"]
        ]
        self.answer(200, {"files": files})

    def lfs(self, body: bytes, known: bool, name: str) -> None:
        if not self.may_write(known, name):
            return
        objects = [
            {**each, "actions": {"upload": {"href": f"{self.hub.url}/large/{each['oid']}"}}}
            for each in json.loads(body)["objects"]
        ]
        self.answer(200, {"transfer": "basic", "objects": objects})

    def large(self, body: bytes, known: bool, oid: str) -> None:
        if hashlib.sha256(body).hexdigest() != oid:
            self.answer(400, {"error": "other bytes"})
            return
        self.hub.large[oid] = body
        self.answer(200)

    def commit(self, body: bytes, known: bool, name: str, branch: str) -> None:
        if not self.may_write(known, name):
            return
        repo = self.hub.repos[name]
        found = repo.tree(branch)
        tree = dict(found[1]) if found else {}
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                tree[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                tree[value["path"]] = self.hub.large[value["oid"]]
            elif line["key"] == "deletedFile":
                del tree[value["path"]]
        commit = repo.commit(branch, tree)
        url = f"{self.hub.url}/{name}/commit/{commit}"
        self.answer(200, {"commitUrl": url, "commitOid": commit, "success": True})

    def info(self, body: bytes, known: bool, name: str, revision: str = "main") -> None:
        repo = self.readable(known, name)
        if repo is None:
            return
        found = repo.tree(revision)
        if found is None:
            self.answer(404, {"error": "none"}, X_Error_Code="RevisionNotFound")
            return
        siblings = [{"rfilename": path} for path in sorted(found[1])]
        self.answer(200, {"id": name, "modelId": name, "sha": found[0], "siblings": siblings})

    def tree(self, body: bytes, known: bool, name: str, revision: str) -> None:
        repo = self.readable(known, name)
        if repo is None:
            return
        found = repo.tree(revision)
        if found is None:
            self.answer(404, {"error": "none"}, X_Error_Code="RevisionNotFound")
            return
        self.answer(
            200,
            [
                {"type": "file", "path": path, "size": len(data), "oid": _etag(data)}
                for path, data in sorted(found[1].items())
            ],
        )

    def file(self, body: bytes, known: bool, name: str, revision: str, path: str) -> None:
        repo = self.readable(known, name)
        if repo is None:
            return
        if repo.gated:
            self.answer(403, {"error": "ask"}, X_Error_Code="GatedRepo")
            return
        found = repo.tree(revision)
        if found is None or path not in found[1]:
            self.answer(404, {"error": "none"}, X_Error_Code="EntryNotFound")
            return
        data = found[1][path]
        self.answer(200, data, ETag=f'"{_etag(data)}"', X_Repo_Commit=found[0])


def _etag(data: bytes) -> str:
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


_ID = r"([\w.-]+/[\w.-]+)"
_ROUTES: list[tuple[str, str, Any]] = [
    ("POST", "/api/repos/create", _Handler.create),
    ("POST", "/api/validate-yaml", _Handler.yaml),
    ("POST", rf"/api/models/{_ID}/branch/(.+)", _Handler.branch),
    ("POST", rf"/api/models/{_ID}/preupload/(.+)", _Handler.preupload),
    ("POST", rf"/{_ID}\.git/info/lfs/objects/batch", _Handler.lfs),
    ("PUT", r"/large/(\w+)", _Handler.large),
    ("POST", rf"/api/models/{_ID}/commit/(.+)", _Handler.commit),
    ("GET", rf"/api/models/{_ID}/revision/(.+)", _Handler.info),
    ("GET", rf"/api/models/{_ID}", _Handler.info),
    ("GET", rf"/api/models/{_ID}/tree/(.+)", _Handler.tree),
    ("HEAD", rf"/{_ID}/resolve/([^/]+)/(.+)", _Handler.file),
    ("GET", rf"/{_ID}/resolve/([^/]+)/(.+)", _Handler.file),
]


@contextmanager
def serving(
    monkeypatch: pytest.MonkeyPatch, cache: Any, token: str | None = TOKEN
) -> Iterator[Hub]:
    """A hub that huggingface_hub takes for its own, with a cache of its own and a token."""
    from huggingface_hub import constants, hf_api

    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        hub.url = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(hf_api.api, "endpoint", hub.url)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(cache) + "/token")
        monkeypatch.setattr(constants, "HF_STORED_TOKENS_PATH", str(cache) + "/tokens")
        for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        if token:
            monkeypatch.setenv("HF_TOKEN", token)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()
