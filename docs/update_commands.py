"""Writes each command's `--help` into `docs/commands.md`, between the marks it finds there.

Run it after a change of options: `python docs/update_commands.py`. A test fails when it is due, and
when a command has no place in the document.
"""

from __future__ import annotations

import re
from pathlib import Path

import typer

from ngcg_cli.app import app

DOCUMENT = Path(__file__).with_name("commands.md")
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


if __name__ == "__main__":
    DOCUMENT.write_text(updated(DOCUMENT.read_text("utf-8"), help_texts()), "utf-8")
