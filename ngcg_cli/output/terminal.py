"""Messages, warnings and errors on stderr, and when to draw colour and progress bars.

The rooms below report through `logging.getLogger(__name__)`; here it is decided what of that the
user sees. stdout belongs to results alone.
"""

from __future__ import annotations

import io
import logging
import os
import sys
import traceback
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from ngcg_cli.plain import harmless, harmless_lines

_logger = logging.getLogger("ngcg_cli")

T = TypeVar("T")

# Columns of a terminal: on fewer nothing can be read; what one has that does not tell.
_NARROWEST, _USUAL = 20, 80
# A message of more characters loses its middle.
_LONGEST = 2000

# Read when GDAL and the model libraries are first used: they would write to stderr on their own.
_SILENCE = {
    "CPL_LOG": os.devnull,
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
}


class _StderrHandler(logging.Handler):
    """Writes `ngcg: ...` lines to whatever `sys.stderr` is now (a progress bar may wrap it)."""

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "wait", False) and not shows_progress():
            return  # only who sits before it wants to know why nothing happens
        try:
            head = "ngcg: warning: " if record.levelno == logging.WARNING else "ngcg: "
            if not record.name.startswith("ngcg_cli"):
                head += f"{record.name}: "
            said = " ".join(record.getMessage().split())
            if len(said) > _LONGEST and not is_verbose():  # a message may quote what it is about
                said = f"{said[: _LONGEST // 2]} ... {said[-_LONGEST // 2 :]}"
            print(head + harmless(said), file=sys.stderr)
        except BrokenPipeError:
            pass  # nobody listens
        except Exception:
            self.handleError(record)


_handler = _StderrHandler()


class ClosedStdout(io.TextIOWrapper):
    """What a command writes to where its standard output is closed; it remembers that it did.

    Attributes:
        lost: whether anything was written.
    """

    def __init__(self) -> None:
        super().__init__(open(os.devnull, "wb"))  # noqa: SIM115
        self.lost = False

    def write(self, text: str) -> int:
        """Take the text, and drop it."""
        self.lost = self.lost or bool(text)
        return super().write(text)


def configure(verbose: bool = False, quiet: bool = False) -> None:
    """Sets what is shown on stderr.

    Normally the project's own information, warnings and errors; `quiet` leaves out information;
    `verbose` adds details, tracebacks, and what the libraries below have to say.
    """
    level = logging.DEBUG if verbose else logging.WARNING if quiet else logging.INFO
    _logger.setLevel(level)
    _logger.propagate = False
    if _handler not in _logger.handlers:
        _logger.addHandler(_handler)
    root = logging.getLogger()
    logging.captureWarnings(True)
    if verbose:
        for name, value in _SILENCE.items():
            if os.environ.get(name) == value:
                del os.environ[name]
        root.addHandler(_handler)
    else:
        for name, value in _SILENCE.items():
            os.environ.setdefault(name, value)
        root.removeHandler(_handler)
        # Without any handler Python would print the libraries' warnings as a last resort.
        if not root.handlers:
            root.addHandler(logging.NullHandler())
    # Started with a stream closed: its number is taken, so that no file of ours gets it.
    if sys.stdout is None:
        sys.stdout = ClosedStdout()
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        # A file name that is not UTF-8 must not stop the output; in JSON it stays a valid escape.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")


def is_verbose() -> bool:
    """Whether `-v` was given."""
    return _logger.isEnabledFor(logging.DEBUG)


def shows_progress() -> bool:
    """Whether to draw progress bars: stderr is a terminal and `-q` was not given."""
    return sys.stderr.isatty() and _logger.isEnabledFor(logging.INFO)


def error(line: str, with_traceback: bool = True) -> None:
    """Writes the one line that tells a failure; with `-v` the current traceback before it."""
    if with_traceback and is_verbose() and sys.exc_info()[0] is not None:
        print(harmless_lines(traceback.format_exc()), end="", file=sys.stderr)
    _logger.error(line)


def stdout_is_closed() -> bool:
    """Whether the reader of stdout has gone (`| head`).

    Asked of the system: after one failed flush Python forgets what was unwritten, and another one
    succeeds.
    """
    import select

    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        return bool(poll.poll(0))
    except (AttributeError, OSError, ValueError):  # no poll on Windows: nothing speaks against it
        return True


def drop_stdout() -> None:
    """Points stdout nowhere, so that the interpreter's last flush cannot fail."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def console(stderr: bool = False) -> Any:
    """A rich console on stdout or stderr; no colour and no style off a terminal or with NO_COLOR.

    Off a terminal lines are as long as they need to be, unless COLUMNS says how long.
    """
    from rich.console import Console

    plain = bool(os.environ.get("NO_COLOR"))
    console = Console(stderr=stderr, highlight=False, color_system=None if plain else "auto")
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = 1000
    elif console.width < _NARROWEST:  # COLUMNS=0 stands for a width that is not known
        console.width = _USUAL
    return console


def rendered(renderable: Any) -> str:
    """Anything rich can draw, as text for stdout."""
    out = console()
    with out.capture() as captured:
        out.print(renderable)
    return "".join(line.rstrip(" ") for line in captured.get().splitlines(keepends=True))


def prompted(blocks: Iterable[T]) -> Iterator[T]:
    """Passes on what is read from stdin; where a person types, a prompt on stderr asks for it."""
    typed = sys.stdin.isatty() and sys.stderr.isatty()
    reading = iter(blocks)
    while True:
        if typed:
            print("query> ", end="", file=sys.stderr, flush=True)
        try:
            block = next(reading)
        except StopIteration:
            if typed:
                print(file=sys.stderr)
            return
        yield block
