"""The commands: each parses, calls one thing below, and renders.

A command module imports only typer and light modules at its top; the work is imported inside the
command, so that `ngcg --help` stays quick.
"""

from __future__ import annotations

from collections.abc import Callable

from ngcg_cli.commands.calibrate import calibrate
from ngcg_cli.commands.caption import caption
from ngcg_cli.commands.evaluate import evaluate
from ngcg_cli.commands.export import export
from ngcg_cli.commands.index import index
from ngcg_cli.commands.info import info
from ngcg_cli.commands.merge import merge
from ngcg_cli.commands.models import models
from ngcg_cli.commands.push import push
from ngcg_cli.commands.query import query
from ngcg_cli.commands.remove import remove
from ngcg_cli.commands.serve import serve
from ngcg_cli.commands.train import train

# In the order `ngcg --help` lists them.
COMMANDS: dict[str, Callable[..., None]] = {
    "index": index,
    "query": query,
    "serve": serve,
    "info": info,
    "remove": remove,
    "merge": merge,
    "caption": caption,
    "train": train,
    "eval": evaluate,
    "calibrate": calibrate,
    "export": export,
    "push": push,
    "models": models,
}
