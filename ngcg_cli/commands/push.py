"""`ngcg push`: a checkpoint to the hub."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from ngcg_cli.commands.options import JsonOption
from ngcg_cli.plain import json_text

logger = logging.getLogger(__name__)


def push(
    checkpoint: Annotated[
        Path,
        typer.Argument(
            metavar="CHECKPOINT",
            help="A folder that `ngcg train` wrote; of a run, its best.",
            show_default=False,
        ),
    ],
    repo: Annotated[
        str,
        typer.Argument(
            metavar="USER/NAME", help="The model's name at the hub.", show_default=False
        ),
    ],
    private: Annotated[
        bool, typer.Option("--private", help="If it is new there, only its owner sees it.")
    ] = False,
    revision: Annotated[
        str | None,
        typer.Option(
            "--revision", metavar="BRANCH", help="Send it to a branch.", show_default="main"
        ),
    ] = None,
    message: Annotated[
        str | None,
        typer.Option("--message", "-m", metavar="TEXT", help="What the commit says."),
    ] = None,
    licence: Annotated[
        str | None,
        typer.Option(
            "--license",
            metavar="NAME",
            help="For the card: the hub's word for a licence, such as apache-2.0.",
            show_default="none is claimed",
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Print the card, say which files would go, send nothing."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Share a checkpoint on the hub, with a card.

    Sent are the adapter or the model, its tokenizer, ngcg.json without the paths of this machine,
    metrics.jsonl and a card that is made of both; a README.md in the folder takes the card's place.
    The state of the optimiser and all else stays here. Log in once with `hf auth login`. Prints
    what others give to --model.

    \b
    Example:
      ngcg push runs/harbours me/harbours --private
      ngcg index region.tif --model me/harbours
    """
    from ngcg_cli.training.push import CARD, pack
    from ngcg_cli.training.push import push as run

    parcel = pack(checkpoint, repo, licence)
    listed = f"{len(parcel.files)} files, {parcel.bytes / 1e6:.1f} MB"
    if dry_run:
        own = parcel.files[CARD]
        typer.echo((own if isinstance(own, bytes) else own.read_bytes()).decode(), nl=False)
        logger.info("would send %s: %s", listed, ", ".join(sorted(parcel.files)))
        return
    logger.info("sending %s to %s", listed, repo)
    done = run(parcel, repo, private=private, branch=revision, message=message)
    logger.info("%s", done.url)
    typer.echo(json_text(done.as_json()) if as_json else f"{done.model}@{done.revision}")
