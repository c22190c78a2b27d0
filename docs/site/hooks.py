"""What the site adds to the documents: pages from outside `docs/`, and generated reference.

Links stay as they are written for a reader of the repository; here they are turned to the page that
the file has become. A link to a file of the repository that is no page becomes plain text; one that
leads nowhere is left for MkDocs to refuse.
"""

from __future__ import annotations

import posixpath
import re
import runpy
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

import ngcg_cli

DOCS = Path(__file__).parent.parent
ROOT = DOCS.parent

# Pages whose files lie elsewhere in the repository.
ELSEWHERE = {
    "index.md": "README.md",
    "model-card.md": "ngcg_cli/models/tiny/README.md",
    "recipe.md": "examples/tiny/README.md",
    "town.md": "examples/town/README.md",
    "ablation-scripts.md": "examples/ablations/README.md",
    "contributing.md": ".github/CONTRIBUTING.md",
}
_PAGES = {source: page for page, source in ELSEWHERE.items()}
# Brackets may hold code with brackets of its own, and an image.
_LINK = re.compile(r"(?P<image>!?)\[(?P<text>(?:[^\[\]]|\[[^\]]*\])*)\]\((?P<to>[^)\s]+)\)")
_FENCE = re.compile(r"(^```.*?^```$)", re.DOTALL | re.MULTILINE)


def on_files(files: Files, config: Any) -> Files:
    """Adds the pages from elsewhere."""
    for page, source in ELSEWHERE.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text("utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Turns the links, and adds what is generated."""
    name = page.file.src_uri
    source = ELSEWHERE.get(name, f"docs/{name}")
    parts = _FENCE.split(markdown)  # what stands between fences is code
    parts[::2] = [_turned(part, source) for part in parts[::2]]
    markdown = "".join(parts)
    if name == "api.md":
        homes = (".".join(home) for home in ngcg_cli._HOMES.values())
        markdown += "\n## Reference\n\n" + "\n\n".join(f"::: {home}" for home in homes) + "\n"
    if name == "commands.md":
        script = runpy.run_path(str(DOCS / "update_commands.py"))
        markdown = script["updated"](markdown, script["help_texts"]())
    return markdown


def _turned(text: str, source: str) -> str:
    folder = posixpath.dirname(source)

    def turn(match: re.Match[str]) -> str:
        name, hash_sign, anchor = match["to"].partition("#")
        if not name or re.match(r"[a-z]+:", name):
            return match[0]
        target = posixpath.normpath(posixpath.join(folder, name))
        if (ROOT / target).is_dir():
            target += "/README.md"
        to = _PAGES.get(target) or target.removeprefix("docs/")
        if to == target and (ROOT / target).exists():
            return match["text"]
        return f"{match['image']}[{match['text']}]({to}{hash_sign}{anchor})"

    return _LINK.sub(turn, text)
