"""Plug-in packages as pip would install them."""

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
    """Install the package in ``source`` into the folder ``site`` with pip; return that folder."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--target", site, source]
    subprocess.run(pip, check=True, timeout=120)
    return site


def blocks(text: str) -> dict[str, str]:
    """Return the code blocks of a docstring by the file named before each, ``""`` if none is."""
    lines, code_by_file, name = textwrap.dedent(f"    {text}").splitlines(), {}, ""
    for number, line in enumerate(lines):
        if line.endswith("::"):
            name = match[1] if (match := re.search(r"``(\S+)``::$", line)) else ""
            code = itertools.takewhile(lambda line: not line or line.startswith(" "), lines[number + 1 :])
            code_by_file[name] = textwrap.dedent("\n".join(code))
    return code_by_file


def fake_package(folder: Path, name: str, code: str, group: str = "pgen.models", attribute: str = "") -> None:
    """Write a one-module plug-in called ``name`` as pip would install it."""
    (folder / f"{name}_module.py").write_text(code)
    info = folder / f"{name}-2.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 2.0\n")
    (info / "entry_points.txt").write_text(f"[{group}]\n{name} = {name}_module{':' * bool(attribute)}{attribute}\n")


def write_files(folder: Path, files: dict[str, str]) -> Path:
    """Write files, given by name, into a folder; return the folder."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder
