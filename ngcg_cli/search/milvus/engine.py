"""The engine behind an index: a server, or Milvus Lite in this process; what it says in one line.

Whatever goes wrong in it, and of whatever kind, becomes a TileIndexError with the index's name.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import shutil
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ngcg_cli.errors import NgcgError, TileIndexError
from ngcg_cli.search.milvus.name import Place
from ngcg_cli.search.vectors import Vectors

if TYPE_CHECKING:
    from pymilvus import MilvusClient

Row = dict[str, Any]
Result = TypeVar("Result")

# Most rows of one answer: the servers' default limit.
MOST_ROWS = 16_384
# Bytes of one request or answer, as far as we make them: servers take 64 MB.
MOST_BYTES = 8_000_000
# Seconds for one call, with the client's own retries; building an index may take longer.
_PATIENCE = 30.0
_LONG_PATIENCE = 3600.0
# A client at rest asks for no sign of life: engines take that for an attack, and break off.
# A server that comes back is found again within seconds.
_CALM = {
    "grpc.keepalive_time_ms": 300_000,
    "grpc.keepalive_permit_without_calls": False,
    "grpc.max_reconnect_backoff_ms": 1_000,
    "grpc.use_local_subchannel_pool": 1,
}
# The embedded engines of this process, by folder: an engine lets in one process, and there each
# index of the folder shares it.
_embedded: weakref.WeakValueDictionary[str, _Embedded] = weakref.WeakValueDictionary()
_lock = threading.Lock()


def _missing(error: ImportError) -> NgcgError:
    return NgcgError(
        f"an index in Milvus needs {error.name or 'pymilvus'}, which is not installed",
        hint="Install it: pip install 'ngcg[milvus]'.",
    )


class _Embedded:
    """Milvus Lite on a folder, which it locks, behind a socket that only this user can reach."""

    def __init__(self, place: Place) -> None:
        try:
            from milvus_lite.adapter.grpc.server import start_server_in_thread
        except ImportError as error:
            raise _missing(error) from error
        folder = Path(os.path.abspath(str(place.file)))
        _refuse_foreign(place, folder)
        private = tempfile.mkdtemp(prefix="ngcg-")
        host = f"unix:{private}/engine" if os.name == "posix" else "127.0.0.1"
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            server, engine, port = start_server_in_thread(str(folder), host, 0)
        # It throws its own kinds, OSError, those of Arrow, ...
        except Exception as error:
            shutil.rmtree(private, ignore_errors=True)
            raise _not_opened(place, error) from error
        self.url = f"{host}:0" if os.name == "posix" else f"http://{host}:{port}"
        self.close = weakref.finalize(self, _stop, server, engine, private)


def _refuse_foreign(place: Place, folder: Path) -> None:
    """Refuse what Milvus Lite would write into, or fail on, though it is somebody else's."""
    if folder.is_dir():
        names = {entry.name for entry in folder.iterdir()}
        if not names or "LOCK" in names:
            return
        what = f"is neither empty nor of Milvus Lite: it holds {min(names)!r}"
    elif os.path.lexists(folder):
        what = "is a file, and none of Milvus Lite 3, which are folders"
    else:
        return
    raise TileIndexError(what, where=place.name, hint="Name another file after milvus:.")


def _not_opened(place: Place, error: Exception) -> TileIndexError:
    if type(error).__name__ == "DataDirLockedError":
        return TileIndexError(
            "is in use by another process, and the embedded engine lets in one at a time",
            where=place.name,
            hint="Wait until that is done; a Milvus server lets in many.",
        )
    reason = getattr(error, "strerror", None) or error
    return TileIndexError(
        f"cannot be opened: {reason}", where=place.name, hint="Check the folder and its access."
    )


def _stop(server: Any, engine: Any, private: str) -> None:
    with contextlib.suppress(Exception):
        server.stop(grace=None).wait(5)
    with contextlib.suppress(Exception):
        engine.close()
    shutil.rmtree(private, ignore_errors=True)


