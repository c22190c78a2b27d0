"""`--pictures`: the hits' pictures in the terminal, side by side."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TextIO

from ngcg_cli.errors import NgcgError, RasterError, UsageError
from ngcg_cli.output import terminal
from ngcg_cli.output.pictures import Picture, Pictures
from ngcg_cli.output.table import hits_table

if TYPE_CHECKING:
    from PIL.Image import Image

    from ngcg_cli.journeys.querying import Answer

logger = logging.getLogger(__name__)

# Of a picture: cells of the terminal, and pixels; a cell is about twice as high as wide.
CELLS = 24
SIDE = 240
GAP = 8


def check_pictures(stdout: TextIO) -> None:
    """See that pictures can be shown.

    Raises:
        UsageError: stdout is no terminal.
        NgcgError: the package that draws them is missing; the pip command is named.
    """
    if not stdout.isatty():
        raise UsageError(
            "--pictures draws on a terminal, and standard output is none",
            hint="Use -o hits.html or --crops DIR.",
        )
    if find_spec("textual_image") is None:
        raise NgcgError(
            "--pictures needs the package textual-image", hint="pip install 'ngcg[pictures]'"
        )


def with_pictures(answers: Iterable[Answer], fetch: bool = False) -> Iterator[str]:
    """Each answer's table, then its pictures in rows, by the best that the terminal can.

    Sixel or kitty's protocol where it says that it knows them, else half blocks in colour. For
    `fetch` see `Pictures`.
    """
    from rich.text import Text
    from textual_image.renderable import Image as Drawn

    with Pictures(fetch) as pictures:
        for query, hits in answers:
            if not hits:
                continue
            yield hits_table(query, hits)
            width = terminal.console().width
            count = max(1, (width + 1) // (CELLS + 1))
            for start in range(0, len(hits), count):
                row = hits[start : start + count]
                captions = [f"#{hit.rank}  {hit.score:.3f}".ljust(CELLS + 1) for hit in row]
                yield terminal.rendered(Text("".join(captions).rstrip()[:width]))
                cut = [_picture(pictures, hit) for hit in row]
                cells = min(width, len(row) * (CELLS + 1) - 1)
                yield _drawn(Drawn(sheet(cut), width=cells, height="auto"))
            yield "\n"


def sheet(pictures: list[Picture | None]) -> Image:
    """Pictures side by side as one image, each with the outline of its tile."""
    from PIL import Image, ImageDraw

    count = len(pictures)
    whole = Image.new("RGB", (count * (SIDE + GAP) - GAP, SIDE), (30, 34, 40))
    for at, picture in enumerate(pictures):
        if picture is None:
            continue
        image = Image.fromarray(picture.pixels)
        scale = SIDE / max(image.size)
        image = image.resize([max(1, round(side * scale)) for side in image.size])
        left, top, width, height = picture.outline
        corners = (left * image.width, top * image.height)
        ends = ((left + width) * image.width - 1, (top + height) * image.height - 1)
        ImageDraw.Draw(image).rectangle((corners, ends), outline=(255, 255, 255), width=2)
        whole.paste(image, (at * (SIDE + GAP), 0))
    return whole


def _picture(pictures: Pictures, hit: Any) -> Picture | None:
    try:
        return pictures.of(hit, SIDE)
    except RasterError as error:
        logger.warning("no picture of hit %d: %s", hit.rank, error)
        return None


def _drawn(image: Any) -> str:
    """Not `terminal.rendered`: the sequences that carry an image must pass as they are."""
    console = terminal.console()
    with console.capture() as captured:
        console.print(image)
    return captured.get()
