"""The file of captions as it grows: whole rows only, so that a run that was killed can go on."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Self

import numpy as np

from ngcg_cli.beside import beside, check_target
from ngcg_cli.datasets import json_lines
from ngcg_cli.errors import NgcgError, UsageError
from ngcg_cli.plain import json_text
from ngcg_cli.search.lock import LOCK, writer_lock

_MARK = "captions.json"
_DROPPED = "dropped.jsonl"
_FORMAT = 1

Window = tuple[int, int, int, int]


class CaptionFile:
    """`captions.jsonl` with the folder `captions-images` beside it; use it as a context manager.

    The folder holds a PNG a tile; `captions.json`, how the captions are made; and `dropped.jsonl`,
    a line for each tile without a caption, with the reason.

    Args:
        path: of the rows, which `ngcg train` takes.
        made_by: what the captions depend on; a file that was begun otherwise is refused.

    Raises:
        UsageError: something else is there, or it was begun with other settings.
        TileIndexError: another process writes it.
    """

    def __init__(self, path: Path, made_by: Mapping[str, Any]) -> None:
        check_target(path)
        self.path = path
        self.folder = path.with_name(f"{path.stem}-images")
        self._made_by = json.loads(json.dumps({"format": _FORMAT, **made_by}))
        self._stack = ExitStack()
        #: Names of pictures that need not be looked at again.
        self.done: set[str] = set()
        #: Captions of earlier runs.
        self.captions: list[str] = []
        self._check()

    def __enter__(self) -> Self:
        try:
            self.folder.mkdir(exist_ok=True)
            self._stack.enter_context(writer_lock(self.folder))  # so we are alone
            if not self._begun():
                with beside(self.folder / _MARK, alone=True) as fresh:
                    fresh.write_text(json.dumps(self._made_by, indent=1) + "\n", "utf-8")
            self._read()
        except OSError as error:
            self._stack.close()
            raise NgcgError(f"cannot be written: {error.strerror}", where=self.path) from error
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        if not self._begun():  # the model could not be loaded, for one: nothing is left behind
            with suppress(OSError):
                for name in (_MARK, LOCK):
                    (self.folder / name).unlink(missing_ok=True)
                self.folder.rmdir()

    def _begun(self) -> bool:
        """Whether a tile has been done: until then other settings may be chosen."""
        mark, dropped = self.folder / _MARK, self.folder / _DROPPED
        return mark.exists() and (self.path.exists() or dropped.exists())

    def _check(self) -> None:
        """Nothing is written where anything else is."""
        mark = self.folder / _MARK
        if mark.is_file():
            try:
                held = json.loads(mark.read_text("utf-8"))
            except (OSError, ValueError) as error:
                raise UsageError(f"{mark}: cannot be read ({error})") from error
            if not isinstance(held, dict) or held.get("format") != _FORMAT:
                raise UsageError(f"{mark}: not of this version", hint="Name another --out.")
            other = [name for name, value in self._made_by.items() if held.get(name) != value]
            if other and self._begun():
                name = other[0]
                begun, now = (_plainly(of.get(name)) for of in (held, self._made_by))
                raise UsageError(
                    f"{self.path}: was begun with {name} {begun}, not {now}",
                    hint="Give the same options to go on, or name another --out.",
                )
            return
        # What a start that was cut short leaves behind is hidden, or the lock.
        theirs = (
            [name for name in os.listdir(self.folder) if name[0] != "." and name != LOCK]
            if self.folder.is_dir()
            else []
        )
        if theirs or os.path.lexists(self.path):
            what = f"{self.folder} holds {min(theirs)!r}" if theirs else "is there already"
            raise UsageError(
                f"{self.path}: {what}, and is no work of ngcg caption", hint="Name another --out."
            )

    def _read(self) -> None:
        for file in (self.path, self.folder / _DROPPED):
            _mend(file)
            if not file.exists() or not file.stat().st_size:
                continue
            for _, row in json_lines.rows(file):
                self.done.add(Path(str(row.get("image"))).name)
                said = row.get("captions", ()) if file == self.path else ()
                self.captions += [said] if isinstance(said, str) else map(str, said)

    def add(
        self,
        kept: Sequence[tuple[str, np.ndarray, Mapping[str, Any]]],
        dropped: Iterable[Mapping[str, Any]] = (),
    ) -> None:
        """Write some tiles: their pictures first, then their rows in one step.

        Args:
            kept: of each tile the name of its picture, its pixels (h, w, 3), and its row.
            dropped: rows of tiles without a caption, each with `image` and `reason`.
        """
        from PIL import Image

        for name, pixels, _ in kept:
            with beside(self.folder / name, alone=True) as fresh:
                Image.fromarray(pixels).save(fresh, "PNG")
        rows = [{"image": f"{self.folder.name}/{name}", **row} for name, _, row in kept]
        try:
            _append(self.path, rows)
            _append(self.folder / _DROPPED, dropped)
        except OSError as error:
            raise NgcgError(f"cannot be written: {error.strerror}", where=self.path) from error


def _plainly(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def picture_name(source: str, window: Window) -> str:
    """The file name of a tile's picture: the same in every run."""
    column, row, width, height = window
    place = hashlib.sha256(os.fsencode(source)).hexdigest()[:12]
    return f"{place}-{column}-{row}-{width}-{height}.png"


def _append(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    data = "".join(json_text(row) + "\n" for row in rows).encode("utf-8", "backslashreplace")
    if not data:
        return
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    with open(handle, "ab", buffering=0) as file:
        file.write(data)
        os.fsync(handle)


def _mend(path: Path) -> None:
    """Takes away the beginning of a row that a kill, or a full disk, has left at the end."""
    if not path.exists() or not path.stat().st_size:
        return
    with path.open("rb+") as file:
        file.seek(-1, os.SEEK_END)
        if file.read() != b"\n":
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)
