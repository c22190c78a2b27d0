"""Reading and embedding on a Ray cluster; planning and committing stay in this process.

Pieces of rasters are read in tasks, their chunks go to actors that each hold the model (a GPU each
where the cluster has some), and come back in order to the one committer. The functions that read
and embed are those of one machine (`reading.read_source`, `embedding.embed`), so there is no second
path.
Ray Data bounds what waits, and tries again what a dead worker had in hand.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import logging
import os
import re
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from ngcg_cli.errors import NgcgError, RasterError, UsageError
from ngcg_cli.journeys.embedding import embed
from ngcg_cli.journeys.planning import Job, SourceReport
from ngcg_cli.journeys.reading import CHUNK, Chunk, read_source
from ngcg_cli.search import SourceRecord

if TYPE_CHECKING:
    from ngcg_cli.encoder.encoder import Encoder
    from ngcg_cli.encoder.precision import PrecisionChoice

logger = logging.getLogger(__name__)

# Windows that one task reads: long enough to be worth its start, short enough to be done again.
PIECE = 32 * CHUNK
# Times that a cluster is asked for a client.
_TRIES = 3
# Chunks that an actor gets at once; its batches run across them.
_AT_ONCE = 8


@dataclass(frozen=True)
class Piece:
    """Windows of one raster, `start` to `stop` of its `windows`, read by one task.

    It lies at `address`: its path, with the credentials where there are some.
    """

    record: SourceRecord
    windows: int
    start: int
    stop: int
    address: str


@dataclass(frozen=True)
class _Model:
    """What an actor loads: the model of the index, in its precision."""

    name: str
    device: str
    precision: PrecisionChoice
    dim: int
    fingerprint: str


def address_of(engine: str) -> str | None:
    """What `--engine` says: None for `local`, "" for a Ray of this machine, else `ray://HOST:PORT`.

    Raises:
        UsageError: it is something else.
    """
    if engine == "local":
        return None
    if engine == "ray":
        return ""
    if engine.startswith("ray://"):
        with contextlib.suppress(ValueError):
            _host_and_port(engine)
            return engine
    raise UsageError(f"--engine {engine!r} is not local, ray or ray://HOST:PORT")


def embed_on_ray(
    jobs: Sequence[Job],
    encoder: Encoder,
    model: str,
    hand_on: Callable[[Chunk], object],
    *,
    address: str,
    device: str,
    batch_size: int,
    drivers: Sequence[str] = (),
) -> None:
    """Reads and embeds on a cluster, and hands on every chunk in the order of the jobs.

    Args:
        jobs: what to index.
        encoder: the model as it is loaded here; the actors' must have its fingerprint, and compute
            in its precision.
        model: its name or path, as the workers can load it.
        hand_on: gets each chunk with its vectors.
        address: `ray://HOST:PORT`, or "" for a Ray that is started on this machine.
        device, batch_size, drivers: as on one machine, for each worker.

    Raises:
        NgcgError: Ray is not installed, or the cluster cannot be reached.
    """
    ray = _started(address)
    # Not what was asked for: `auto` may mean another precision on a worker's device.
    precision = cast("PrecisionChoice", encoder.precision)
    wanted = _Model(model, device, precision, encoder.dim, encoder.fingerprint)
    work = _Work(list(pieces(jobs)), wanted, 2 * encoder.image_size, batch_size, tuple(drivers))
    failed: set[str] = set()
    with contextlib.redirect_stdout(_Told()):
        try:
            for chunk in _from_afar(ray, work) if address else work.chunks():
                if chunk.path in failed:
                    continue
                if chunk.error is not None:
                    failed.add(chunk.path)
                hand_on(chunk)
        except ray.exceptions.RayError as error:
            raise NgcgError(
                f"the work on Ray ended: {_cause(error)}",
                hint="What is committed is kept; give the same command again to go on.",
            ) from error
        finally:
            ray.shutdown()


@dataclass(frozen=True)
class _Work:
    """All that is to be done, as it goes to a process of the cluster."""

    pieces: list[Piece]
    model: _Model
    side: int
    batch_size: int
    drivers: tuple[str, ...]

    def chunks(self) -> Iterator[Chunk]:
        """Has it done; the chunks come in order. Only where the cluster is: Ray Data must be."""
        import ray.data

        resources = ray.cluster_resources()
        gpus = int(resources.get("GPU", 0))
        actors = gpus or max(1, int(resources.get("CPU", 2)) - 1)
        context = ray.data.DataContext.get_current()
        context.execution_options.preserve_order = True
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        rows = [{"piece": piece} for piece in self.pieces]
        data: Any = ray.data.from_items(rows, override_num_blocks=len(rows))
        data = data.flat_map(_Reader(self.side, self.drivers), num_cpus=0.5).map_batches(
            _Embedder,
            fn_constructor_args=(self.model, self.batch_size),
            batch_size=_AT_ONCE,
            batch_format="numpy",
            concurrency=(1, actors),
            num_gpus=1 if gpus else 0,
            num_cpus=0 if gpus else 0.5,
        )
        for row in data.iter_rows():
            yield row["chunk"]


class _Foreman:
    """An actor that has the work done where the cluster is, for a driver that is not there."""

    def __init__(self, work: _Work) -> None:
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        self._chunks = work.chunks()

    def take(self) -> list[Chunk]:
        """The next chunks; none at the end."""
        return list(itertools.islice(self._chunks, _AT_ONCE))


def _from_afar(ray: Any, work: _Work) -> Iterator[Chunk]:
    foreman = ray.remote(num_cpus=0)(_Foreman).remote(work)
    coming = foreman.take.remote()
    while chunks := ray.get(coming):
        coming = foreman.take.remote()  # while these are committed
        yield from chunks


def pieces(jobs: Sequence[Job]) -> Iterator[Piece]:
    """The work of some jobs, cut small enough for many workers, in order."""
    from ngcg_cli.raster import signed

    for job in jobs:
        if job.raster is not None:  # opened by the planning; a worker opens its own
            job.raster.close()
            job.raster = None
        address = signed.address_of(job.path)
        for start in range(job.start, job.windows, PIECE):
            stop = min(start + PIECE, job.windows)
            yield Piece(job.record, job.windows, start, stop, address)


class _Reader:
    """Reads a piece: rows of one chunk each."""

    def __init__(self, side: int, drivers: Sequence[str]) -> None:
        self._side = side
        self._drivers = drivers

    def __call__(self, row: dict[str, Any]) -> list[dict[str, Any]]:
        piece: Piece = row["piece"]
        record = piece.record
        job = Job(record, SourceReport(record.path, "indexed"), piece.windows, piece.start)
        chunks: list[Chunk] = []
        from ngcg_cli.raster import signed

        if self._drivers:
            from ngcg_cli.raster.drivers import allow

            allow(self._drivers)
        try:
            signed.remember(piece.address)
            _see(record.path)
            chunks.extend(read_source(job, self._side, piece.stop))
        except Exception as error:  # whatever a raster provokes, the other sources go on
            chunks.append(Chunk(record.path, error=error))
        return [{"chunk": chunk} for chunk in chunks]


class _Embedder:
    """An actor that holds the model."""

    def __init__(self, wanted: _Model, batch_size: int) -> None:
        from ngcg_cli.encoder.loading import open_encoder

        encoder = open_encoder(wanted.name, wanted.device, precision=wanted.precision)
        self._encoder = encoder.shortened(wanted.dim) if encoder.backbone.least_dim else encoder
        self._batch_size = batch_size
        if self._encoder.fingerprint != wanted.fingerprint:
            raise NgcgError(
                f"the model {wanted.name!r} of {socket.gethostname()} is not the index's",
                hint="Install the same version of ngcg, and the same model, on every worker.",
            )

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        chunks = [replace(chunk, vectors=[]) for chunk in batch["chunk"]]
        for chunk in chunks:
            chunk.pixels = [self._encoder.resized(pixels) for pixels in chunk.pixels]
        done: list[Chunk] = []
        embed(chunks, self._encoder, self._batch_size, done.append)
        return {"chunk": done}


class _Told(io.TextIOBase):
    """What Ray prints, that a worker died for instance, as a warning: stdout is for results."""

    def write(self, text: str) -> int:
        """Tells each line of it."""
        for line in re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines():
            if line.strip():
                logger.warning("Ray: %s", line.strip())
        return len(text)


def _see(path: str) -> None:
    """That a worker can see a local raster at all."""
    if os.path.isabs(path) and not path.startswith("/vsi") and not os.path.exists(path):
        raise RasterError(
            f"the worker {socket.gethostname()} cannot see it",
            where=path,
            hint="Put rasters where every worker can read them, or name them by URL.",
        )


def _started(address: str) -> Any:
    """Ray, connected or started; quiet."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # Its client does not look by itself; once imported, it would not hear of it any more.
    if address and "ray" not in sys.modules and _has_token():
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise NgcgError(
            "--engine ray needs Ray", hint="Install it: pip install 'ngcg[ray]'."
        ) from error
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)
    if address.startswith("ray://"):
        _reach(address)
    for left in reversed(range(_TRIES)):
        try:
            ray.init(
                address=address or "local",
                include_dashboard=None if address else False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                ignore_reinit_error=True,
            )
            break
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            # A busy cluster was reached, but its server for this client was not up in 30 s.
            if left and "Initialization failure" in str(error):
                continue
            raise NgcgError(
                f"Ray cannot be reached: {' '.join(str(error).split())[:200]}",
                where=address or None,
                hint="Give --engine ray://HOST:PORT of a running cluster, its token in "
                "RAY_AUTH_TOKEN if it asks for one; or ray to start one here.",
            ) from error
    return ray


def _has_token() -> bool:
    """Whether the user has a token for clusters, where Ray keeps it."""
    named = os.environ.get("RAY_AUTH_TOKEN_PATH") or os.path.expanduser("~/.ray/auth_token")
    return bool(os.environ.get("RAY_AUTH_TOKEN")) or os.path.isfile(named)


def _host_and_port(address: str) -> tuple[str, int]:
    """What `ray://HOST:PORT` names.

    Raises:
        ValueError: it is something else.
    """
    parts = urlsplit(address)
    if not parts.hostname or not parts.port or address != f"ray://{parts.netloc}":
        raise ValueError(address)
    return parts.hostname, parts.port


def _reach(address: str) -> None:
    """A cluster that is not there is told at once, not after Ray's own half minute."""
    try:
        socket.create_connection(_host_and_port(address), timeout=5).close()
    except OSError as error:
        raise NgcgError(
            f"Ray cannot be reached: {error}",
            where=address,
            hint="Give --engine ray://HOST:PORT of a running cluster, or ray to start one here.",
        ) from error


def _cause(error: Exception) -> str:
    """The last line of what a worker threw."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__
