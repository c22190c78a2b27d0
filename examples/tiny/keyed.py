"""Cache files that are named by what made them.

A stage's result is kept under a name that ends in a digest of everything that decides it: the
constants of the recipe, the code, and the (keyed) names of what it was made from. Change one of
them and the name is another, so that nothing old is taken for new; what was there stays beside.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]


def keyed(path: Path, **made_of: Any) -> Path:
    """`tokens.npy` to `tokens-1a2b3c4d5e.npy`; other values of `made_of` give other digits.

    Values are JSON's, dataclasses, or paths: of a path only the name counts, which is keyed itself.
    """
    text = json.dumps(made_of, sort_keys=True, default=_plain)
    digits = hashlib.sha256(text.encode()).hexdigest()[:10]
    return path.with_name(f"{path.stem}-{digits}{path.suffix}")


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return value.name
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    raise TypeError(f"{type(value).__name__} cannot be part of a key")


def kept(path: Path, make: Callable[[], np.ndarray]) -> np.ndarray:
    """The array in `path`, made where it is not there: whole, or not at all."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part.npy")
        np.save(part, make())
        part.rename(path)
    out: np.ndarray = np.load(path, allow_pickle=False)
    return out


def contents(*files: Path) -> str:
    """Hex digest of what files hold, one after the other."""
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def code(*patterns: str) -> str:
    """Hex digest of the source files under the repository that match, such as `examples/town/*`."""
    return contents(*sorted({file for pattern in patterns for file in ROOT.glob(pattern)}))


def stages(*names: str) -> list[str]:
    """The source files of these stages, for `code`."""
    return [f"examples/tiny/stages/{name}.py" for name in names]


def texts_digest(texts: Any) -> str:
    """Hex digest of sentences, or of anything that is JSON."""
    return hashlib.sha256(json.dumps(texts, default=_plain).encode()).hexdigest()
