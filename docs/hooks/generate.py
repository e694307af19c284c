"""Write the generated tables into docs/, between `<!-- generated: NAME -->` and `<!-- end -->`.

    python docs/hooks/generate.py            # rewrites the pages that are out of date
    python docs/hooks/generate.py --check    # names them instead, with exit code 1

The tables come from the command line's own objects and from the files in benchmarks/results.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import benchmark_tables
import command_tables
import comparison_tables

DOCS = Path(__file__).parents[1]
PARTS: dict[str, Callable[[], str]] = {**command_tables.PARTS, **benchmark_tables.PARTS, **comparison_tables.PARTS}

_PART = re.compile(r"^<!-- generated: (.+?) -->\n(.*?)^<!-- end -->$", re.MULTILINE | re.DOTALL)


def render_page(text: str) -> str:
    """Return the page with every generated part made anew."""
    return _PART.sub(lambda match: f"<!-- generated: {match[1]} -->\n\n{_make_part(match[1])}\n\n<!-- end -->", text)


def _make_part(name: str) -> str:
    return re.sub(r"\n{3,}", "\n\n", PARTS[name]().strip())


def find_outdated_pages() -> dict[Path, str]:
    """Return the pages whose generated parts are out of date, with what they should be."""
    pages = {path: render_page(path.read_text(encoding="utf-8")) for path in sorted(DOCS.rglob("*.md"))}
    return {path: text for path, text in pages.items() if text != path.read_text(encoding="utf-8")}


def main() -> None:
    check = "--check" in sys.argv[1:]
    pages = find_outdated_pages()
    for path, text in pages.items():
        print(f"{'out of date' if check else 'written'}: {path.relative_to(DOCS.parent)}")
        if not check:
            path.write_text(text, encoding="utf-8")
    raise SystemExit(1 if check and pages else 0)


if __name__ == "__main__":
    main()
