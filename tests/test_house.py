"""Rules about the source files that no linter checks; the layers of packages are in pyproject.toml (`lint-imports`)."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "pgen"
#: Most files side by side in one package.
MAX_FILES = 15


def test_packages_are_small() -> None:
    counts = Counter(path.parent for path in PACKAGE.rglob("*.py"))
    assert {str(folder): count for folder, count in counts.items() if count > MAX_FILES} == {}


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
    violations = []
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and opens_text(node) and "encoding" not in {keyword.arg for keyword in node.keywords}:
                violations.append(f"{path.relative_to(PACKAGE)}:{node.lineno}")
    # Metadata of an installed package is not opened as a file.
    assert [place for place in violations if not place.startswith("plugins/entry_points.py")] == []
