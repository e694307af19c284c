"""Paths as users type them: ``~``, patterns, folders behind links, and what is no path of this machine."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from glob import escape, glob, has_magic
from pathlib import Path
from typing import Any

from pgen.errors import PgenError
from pgen.utils.files import natural

#: The folder that macOS adds to an archive.
MACOS_DEBRIS = "__MACOSX"


def expand(path: str | os.PathLike[str]) -> Path:
    """Resolve ``~`` and ``~user``, as a shell does where it gets the chance (not in ``--out=~/x``).

    Raises:
        UserError: No such user, a null character, or the address of a remote file.
    """
    text = os.fspath(path)
    if "\0" in text:
        raise PgenError(f"{text!r}: holds a null character, which no path may.")
    if is_remote(path):
        raise PgenError(f"{text}: is the address of a remote file; copy it to this machine first and give the path of the copy.")
    resolved = os.path.expanduser(text)  # noqa: PTH111 - Path.expanduser raises RuntimeError for an unknown user
    if resolved.startswith("~") and not os.path.lexists(resolved):
        user = resolved.partition("/")[0]
        raise PgenError(f"{text}: there is no user {user[1:]!r} on this machine; for a folder or file of that name write ./{user}.")
    return Path(resolved)


def is_remote(path: str | os.PathLike[str]) -> bool:
    """Whether a path is an address such as ``root://host//store/x.root``, and nothing of that name is on this machine."""
    slashes = "//" if isinstance(path, str) else "/"  # Path makes one of two
    address = re.match(rf"([A-Za-z][A-Za-z0-9+.-]+:){slashes}", os.fspath(path))
    return address is not None and not os.path.lexists(address[1])


def expand_option(value: Any) -> Any:
    """:func:`expand` as the callback of a command-line option: of a path, of text, of a list of them, or of None."""
    if value is None:
        return None
    if isinstance(value, list | tuple):
        return [expand_option(item) for item in value]
    return expand(value) if isinstance(value, Path) else expand_text(value)


def expand_text(text: str) -> str:
    """:func:`expand` of a path as text, or of the path that a source begins with; otherwise as it was typed, "./mnist" too."""
    expand(text)
    return os.path.expanduser(text)  # noqa: PTH111 - Path would drop the leading "./"


def find_matches(pattern: str, folder: Path | None = None) -> list[Path]:
    """The files and folders that a pattern names, in natural order; a relative one starts from ``folder``.

    ``**`` enters folders behind links too, each of them once. Leading folders that are there as typed, brackets and all, are no pattern.
    """
    if not has_magic(pattern):
        return []
    start, parts = Path() if folder is None else folder, Path(pattern).parts
    while len(parts) > 1 and os.path.lexists(start / parts[0]):
        start, parts = start / parts[0], parts[1:]
    if "**" in parts:
        matches = [path for path in walk(start, folders=parts[-1] != "**") if _fits(path.relative_to(start).parts, parts)]
    else:
        matches = [Path(name) for name in glob(os.path.join(escape(str(start)), *parts))]  # noqa: PTH118, PTH207 - escaped text
        # glob passes over names with a leading dot by itself, where the pattern has none.
        matches = [path for path in matches if MACOS_DEBRIS not in path.relative_to(start).parts]
    return sorted(matches, key=lambda path: natural(str(path)))


def _fits(names: tuple[str, ...], parts: tuple[str, ...]) -> bool:
    """Whether the parts of a path fit those of a pattern; ``**`` stands for any number of folders."""
    if not parts:
        return not names
    if parts[0] == "**":
        return _fits(names, parts[1:]) or (bool(names) and _fits(names[1:], parts))
    return bool(names) and fnmatchcase(names[0], parts[0]) and _fits(names[1:], parts[1:])


def is_hidden(name: str) -> bool:
    """Whether a file or folder is none that a user means, but of an editor, a notebook, version control or macOS."""
    return name.startswith(".") or name == MACOS_DEBRIS


def walk(folder: Path, *, folders: bool = False) -> Iterator[Path]:
    """Every file below a folder that is not hidden, and with ``folders`` every folder.

    Folders behind links are entered, but none twice: links may lead in a circle.
    """
    entered = {os.path.realpath(folder)}
    for place, names, files in os.walk(folder, followlinks=True):
        kept = []
        for name in sorted(names, key=lambda name: (Path(place, name).is_symlink(), natural(name))):
            target = os.path.realpath(Path(place, name))
            if not is_hidden(name) and target not in entered:
                entered.add(target)
                kept.append(name)
        names[:] = kept
        yield from (Path(place, name) for name in [*files, *(kept if folders else [])] if not is_hidden(name))
