"""The fenced blocks of the documentation, and the commands in them.

An HTML comment on the line before a block says what is done with it: ``<!-- checked: why -->`` parses its pgen commands instead of
running them, ``<!-- not run: why -->`` leaves it alone, ``<!-- file: PATH -->`` writes it to that file, where the page's commands run.
"""

from __future__ import annotations

import itertools
import os
import re
import shlex
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
SHELL = ("", "sh", "bash")
LAUNCHERS = ("torchrun", "srun", "python")
#: Pages that are not of the documentation, and what is done with their shell blocks that have no comment of their own.
ELSEWHERE = {
    "CONTRIBUTING.md": ("not run", "it is for a checkout of pgen"),
    "examples/pgen-dcgan/README.md": ("checked", "it installs a package, and takes minutes"),
}

_FENCE = re.compile(r"^(\s*)```(\w*)(.*)$")
_MARKER = re.compile(r"^\s*<!-- (checked|not run|file): (\S.*) -->$")
_SNIPPET = re.compile(r'^--8<-- "(.+)"$', re.MULTILINE)
_BREAKS = re.compile(r"^[;&|()<>]+$")


@dataclass(frozen=True)
class Block:
    """marker: ``checked``, ``not run``, ``file`` or empty; told: what it says after the colon."""

    page: Path
    line: int
    language: str
    code: str
    marker: str
    told: str

    @property
    def where(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    def commands(self) -> list[list[str]]:
        """The words of each simple command of a shell block."""
        found = []
        for line in self.code.replace("\\\n", " ").splitlines():
            lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|()<>")
            lexer.whitespace_split = True
            for between, words in itertools.groupby(lexer, lambda word: bool(_BREAKS.match(word)) or word in ("do", "done")):
                if not between:
                    found.append(list(words))
        return found

    def of_pgen(self) -> list[list[str]]:
        """The arguments of each pgen command, whatever launches it."""
        return [words[words.index("pgen") + 1 :] for words in self.commands() if words[0] in ("pgen", *LAUNCHERS) and "pgen" in words]


def pages() -> list[Path]:
    found = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md"), *ROOT.glob("examples/*/README.md")]
    return sorted(path for path in found if path.is_file())


def blocks(page: Path) -> Iterator[Block]:
    lines = page.read_text().splitlines()
    number = 0
    while number < len(lines):
        if opening := _FENCE.match(lines[number]):
            marker = _MARKER.match(lines[number - 1]) if number else None
            closing = next(n for n in range(number + 1, len(lines)) if lines[n].strip() == "```")
            code = "\n".join(line.removeprefix(opening[1]) for line in lines[number + 1 : closing]) + "\n"
            code = _SNIPPET.sub(lambda found: (ROOT / "docs" / found[1]).read_text(), code)
            usual = ELSEWHERE.get(str(page.relative_to(ROOT)), ("", "")) if opening[2] in SHELL else ("", "")
            yield Block(page, number + 1, opening[2], code, *(marker.groups() if marker else usual))
            number = closing
        number += 1


def installed(*parents: Path, site: Path) -> dict[str, str]:
    """An environment in which every package in these folders is found, as after ``pip install -e``, without what that takes."""
    found = [site]
    for path in (path for parent in parents for path in sorted(parent.glob("*/pyproject.toml"))):
        project = tomllib.loads(path.read_text())["project"]
        info = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
        info.mkdir(parents=True, exist_ok=True)
        about = f"Name: {project['name']}\nVersion: {project['version']}\nSummary: {project.get('description', '')}\n"
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\n{about}")
        groups = project["entry-points"].items()
        points = (f"[{group}]\n" + "\n".join(f"{name} = {value}" for name, value in each.items()) for group, each in groups)
        (info / "entry_points.txt").write_text("\n".join(points) + "\n")
        found.append(path.parent)
    python = os.pathsep.join(map(str, (ROOT, *found)))
    return {**os.environ, "PYTHONPATH": python}
