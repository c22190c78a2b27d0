"""What KML and GPX have in common: text that XML may hold, and one way to write it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

# Everything but the characters of XML 1.0, section 2.2.
_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def xml_text(value: Any) -> str:
    """A value as text in which every character may stand in XML; others become U+FFFD."""
    return _FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", str(value))


def add(
    parent: ElementTree.Element, tag: str, text: Any = None, **attributes: Any
) -> ElementTree.Element:
    """A new child with text and attributes, all of them escaped when the tree is written."""
    names = {name: xml_text(value) for name, value in attributes.items()}
    child = ElementTree.SubElement(parent, tag, names)
    if text is not None:
        child.text = xml_text(text)
    return child


def write_xml(root: ElementTree.Element, path: Path) -> None:
    """The tree as UTF-8, indented, with a declaration."""
    ElementTree.indent(root)
    ElementTree.ElementTree(root).write(path, encoding="UTF-8", xml_declaration=True)
