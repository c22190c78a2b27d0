"""Writes each command's `--help` into `docs/commands.md`, between the marks it finds there, and the
table of `ngcg train`'s options into `docs/training.md`.

Run it after a change of options: `python docs/update_commands.py`. A test fails when it is due, and
when a command has no place in the document.
"""

from __future__ import annotations

import re
from dataclasses import MISSING
from pathlib import Path

import typer

from ngcg_cli.app import app
from ngcg_cli.training.settings import TrainSettings, settings_of

DOCUMENT = Path(__file__).with_name("commands.md")
TRAINING = Path(__file__).with_name("training.md")
_TABLE = re.compile(r"(?<=<!-- options -->\n).*?(?=<!-- end -->)", re.DOTALL)
_MARKED = re.compile(r"<!-- help: (?P<path>[a-z -]+) -->\n.*?<!-- end -->", re.DOTALL)


def help_texts() -> dict[str, str]:
    """What `--help` prints, by command path (`ngcg`, `ngcg index`, ...), for 80 columns."""
    root = typer.main.get_command(app)
    top = root.make_context("ngcg", [], resilient_parsing=True, terminal_width=80)
    texts = {"ngcg": root.get_help(top)}
    for name in root.list_commands(top):
        command = root.get_command(top, name)
        ctx = command.make_context(name, [], parent=top, resilient_parsing=True)
        texts[f"ngcg {name}"] = command.get_help(ctx)
    return texts


def updated(document: str, texts: dict[str, str]) -> str:
    """The document with fresh help texts.

    Raises:
        ValueError: a command has no marks in the document, or marks have no command.
    """
    marked = {match["path"] for match in _MARKED.finditer(document)}
    if marked != texts.keys():
        raise ValueError(f"commands without marks, or the reverse: {marked ^ texts.keys()}")

    def block(match: re.Match[str]) -> str:
        path = match["path"]
        return f"<!-- help: {path} -->\n```text\n$ {path} --help\n{texts[path]}\n```\n<!-- end -->"

    return _MARKED.sub(block, document)


def with_table(document: str) -> str:
    """The document with a fresh table of the options of `ngcg train` that have a default."""
    rows = ["| option | default | source |", "|---|---|---|"]
    for setting in settings_of(TrainSettings):
        default, told = setting.default, setting.told
        if told.shown is None and (default is MISSING or default in (None, (), "auto")):
            continue  # nothing was chosen
        if isinstance(default, bool):
            default = "on" if default else "off"
        shown = told.shown or (f"{default:g}" if isinstance(default, float) else default)
        rows.append(f"| `{setting.option}` | {shown} | {told.source} |")
    return _TABLE.sub("\n".join(rows) + "\n", document)


if __name__ == "__main__":
    DOCUMENT.write_text(updated(DOCUMENT.read_text("utf-8"), help_texts()), "utf-8")
    TRAINING.write_text(with_table(TRAINING.read_text("utf-8")), "utf-8")
