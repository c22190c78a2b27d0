"""The Typer app: joins the commands and turns every ending into an exit status.

Nothing heavy is imported here or at the top of a command module, so `ngcg --help` is quick.

Exit status: 0 done, 1 failed, 2 wrong usage, 3 done in part, 130 interrupted.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from ngcg_cli import __version__
from ngcg_cli.commands import COMMANDS
from ngcg_cli.commands.options import with_common_options
from ngcg_cli.errors import NgcgError
from ngcg_cli.output import terminal

INTERRUPTED = 130
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
    sys.exit(run(sys.argv[1:]))


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
        return _failed("interrupted", INTERRUPTED)
    except BrokenPipeError as error:
        return _flushed(0) if terminal.stdout_is_closed() else _crashed(error)
    except OSError as error:
        if error.errno in _DISK_TROUBLE:
            where = error.filename or "the output"
            return _failed(f"{where}: cannot be written: {error.strerror}", 1)
        return _crashed(error)
    except Exception as error:
        return _crashed(error)


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
    return status


def _failed(line: str, status: int) -> int:
    terminal.error(line, with_traceback=status == 1)
    return _flushed(status)


def _crashed(error: Exception) -> int:
    told = " ".join(f"{type(error).__name__}: {error}".split())
    hint = "" if terminal.is_verbose() else "; run again with -v for the traceback"
    return _failed(f"internal error, {told}{hint}", 1)


def _usage_line(error: typer.TyperException) -> str:
    ctx = getattr(error, "ctx", None)
    path = ctx.command_path if ctx is not None else "ngcg"
    message = " ".join(error.format_message().split()).rstrip(".")
    return f"{message}. See '{path} --help'"