class Engine:
    """Collections of one place.

    Args:
        place: where.

    Raises:
        NgcgError: pymilvus is not installed.
        TileIndexError: there is no engine, or it does not let us in.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        try:
            # It has a logger with a handler of its own, and tells there what it raises as well.
            logging.getLogger("pymilvus").setLevel(logging.CRITICAL)
            os.environ.setdefault("GRPC_VERBOSITY", "NONE")
            from pymilvus import MilvusClient
        except ImportError as error:
            raise _missing(error) from error
        logging.getLogger("pymilvus").setLevel(logging.CRITICAL)
        logging.getLogger("milvus_lite").setLevel(logging.CRITICAL)
        self._embedded: _Embedded | None = None
        if place.file is not None:
            key = os.path.realpath(place.file)
            with _lock:
                self._embedded = _embedded.get(key) or _Embedded(place)
                _embedded[key] = self._embedded
        url = self._embedded.url if self._embedded else place.url
        with self._told():
            self._client: MilvusClient = MilvusClient(
                str(url),
                token="" if self._embedded else os.environ.get("MILVUS_TOKEN", ""),
                db_name=place.database,
                timeout=_PATIENCE,
                dedicated=True,
                grpc_options=_CALM,
            )
            # The embedded engine has neither.
            self.version = "" if self._embedded else self._client.get_server_version()
        weakref.finalize(self, _close, self._client)

    @property
    def embedded(self) -> bool:
        """Whether it is this process's own."""
        return self._embedded is not None

    def has(self, collection: str) -> bool:
        """Whether there is a collection of that name."""
        return bool(self._call(self._client.has_collection, collection))

    def fields(self, collection: str) -> dict[str, str]:
        """The names of a collection's fields and their types; a vector's with its dimensions."""
        told = self._call(self._client.describe_collection, collection)
        return {
            field["name"]: field["type"].name
            + (f"({field['params']['dim']})" if "dim" in field.get("params", {}) else "")
            for field in told["fields"]
        }

    def create(self, collection: str, fields: Sequence[Row], vector: str, index: Row) -> None:
        """Make a collection of `fields` (arguments of pymilvus's `add_field`), and load it."""
        from pymilvus import DataType

        schema = self._client.create_schema(auto_id=False, enable_dynamic_field=False)
        for field in fields:
            kinds: Row = {
                name: DataType[field[name]]
                for name in ("datatype", "element_type")
                if name in field
            }
            schema.add_field(**{**field, **kinds})
        params = self._client.prepare_index_params()
        params.add_index(vector, **index)
        self._call(
            self._client.create_collection,
            collection,
            schema=schema,
            index_params=params,
            consistency_level="Strong",
            patience=_LONG_PATIENCE,
        )

    def load(self, collection: str) -> None:
        """See that a collection can be searched."""
        self._call(self._client.load_collection, collection, patience=_LONG_PATIENCE)

    def drop(self, collection: str) -> None:
        """Take a collection away."""
        self._call(self._client.drop_collection, collection)

    def upsert(self, collection: str, rows: Sequence[Row]) -> None:
        """Put rows in, in place of those with the same keys."""
        if rows:
            self._call(self._client.upsert, collection, list(rows))

    def delete(self, collection: str, expression: str) -> None:
        """Take out the rows that an expression holds for."""
        self._call(self._client.delete, collection, filter=expression)

    def query(self, collection: str, expression: str, fields: Sequence[str]) -> list[Row]:
        """The rows that an expression holds for, `MOST_ROWS` at most, in no order."""
        rows = self._call(
            self._client.query,
            collection,
            filter=expression,
            output_fields=list(fields),
            limit=MOST_ROWS,
        )
        return list(rows)

    def count(self, collection: str, expression: str) -> int:
        """How many rows an expression holds for."""
        rows = self._call(
            self._client.query, collection, filter=expression, output_fields=["count(*)"]
        )
        return int(rows[0]["count(*)"])

    def search(
        self,
        collection: str,
        queries: Vectors,
        k: int,
        expression: str,
        fields: Sequence[str],
        params: Row,
    ) -> list[list[Row]]:
        """For each query the rows of the k nearest vectors that an expression holds for."""
        found = self._call(
            self._client.search,
            collection,
            data=list(queries),
            limit=k,
            filter=expression,
            output_fields=list(fields),
            search_params=params,
        )
        return [[hit["entity"] for hit in hits] for hits in found]

    def _call(
        self, what: Callable[..., Result], *args: Any, patience: float = _PATIENCE, **kwargs: Any
    ) -> Result:
        with self._told():
            return what(*args, timeout=patience, **kwargs)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """What the engine or the way to it throws, as one line."""
        import grpc
        from pymilvus.exceptions import MilvusException

        try:
            yield
        except (MilvusException, grpc.RpcError, OSError) as error:
            raise self._error(error) from error

    def _error(self, error: Exception) -> TileIndexError:
        import grpc

        text = " ".join(str(getattr(error, "message", "") or error).split())
        code = getattr(error, "code", None)
        code = code() if callable(code) else code
        cause: BaseException | None = error
        for _ in range(8):  # a chain of causes may be a ring
            if isinstance(code, grpc.StatusCode) or cause is None:
                break
            if isinstance(cause, grpc.RpcError):
                code = cause.code()
            cause = cause.__cause__ or cause.__context__
        low = text.lower()
        tell = functools.partial(TileIndexError, where=self.place.name)
        if code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED) or any(
            word in low for word in ("unauthenticated", "auth check failure", "permissiondenied")
        ):
            return tell("the server refuses the token", hint="Set MILVUS_TOKEN to one that may.")
        if "database" in low and ("not found" in low or "not exist" in low):
            return tell(f"has no database {self.place.database!r}", hint="Make it, or name another")
        if any(word in low for word in ("no space left", "disk quota", "file too large")):
            return tell(
                "the disk is full",
                hint="What was committed is safe: make room and give the same command again.",
            )
        gone = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
        if code in gone or any(
            word in low for word in ("unavailable", "failed to connect", "deadline", "timeout")
        ):
            return tell(
                f"cannot be reached ({text[:200]})",
                hint="See that the server runs there; what was committed is safe, and the same "
                "command goes on from it.",
            )
        # Nothing is promised here: the files themselves may be damaged.
        again = "Give the same command again; if that does not help, "
        there = (
            "make a new index under another name." if self.place.file else "see the server's log."
        )
        return tell(f"the engine says: {text[:400]}", hint=again + there)


def _close(client: MilvusClient) -> None:
    with contextlib.suppress(Exception):
        client.close()
