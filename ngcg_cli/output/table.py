"""Hits for people: one line per hit, however narrow the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ngcg_cli.output import terminal
from ngcg_cli.plain import harmless

if TYPE_CHECKING:
    from ngcg_cli.search import Hit

# Narrower terminals get no pixel windows, and places to a metre rather than to a centimetre.
WITH_WINDOWS = 100
LEAST_NAME = 12
# Hits whose tiles differ by more than this factor have the tile's side on the ground beside them.
_SCALES = 1.25


def hits_table(query: str, hits: Sequence[Hit]) -> str:
    """The question, then one line per hit; names are relative to their folder where that is needed.

    What does not fit is cut in its middle: names differ in their ends. Where hits are explained,
    the sentences follow, a line each.
    """
    from rich.table import Table
    from rich.text import Text

    width = terminal.console().width
    windows = width >= WITH_WINDOWS
    digits = 7 if width >= 80 else 5
    # Tiles of one raster's grid differ by centimetres; of a pyramid's levels by a factor.
    sides = [hit.tile_m for hit in hits]
    scales = max(sides, default=0) > _SCALES * min(sides, default=0)
    sure = any(getattr(hit, "confidence", None) is not None for hit in hits)
    rows = []
    for hit in hits:
        cells = [str(hit.rank), f"{hit.score:.3f}"]
        if sure:
            confidence = getattr(hit, "confidence", None)
            cells.append("" if confidence is None else f"{confidence:.2f}")
        if scales:
            cells.append(f"{hit.tile_m:.0f} m")
        cells += [f"{hit.lat:.{digits}f}", f"{hit.lon:.{digits}f}"]
        if windows:
            column, row, across, down = hit.window
            cells.append(f"{column},{row} {across}x{down}")
        rows.append(cells)
    headings = ["#", "score", *(["conf"] if sure else []), *(["tile"] if scales else [])]
    headings += ["lat", "lon"]
    headings += ["window"] if windows else []
    taken = sum(
        max(len(heading), *(len(cells[at]) for cells in rows)) + 2
        for at, heading in enumerate(headings)
    )
    room = max(LEAST_NAME, width - taken)
    names = [harmless(hit.source) for hit in hits]
    folder = ""
    if max(map(len, names)) > room:
        folder, names = relative(names)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "window" else "right", no_wrap=True)
    table.add_column("source", no_wrap=True)
    for cells, name in zip(rows, names, strict=True):
        table.add_row(*cells, Text(shortened(name, room)))
    above = [shortened(harmless(query), width)]
    if folder:
        above.append(shortened(f"in {folder}", width))
    head = "".join(terminal.rendered(Text(line, style="italic")) for line in above)
    why = "".join(
        f"{hit.rank:>{len(rows[-1][0])}}  {harmless(hit.explanation)}\n"
        for hit in hits
        if getattr(hit, "explanation", None)
    )
    return head + terminal.rendered(table) + (f"\n{why}" if why else "")


def relative(names: Sequence[str]) -> tuple[str, list[str]]:
    """The folder that all lie in, and their names from there; empty where they share none."""
    parts = [name.split("/") for name in names]
    shared = 0
    while all(len(part) > shared + 1 for part in parts) and len({p[shared] for p in parts}) == 1:
        shared += 1
    folder = "/".join(parts[0][:shared])
    return folder or ("/" if shared else ""), ["/".join(part[shared:]) for part in parts]


def shortened(text: str, width: int) -> str:
    """At most `width` cells wide; what is too long loses its middle to an ellipsis."""
    from rich.cells import cell_len, chop_cells

    if cell_len(text) <= width:
        return text
    front = (width - 1) // 3
    back = width - 1 - front
    head = chop_cells(text, front)[0] if front else ""
    tail = chop_cells(text[::-1], back)[0][::-1] if back else ""
    return f"{head}…{tail}"
