"""Writing so that a reader never sees half a file and nothing existing is lost."""

from __future__ import annotations

import errno
import io
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from pgen.errors import UserError


def natural(text: str) -> list[tuple[int, str]]:
    """A key to sort names by, that puts "2.png" before "10.png"."""
    # Digits of ASCII alone, compared as text: str.isdigit takes superscripts, which int does not, and int takes no more than 4,300.
    parts = re.split("0*([0-9]+)", text)
    return [(len(part), part) if k % 2 else (-1, part) for k, part in enumerate(parts)]


def numbered(folder: Path, name: str) -> list[Path]:
    """name_<i>.npy of a folder, in order of i."""
    found = [(int(match[1]), path) for path in folder.iterdir() if (match := re.fullmatch(rf"{name}_([0-9]+)\.npy", path.name))]
    return [path for _, path in sorted(found)]


@contextmanager
def atomic(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary path beside ``path``; on success it is flushed to disk and renamed to ``path``, on failure removed."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays, since libraries choose the format by it.
    temporary = target.with_name(f".{target.stem}.{os.getpid()}.tmp{target.suffix}")
    try:
        yield temporary
        descriptor = os.open(temporary, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_through_memory(path: str | os.PathLike[str], save: Callable[[IO[bytes]], object]) -> None:
    """Write to ``path``, atomically, what ``save`` puts into a binary stream.

    Through memory, since the writers of torch and safetensors tell of a full disk in errors of their own, Python's files in an OSError.
    """
    buffer = io.BytesIO()
    save(buffer)
    with atomic(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def need_space(path: str | os.PathLike[str], size: int) -> None:
    """OSError unless ``size`` bytes more are free where ``path`` lies."""
    if shutil.disk_usage(Path(path).parent).free < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def _no_folder(*paths: Path) -> Path | None:
    """The first of them that is there and is none."""
    return next((path for path in paths if os.path.lexists(path) and not path.is_dir()), None)


def folder_of(out: Path) -> Path:
    """``out``, or a UserError where no folder can be made there."""
    if above := _no_folder(out, *out.parents):
        raise UserError(f"--out {out}: {'' if above == out else f'{above} '}is a file, wanted a folder; choose another place.")
    return out


def refuse_existing(path: str | os.PathLike[str], *, overwrite: bool) -> Path:
    """``path``, or a UserError where something lies there already and ``overwrite`` was not asked for, or no file can be made there."""
    target = Path(path)
    # lexists: a link that leads nowhere is there too.
    if os.path.lexists(target) and not overwrite:
        raise UserError(f"{target} exists already and would be lost; name another file or pass --overwrite.")
    if above := _no_folder(*target.parents):
        raise UserError(f"{target}: {above} is a file, wanted a folder; choose another place.")
    return target
