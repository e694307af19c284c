"""Paths as users type them: ``~``, patterns, hidden files, links, addresses of remote files."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from glob import escape, glob, has_magic
from pathlib import Path
from typing import Any

from pgen.errors import DataError

#: The folder that macOS adds to archives.
MACOS_DEBRIS = "__MACOSX"


def natural_key(text: str) -> list[tuple[int, str]]:
    """Return a key that sorts "2.png" before "10.png"."""
    # ASCII digits, compared as text: str.isdigit accepts superscripts, which int rejects, and int
    # takes at most 4,300 digits.
    parts = re.split("0*([0-9]+)", text)
    return [(len(part), part) if k % 2 else (-1, part) for k, part in enumerate(parts)]


def list_numbered_files(folder: Path, name: str) -> list[Path]:
    """Return the files ``name_<i>.npy`` of a folder, sorted by i."""
    files = [(int(match[1]), path) for path in folder.iterdir() if (match := re.fullmatch(rf"{name}_([0-9]+)\.npy", path.name))]
    return [path for _, path in sorted(files)]


def expand(path: str | os.PathLike[str]) -> Path:
    """Expand ``~`` and ``~user``, which a shell does not do in ``--out=~/x``.

    Raises:
        DataError: There is no such user, or the path has a null character or is the address of a
            remote file.
    """
    text = os.fspath(path)
    if "\0" in text:
        raise DataError(f"{text!r} has a null character, which paths may not have.")
    if is_remote(path):
        raise DataError(f"{text} is the address of a remote file. Copy it to this machine first and give the path of the copy.")
    expanded = os.path.expanduser(text)  # noqa: PTH111 - Path.expanduser raises RuntimeError for an unknown user
    if expanded.startswith("~") and not os.path.lexists(expanded):
        user = expanded.partition("/")[0]
        raise DataError(f"{text}: there is no user {user[1:]!r} on this machine. For a file or folder of that name, write ./{user}.")
    return Path(expanded)


def is_remote(path: str | os.PathLike[str]) -> bool:
    """Return whether a path is an address such as ``root://host//x.root``, and not a local file."""
    slashes = "//" if isinstance(path, str) else "/"  # Path reduces two slashes to one
    address = re.match(rf"([A-Za-z][A-Za-z0-9+.-]+:){slashes}", os.fspath(path))
    return address is not None and not os.path.lexists(address[1])


def expand_option(value: Any) -> Any:
    """Expand ``~`` in the value of a command-line option: a path, text, a list of them, or None."""
    if value is None:
        return None
    if isinstance(value, list | tuple):
        return [expand_option(item) for item in value]
    return expand(value) if isinstance(value, Path) else expand_text(value)


def expand_text(text: str) -> str:
    """Expand ``~`` in a path or at the start of a source, and keep the rest as typed."""
    expand(text)
    return os.path.expanduser(text)  # noqa: PTH111 - Path would drop the leading "./"


def find_matches(pattern: str, folder: Path | None = None) -> list[Path]:
    """Find the files and folders that match a pattern.

    Args:
        pattern: A pattern of :mod:`glob`. ``**`` also enters folders behind links, each of them
            once. Leading folders that exist as typed, including brackets, are not part of the
            pattern.
        folder: Where relative patterns start; by default the working directory.

    Returns:
        The paths in natural order; none if ``pattern`` has no wildcard.
    """
    if not has_magic(pattern):
        return []
    start, parts = Path() if folder is None else folder, Path(pattern).parts
    while len(parts) > 1 and os.path.lexists(start / parts[0]):
        start, parts = start / parts[0], parts[1:]
    if "**" in parts:
        matches = [path for path in walk(start, folders=parts[-1] != "**") if _is_match(path.relative_to(start).parts, parts)]
    else:
        matches = [Path(name) for name in glob(os.path.join(escape(str(start)), *parts))]  # noqa: PTH118, PTH207 - escaped text
        # glob itself skips names with a leading dot, unless the pattern has one too.
        matches = [path for path in matches if MACOS_DEBRIS not in path.relative_to(start).parts]
    return sorted(matches, key=lambda path: natural_key(str(path)))


def _is_match(names: tuple[str, ...], parts: tuple[str, ...]) -> bool:
    """Return whether the parts of a path match a pattern; ``**`` matches any number of folders."""
    if not parts:
        return not names
    if parts[0] == "**":
        return _is_match(names, parts[1:]) or (bool(names) and _is_match(names[1:], parts))
    return bool(names) and fnmatchcase(names[0], parts[0]) and _is_match(names[1:], parts[1:])


def is_hidden(name: str) -> bool:
    """Return whether a name is hidden, as names of editors, notebooks, git and macOS are."""
    return name.startswith(".") or name == MACOS_DEBRIS


def walk(folder: Path, *, folders: bool = False) -> Iterator[Path]:
    """Iterate over the files below a folder that are not hidden.

    Links to folders are followed, but no folder is entered twice: links can form a circle.

    Args:
        folder: The folder.
        folders: Yield folders as well.
    """
    entered = {os.path.realpath(folder)}
    for place, names, files in os.walk(folder, followlinks=True):
        visible = []
        for name in sorted(names, key=lambda name: (Path(place, name).is_symlink(), natural_key(name))):
            target = os.path.realpath(Path(place, name))
            if not is_hidden(name) and target not in entered:
                entered.add(target)
                visible.append(name)
        names[:] = visible
        yield from (Path(place, name) for name in [*files, *(visible if folders else [])] if not is_hidden(name))
