"""The rooms of `docs/architecture.md`: all are told of, none imports upward, no circle stands."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[1]
PACKAGE = HOUSE / "ngcg_cli"
MOST_LINES = 400


def modules() -> dict[str, Path]:
    """Dotted name -> file of each module of the package."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(HOUSE).with_suffix("").parts
        found[".".join(parts).removesuffix(".__init__")] = path
    return found


def imports(name: str, files: dict[str, Path], types: bool) -> Iterator[str]:
    """The package's modules that one imports, wherever in it, also late; `types`: for types too."""
    tree = ast.parse(files[name].read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING" and not types:
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            asked = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: imports are absolute"
            whole = f"{node.module}."
            # Anyone may ask the package for its version; that imports nothing more.
            names = [alias.name for alias in node.names if alias.name != "__version__"]
            inner = [whole + one for one in names if whole + one in files]
            asked = inner + [whole[:-1]] * (len(inner) < len(names))
        else:
            continue
        yield from (one for one in asked if one in files and one != name)


def room(name: str) -> str:
    return name.split(".")[1] if "." in name else "__init__"


def told() -> list[str]:
    """The rooms in the order of the page, top first."""
    text = (HOUSE / "docs" / "architecture.md").read_text(encoding="utf-8")
    block = text.split("```")[1].partition("ngcg_cli/\n")[2].partition("\nexamples/")[0]
    return re.findall(r"^  (\w+)(?:\.py|/)", block, re.MULTILINE)


def test_the_page_tells_of_every_room() -> None:
    rooms = {room(name) for name in modules()} - {"__main__"}
    assert sorted(rooms) == sorted(set(told()) - {"models"})


def test_no_room_imports_upward() -> None:
    files, order = modules(), told()
    height = {name: -at for at, name in enumerate(order)} | {"__main__": 1}
    upward = [
        f"{name} imports {other}"
        for name in files
        for other in imports(name, files, types=True)
        if height[room(other)] > height[room(name)]
    ]
    assert upward == []


def test_no_circle() -> None:
    """Late imports count: they hide a circle from Python, not from who reads."""
    files = modules()
    graph = {name: set(imports(name, files, types=False)) for name in files}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_no_long_file() -> None:
    files = [
        path
        for room in ("ngcg_cli", "tests", "examples", "docs")
        for kind in ("*.py", "*.sh", "*.js", "*.css")
        for path in (HOUSE / room).rglob(kind)
    ]
    lines = {path: path.read_text(encoding="utf-8").count("\n") for path in files}
    assert len(lines) > len(modules())
    assert {path: count for path, count in lines.items() if count > MOST_LINES} == {}
