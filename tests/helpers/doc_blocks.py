"""The fenced code blocks of the documentation, and the commands in them.

An HTML comment on the line before a block says how it is tested:

* ``<!-- checked: WHY -->``: its pgen commands are parsed, not run.
* ``<!-- not run: WHY -->``: only its syntax is checked.
* ``<!-- file: PATH -->``: it is written to that file, where the commands of the page run.
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
#: Pages outside docs/ whose shell blocks have a marker by default.
DEFAULT_MARKERS = {
    "CONTRIBUTING.md": ("not run", "it is for a checkout of pgen"),
    "examples/pgen-dcgan/README.md": ("checked", "it installs a package, and takes minutes"),
}

_FENCE = re.compile(r"^(\s*)```(\w*)(.*)$")
_MARKER = re.compile(r"^\s*<!-- (checked|not run|file): (\S.*) -->$")
_SNIPPET = re.compile(r'^--8<-- "(.+)"$', re.MULTILINE)
_SEPARATOR = re.compile(r"^[;&|()<>]+$")


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        marker: ``checked``, ``not run``, ``file`` or empty.
        note: The text after the marker: the reason, or the path of the file.
    """

    page: Path
    line: int
    language: str
    code: str
    marker: str
    note: str

    @property
    def where(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    def commands(self) -> list[list[str]]:
        """The words of each simple command of a shell block."""
        commands = []
        for line in self.code.replace("\\\n", " ").splitlines():
            lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|()<>")
            lexer.whitespace_split = True
            for is_separator, words in itertools.groupby(lexer, lambda word: bool(_SEPARATOR.match(word)) or word in ("do", "done")):
                if not is_separator:
                    commands.append(list(words))
        return commands

    def pgen_commands(self) -> list[list[str]]:
        """The arguments of each pgen command, whatever launches it."""
        return [words[words.index("pgen") + 1 :] for words in self.commands() if words[0] in ("pgen", *LAUNCHERS) and "pgen" in words]


def find_pages() -> list[Path]:
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md"), *ROOT.glob("examples/*/README.md")]
    return sorted(path for path in pages if path.is_file())


def read_blocks(page: Path) -> Iterator[Block]:
    lines = page.read_text().splitlines()
    number = 0
    while number < len(lines):
        if opening := _FENCE.match(lines[number]):
            marker = _MARKER.match(lines[number - 1]) if number else None
            closing = next(n for n in range(number + 1, len(lines)) if lines[n].strip() == "```")
            code = "\n".join(line.removeprefix(opening[1]) for line in lines[number + 1 : closing]) + "\n"
            code = _SNIPPET.sub(lambda snippet: (ROOT / "docs" / snippet[1]).read_text(), code)
            default = DEFAULT_MARKERS.get(str(page.relative_to(ROOT)), ("", "")) if opening[2] in SHELL else ("", "")
            yield Block(page, number + 1, opening[2], code, *(marker.groups() if marker else default))
            number = closing
        number += 1


def environment_with_packages(*parents: Path, site: Path) -> dict[str, str]:
    """Return an environment in which every package in ``parents`` seems to be installed."""
    folders = [site]
    for path in (path for parent in parents for path in sorted(parent.glob("*/pyproject.toml"))):
        project = tomllib.loads(path.read_text())["project"]
        info = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
        info.mkdir(parents=True, exist_ok=True)
        metadata = f"Name: {project['name']}\nVersion: {project['version']}\nSummary: {project.get('description', '')}\n"
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\n{metadata}")
        groups = project["entry-points"].items()
        points = (f"[{group}]\n" + "\n".join(f"{name} = {value}" for name, value in entries.items()) for group, entries in groups)
        (info / "entry_points.txt").write_text("\n".join(points) + "\n")
        folders.append(path.parent)
    python = os.pathsep.join(map(str, (ROOT, *folders)))
    return {**os.environ, "PYTHONPATH": python}
