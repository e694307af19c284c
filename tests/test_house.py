"""Imports point downwards, as CONTRIBUTING.md draws them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

HOUSE = Path(__file__).parents[1] / "pgen"
#: Each room, and the rooms below that it may know. All know the files of pgen/ itself (errors, files, trust).
MAY_KNOW = {
    "cli": {"testing", "engine", "report", "metrics", "data", "plugins"},
    "testing": {"engine", "data", "plugins"},
    "engine": {"report", "metrics", "data", "plugins"},
    "report": {"metrics", "data"},
    "models": {"ot", "data", "plugins"},
    "metrics": {"data", "plugins"},
    "data": {"plugins"},
    "ot": set(),
    "plugins": set(),
    "presets": set(),
}


def imports(node: ast.AST) -> Iterator[str]:
    """The modules that a file imports, wherever it does; not those named for the type checker alone."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        if isinstance(child, ast.ImportFrom) and child.module:
            yield from (f"{child.module}.{alias.name}" for alias in child.names)
        elif isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        yield from imports(child)


def test_imports_point_downwards() -> None:
    rooms = {path.name for path in HOUSE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert rooms == MAY_KNOW.keys()
    wrong = []
    for room, below in MAY_KNOW.items():
        for path in (HOUSE / room).rglob("*.py"):
            for module in imports(ast.parse(path.read_text())):
                known = module.split(".")[1] if module.startswith("pgen.") else ""
                if known in rooms and known != room and known not in below:
                    wrong.append(f"{path.relative_to(HOUSE)} imports {module}")
    assert not wrong


def opens_text(call: ast.Call) -> bool:
    """Whether a call reads or writes text, as `path.read_text()` and `path.open("a")` do."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    mode = call.args[-1] if (call.args and isinstance(call.func, ast.Attribute)) or len(call.args) > 1 else None
    if name == "open":
        options = {keyword.arg for keyword in call.keywords}
        is_text = isinstance(mode, ast.Constant) and isinstance(mode.value, str) and set(mode.value) <= set("rwax+t")
        return is_text or "newline" in options or not (call.args or call.keywords)
    return name in ("read_text", "write_text")


def test_text_is_utf8_whatever_the_locale_says() -> None:
    wrong = []
    for path in HOUSE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and opens_text(node) and "encoding" not in {keyword.arg for keyword in node.keywords}:
                wrong.append(f"{path.relative_to(HOUSE)}:{node.lineno}")
    # Metadata of an installed package is no file.
    assert [place for place in wrong if not place.startswith("plugins/entries.py")] == []
