"""Whether a model has room, asked before any of its weights is read."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ngcg_cli.errors import ModelError

if TYPE_CHECKING:
    import torch

#: Where Linux tells what a container may use.
_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Place:
    """Where a model will compute, and in what precision its weights arrive there."""

    device: torch.device
    dtype: torch.dtype


def check_room(numbers: int, dtype: torch.dtype, place: Place, name: str) -> None:
    """See that `numbers` weights of `dtype` have room in memory, and then at their place.

    Only the weights are counted: a model that barely fits may still run out of memory later.

    Raises:
        ModelError: they have not; it says how many bytes are needed and how many are free.
    """
    rooms = [("of memory", dtype, free_memory())]
    if place.device.type == "cuda":
        rooms.append(("on the GPU", place.dtype, free_on_gpu(place.device)))
    for where, held, free in rooms:
        due = numbers * held.itemsize
        if due <= free:
            continue
        advice = "Close other programs, take a smaller model (ngcg models), or a larger machine"
        if held.itemsize == 4 and place.dtype.itemsize == 4 and due // 2 <= free:
            advice = f"--precision bfloat16 takes {_gigabytes(due // 2)}. Or: {advice.lower()}"
        raise ModelError(
            f"needs {_gigabytes(due)} {where}, and {_gigabytes(free)} are free",
            where=name,
            hint=advice,
        )


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.2f} GB ({count:,} bytes)"


def free_memory() -> int:
    """Bytes of memory that this process may still take, the limit of its container included."""
    import psutil

    free = int(psutil.virtual_memory().available)
    with suppress(OSError, ValueError):  # no container, no limit ("max"), another system
        limit = int((_CGROUP / "memory.max").read_text())
        used = int((_CGROUP / "memory.current").read_text())
        told = dict(line.split() for line in (_CGROUP / "memory.stat").read_text().splitlines())
        # Pages of files count as used, and are given up when somebody needs them.
        free = min(free, limit - used + int(told.get("inactive_file", 0)))
    return max(0, free)


def free_on_gpu(place: torch.device) -> int:
    """Bytes that are free on a CUDA device."""
    import torch

    return int(torch.cuda.mem_get_info(place)[0])
