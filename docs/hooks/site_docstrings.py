"""Docstrings, which are plain text with a little reStructuredText and Google's sections, as Markdown."""

from __future__ import annotations

import inspect
import re

_ROLE = re.compile(r":\w+:`~?(?:[\w.]+\.)?(\w+)`")
_SECTION = re.compile(r"^(Args|Attributes|Returns|Raises):$")
#: `name: what it is` at the beginning of a line or a sentence, one level below a section's title.
_ENTRY = re.compile(r"^    (\w+): ")
_LANGUAGES = {"[": "toml"}


def markdown_of(docstring: str | None) -> str:
    lines = inspect.cleandoc(docstring or "").splitlines()
    found: list[str] = []
    section = False
    while lines:
        line = lines.pop(0)
        if line.endswith("::"):
            found += [_inline(line[:-1]), "", *_block(lines), ""]
        elif title := _SECTION.match(line):
            section = True
            found += ["", f"*{title[1]}*", ""]
        elif section and (entry := _ENTRY.match(line)):
            found.append(_inline(f"- `{entry[1]}`: {line[entry.end() :]}"))
        else:
            section = section and (not line or line.startswith("    "))
            found.append(_inline("  " + line.strip() if section and line else line.strip()))
    return "\n".join(found)


def _block(lines: list[str]) -> list[str]:
    """The indented lines that follow, taken away, as a fenced block."""
    taken: list[str] = []
    while lines and (not lines[0].strip() or lines[0].startswith("    ")):
        taken.append(lines.pop(0))
    code = inspect.cleandoc("\n" + "\n".join(taken)).strip("\n")
    return [f"```{_LANGUAGES.get(code[:1], 'python')}", code, "```"]


def _inline(line: str) -> str:
    return _ROLE.sub(r"`\1`", line).replace("``", "`")
