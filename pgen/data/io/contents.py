"""What a file holds, whether or not it can be opened as images without a choice."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from pgen.data.formats import detect_format
from pgen.data.formats.base import wrap_read_errors
from pgen.utils.paths import walk


def list_contents(path: Path, name: str) -> dict[str, str]:
    """List what a file or folder holds, and how much of each.

    Returns:
        Trees of ROOT files, tables and datasets of HDF5, arrays, or the endings of a folder's
        files.
    """
    format = None if path.is_dir() else detect_format(path, name)
    if format is None or format.contents is None:
        endings = Counter(file.suffix or "no ending" for file in walk(path))
        return {ending: f"{count} file{'s' * (count > 1)}" for ending, count in sorted(endings.items())}
    with wrap_read_errors(name, format.name):
        return format.contents(path, name)
