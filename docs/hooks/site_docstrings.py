"""Docstrings, which are plain text with a little reStructuredText and Google's sections, as Markdown."""

from __future__ import annotations

import inspect
import re

_ROLE = re.compile(r":\w+:`~?(?:[\w.]+\.)?(\w+)`")
_SECTION = re.compile(r"^(Args|Attributes|Returns|Raises):$")
#: `name: what it is` at the beginning of a line or a sentence, one level below a section's title.
_ENTRY = re.compile(r"^    (\w+): ")
#: `name: what it is. other: what that is.` in one paragraph, as pgen's own docstrings have it.
_TOLD = re.compile(r"(?:^|(?<=\. ))((?:[a-z_]+, )*[a-z_]+): ")
_SPLIT = "\n\n"
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
    return _SPLIT.join(map(_listed, "\n".join(found).split(_SPLIT)))


def _listed(paragraph: str) -> str:
    """A paragraph that tells of one name after the other, as a list."""
    line = " ".join(paragraph.split("\n"))
    return (
        _TOLD.sub(lambda found: f"\n- `{found[1].replace(', ', '`, `')}`: ", line).lstrip("\n")
        if _TOLD.match(line) and "```" not in line
        else paragraph
    )


def _block(lines: list[str]) -> list[str]:
    """The indented lines that follow, taken away, as a fenced block."""
    taken: list[str] = []
    while lines and (not lines[0].strip() or lines[0].startswith("    ")):
        taken.append(lines.pop(0))
    code = inspect.cleandoc("\n" + "\n".join(taken)).strip("\n")
    return [f"```{_LANGUAGES.get(code[:1], 'python')}", code, "```"]


def _inline(line: str) -> str:
    return _ROLE.sub(r"`\1`", line).replace("``", "`")
