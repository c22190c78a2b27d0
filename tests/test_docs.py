"""The documents hold together: links lead somewhere, and format versions are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PLACES = ("*.md", "docs/*.md", ".github/*.md", "examples/*/*.md", "ngcg_cli/models/*/*.md")
PAGES = [path for pattern in PLACES for path in sorted(ROOT.glob(pattern))]


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as its hosts make them."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.strip().replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        assert target.is_relative_to(ROOT), link
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target.read_text("utf-8")), link


def test_the_version_policy_names_the_formats_as_they_are() -> None:
    from ngcg_cli import __version__
    from ngcg_cli.encoder.checkpoint import FORMAT
    from ngcg_cli.search.format import VERSION

    page = (ROOT / "docs" / "changelog.md").read_text("utf-8")
    assert f"| index | {VERSION} |" in page
    assert f"| checkpoint | {FORMAT} |" in page
    citation = (ROOT / "docs" / "CITATION.cff").read_text("utf-8")
    assert f"\nversion: {__version__}\n" in citation
