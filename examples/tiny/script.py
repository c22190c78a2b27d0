"""How the recipe's scripts end: a fault that is known is one line, not a traceback."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import typer

from ngcg_cli.errors import NgcgError
from ngcg_cli.training.loop import Interrupted


def script(main: Callable[..., Any]) -> None:
    """Run `main` on the command line's arguments."""
    try:
        typer.run(main)
    except Interrupted as error:
        print(f"{error.what}: run the same command again to go on", file=sys.stderr)
        sys.exit(error.exit_code)
    except NgcgError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:
        print(f"error: {error.filename or main.__module__}: {error.strerror}", file=sys.stderr)
        sys.exit(1)
