"""The Typer app: joins the commands and turns every ending into an exit status.

Nothing heavy is imported here or at the top of a command module, so `ngcg --help` is quick.

Exit status: 0 done, 1 failed, 2 wrong usage, 3 done in part, 130 interrupted.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import re
import signal
import sys
from collections.abc import Iterator, Sequence
from typing import Annotated

import typer

from ngcg_cli import __version__
from ngcg_cli.commands import COMMANDS
from ngcg_cli.commands.options import with_common_options
from ngcg_cli.errors import NgcgError, UsageError
from ngcg_cli.output import terminal

INTERRUPTED = 130
# How torch says it, on any device.
_NO_MEMORY = re.compile(r"can't allocate memory|out of memory|not enough memory|bad_alloc")
_DISK_TROUBLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)

# Plain help instead of rich panels: it halves the time `--help` takes and copies well into docs.
app = typer.Typer(name="ngcg", rich_markup_mode=None, pretty_exceptions_enable=False)


def _print_version(value: bool) -> None:
    if value:
        typer.echo(f"ngcg {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
@with_common_options
def ngcg(
    ctx: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Find places by description: overhead imagery in, coordinates out.

    \b
    Example:
      ngcg index region.tif
      ngcg query "many planes are parked next to a long building in an airport"
    """
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help(), err=True)
        raise typer.Exit(2)


for _name, _function in COMMANDS.items():
    app.command(_name)(with_common_options(_function))


def main() -> None:
    """Entry point of `ngcg` and `python -m ngcg_cli`."""
    try:
        status = run(sys.argv[1:])
    except KeyboardInterrupt:  # once more, while the first was being told
        status = INTERRUPTED
    if status == INTERRUPTED:
        # Python would wait for threads, and tell a further Ctrl-C as a traceback. What was written
        # is complete: commits are renames.
        os._exit(status)
    # Nothing is left to be collected that the end of the process does not free: going through all
    # objects of torch once more takes a second.
    gc.disable()
    gc.freeze()
    sys.exit(status)


def run(args: Sequence[str]) -> int:
    """Runs one command line and returns its exit status; nothing but SystemExit's kin escapes.

    Args:
        args: the words after `ngcg`.
    """
    terminal.configure()
    if "_NGCG_COMPLETE" in os.environ:  # the shell asks for completions
        app(args=list(args), prog_name="ngcg")
    # Not `app(...)`: that would swallow a closed pipe and word usage errors over several lines.
    command = typer.main.get_command(app)
    try:
        _refuse_empty(args)
        with command.make_context("ngcg", list(args)) as ctx:
            command.invoke(ctx)
        return _flushed(0)
    except typer.Exit as ending:
        return _flushed(ending.exit_code)
    except NgcgError as error:
        return _failed(str(error), error.exit_code)
    except typer.TyperException as error:
        return _failed(_usage_line(error), error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        with _deaf_to_interrupts():
            return _failed("interrupted", INTERRUPTED)
    except BrokenPipeError as error:
        return _flushed(0) if terminal.stdout_is_closed() else _crashed(error)
    except SystemExit:
        raise
    except BaseException as error:  # a panic of a Rust library is no `Exception`
        reason = _known_reason(error)
        return _crashed(error) if reason is None else _failed(reason, 1)


def _refuse_empty(args: Sequence[str]) -> None:
    """An empty word would stand for the folder one is in, or for no filter at all."""
    for before, word in zip(("", *args), args, strict=False):
        name, equals, value = word.partition("=")
        if not word or (name.startswith("--") and equals and not value):
            named = name or before
            raise UsageError(
                f"{named if named.startswith('-') else 'an argument'} is empty",
                hint="A variable that is not set? Give it a value, or leave it away; . is the "
                "folder that you are in.",
            )


@contextlib.contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """A second Ctrl-C changes nothing any more."""
    try:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    except ValueError:  # not the main thread: interrupts do not come here
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _known_reason(error: BaseException) -> str | None:
    """What the system or a library refuses, in a line; None for what nobody foresaw."""
    text = str(error)
    if isinstance(error, OSError):
        return _refused(error)
    if isinstance(error, MemoryError) or _NO_MEMORY.search(text):
        detail = f" ({next(iter(text.splitlines()))})" if text else ""
        return f"not enough memory{detail}. Try a smaller --batch-size, or free some"
    if isinstance(error, RuntimeError) and "start new thread" in text:
        return "the system starts no more threads. Raise its limit (ulimit -u), or run less at once"
    if isinstance(error, UnicodeEncodeError) and not _is_utf8(error.object):
        return f"the name {os.fsencode(error.object)!r} is not UTF-8. Rename it"
    return None


def _refused(error: OSError) -> str | None:
    try:
        os.getcwd()
    except OSError:
        return "the folder that you are in is gone. Change to another one (cd)"
    where = None if error.filename is None else os.fsdecode(error.filename)
    if error.errno in _DISK_TROUBLE:
        return f"{where or 'the output'}: cannot be written: {error.strerror}"
    if where is None or error.strerror is None:
        return None
    if not _is_utf8(where):
        return f"{where}: {error.strerror}. The name is not UTF-8: rename it"
    return f"{where}: {error.strerror}"


def _is_utf8(text: str) -> bool:
    """Whether a name can be written as UTF-8: bytes that are none come as half characters."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _flushed(status: int) -> int:
    """The exit status, once stdout has taken everything or can take no more."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:  # the reader (`| head`) has what it wanted
        terminal.drop_stdout()
    except OSError as error:
        terminal.drop_stdout()
        terminal.error(f"the output: cannot be written: {error.strerror}")
        return status or 1
    if isinstance(sys.stdout, terminal.ClosedStdout) and sys.stdout.lost:
        sys.stdout.lost = False
        terminal.error("the output: cannot be written: standard output is closed")
        return status or 1
    return status


def _failed(line: str, status: int) -> int:
    terminal.error(line, with_traceback=status == 1)
    return _flushed(status)


def _crashed(error: BaseException) -> int:
    told = " ".join(f"{type(error).__name__}: {error}".split())
    hint = "" if terminal.is_verbose() else "; run again with -v for the traceback"
    return _failed(f"internal error, {told}{hint}", 1)


def _usage_line(error: typer.TyperException) -> str:
    ctx = getattr(error, "ctx", None)
    path = ctx.command_path if ctx is not None else "ngcg"
    message = " ".join(error.format_message().split()).rstrip(".")
    message = message.replace(": Value error, ", ": ", 1)  # pydantic's word for what follows
    return f"{message}. See '{path} --help'"
