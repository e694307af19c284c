"""Packages of plug-ins as pip would leave them, for tests."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path


def on_path(folder: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(folder)}


def pip_install(source: Path, site: Path) -> Path:
    """The folder ``site`` of packages, with the one in ``source`` put there by pip."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--target", site, source]
    subprocess.run(pip, check=True, timeout=120)
    return site


def blocks(text: str) -> dict[str, str]:
    """The code blocks of a docstring by the file that is named before each; of a nameless one, by ``""``."""
    lines, found, name = textwrap.dedent(f"    {text}").splitlines(), {}, ""
    for number, line in enumerate(lines):
        if line.endswith("::"):
            name = match[1] if (match := re.search(r"``(\S+)``::$", line)) else ""
            code = itertools.takewhile(lambda line: not line or line.startswith(" "), lines[number + 1 :])
            found[name] = textwrap.dedent("\n".join(code))
    return found


def fake_package(folder: Path, name: str, code: str, group: str = "pgen.models", attribute: str = "") -> None:
    """What pip would leave behind of a one-module plug-in called ``name``."""
    (folder / f"{name}_module.py").write_text(code)
    info = folder / f"{name}-2.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 2.0\n")
    (info / "entry_points.txt").write_text(f"[{group}]\n{name} = {name}_module{':' * bool(attribute)}{attribute}\n")


def written(folder: Path, files: dict[str, str]) -> Path:
    """The folder, with these files in it."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder
