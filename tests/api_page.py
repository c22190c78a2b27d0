"""Runs the Python snippets of docs/api.md from top to bottom, in a folder with what they name.

A test does so here. `python tests/api_page.py FOLDER` does so with the package that is installed:
`tests/bench/fresh_wheel.sh` calls it in an environment that holds the wheel and nothing else.
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "api.md"
SIDE = 500  # pixels of the drawn town: some tens of tiles


def prepare(folder: Path) -> None:
    """Puts a piece of the drawn town and four captioned pictures of it into a folder."""
    import rasterio
    from PIL import Image
    from rasterio.windows import Window

    window = Window(0, 0, SIDE, SIDE)  # type: ignore[call-arg]
    with rasterio.open(ROOT / "examples" / "town" / "region.tif") as town:
        pixels = town.read((1, 2, 3), window=window)
        profile = {**town.profile, "width": SIDE, "height": SIDE}
        with rasterio.open(folder / "region.tif", "w", **profile) as region:
            region.write(pixels)
    picture = Image.fromarray(pixels.transpose(1, 2, 0))
    rows = []
    for number in range(4):
        left, top = 200 * (number % 2), 200 * (number // 2)
        picture.crop((left, top, left + 200, top + 200)).save(folder / f"{number}.png")
        rows.append({"image": f"{number}.png", "captions": [f"picture number {number}"]})
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def run_snippets() -> dict[str, Any]:
    """Runs them in the working directory; returns the names that they leave."""
    names: dict[str, Any] = {}
    snippets = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    for snippet in snippets:
        exec(compile(snippet, str(PAGE), "exec"), names)
    return {**names, "snippets": len(snippets)}


if __name__ == "__main__":
    prepare(Path(sys.argv[1]))
    os.chdir(sys.argv[1])
    print(run_snippets()["snippets"], "snippets of", PAGE.name, "run")
