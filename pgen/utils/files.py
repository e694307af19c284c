"""Write files and folders completely or not at all, and only over what may be replaced.

Outputs are made in a draft (pgen/utils/drafts.py) next to their place, and renamed one right after
the other once all are complete.
"""

from __future__ import annotations

import errno
import io
import os
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO

from pgen.errors import ConfigError, PgenError, RunError, option
from pgen.utils.deferred_signals import defer_signals
from pgen.utils.drafts import Draft, sweep_around

#: Most files of a folder to flush to disk one by one. For more files, all file systems are flushed
#: at once.
MOST_FLUSHES = 100


@dataclass
class _Output:
    """A file or folder to write or delete.

    Attributes:
        target: Where it will be.
        path: Where it is written until it is complete; None if it is to be deleted.
        draft: The draft that ``path`` is in.
        check: See :meth:`Outputs.add`.
        alternative: See :meth:`Outputs.add`.
    """

    target: Path
    path: Path | None = None
    draft: Draft | None = None
    check: Callable[[Path], object] | None = None
    alternative: Callable[[], Path] | None = None

    @property
    def place(self) -> Path:
        """The target with links resolved."""
        return _resolve(self.target)


class Outputs:
    """The files and folders that one command writes.

    All of them are in place when the ``with`` block has ended without an error. After a kill at any
    moment each is absent, as it was before, or complete. Links are followed. A file that is
    replaced keeps its mode, group and, if the system permits, its owner.

    Args:
        overwrite: Whether outputs may replace what is at their place.
        inputs: Files and folders that the command reads. No output replaces them.
        guard: Called just before the outputs are put in place. It raises if they must not be.
    """

    def __init__(self, *, overwrite: bool = True, inputs: Iterable[Path] = (), guard: Callable[[], object] = lambda: None) -> None:
        self._overwrite, self._inputs, self._guard = overwrite, list(inputs), guard
        self._drafts: dict[Path, Draft] = {}
        self._outputs: list[_Output] = []

    def __enter__(self) -> Outputs:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if error is None:
                self._place_all()
        except Exception as failure:
            self._name_targets(failure)
            raise
        finally:
            for draft in self._drafts.values():
                draft.remove()
        if error is not None:
            self._name_targets(error)

    def add(
        self,
        target: str | os.PathLike[str],
        *,
        folder: bool = False,
        check: Callable[[Path], object] | None = None,
        alternative: Callable[[], Path] | None = None,
    ) -> Path:
        """Announce a file or folder.

        Args:
            target: Where it will be.
            folder: Whether it is a folder.
            check: Called with the path of what would be replaced, now and again just before it is
                replaced. It raises if that must stay.
            alternative: Returns another target if this one exists by the time the output is
                complete.

        Returns:
            The path to write to, in a folder that exists.

        Raises:
            ConfigError: The target exists and may not be replaced, or is an input.
        """
        while alternative is not None and os.path.lexists(target):
            target = alternative()
        refuse_existing(target, overwrite=self._overwrite, inputs=self._inputs, folder=folder)
        if check is not None and os.path.lexists(target):
            check(Path(target))
        place = _resolve(target)
        if any(place == output.place for output in self._outputs):
            raise ConfigError(f"{target} is the name of two outputs. Choose different names.")
        draft, parent = self._create_draft(place.parent, place.name)
        self._outputs.append(_Output(Path(target), parent / place.name, draft, check, alternative))
        return parent / place.name

    def folder(self, target: Path) -> Path:
        """Return the folder in which to write files whose place is the folder ``target``.

        Each file must also be announced by :meth:`add`.
        """
        return self._create_draft(_resolve(target), target.name)[1]

    def remove(self, target: Path) -> None:
        """Announce a file to delete once the outputs announced before it are in place."""
        self._outputs.append(_Output(target))

    @property
    def targets(self) -> list[Path]:
        """The paths of the outputs, in the order in which they were announced."""
        return [output.target for output in self._outputs if output.path is not None]

    def _create_draft(self, place: Path, name: str) -> tuple[Draft, Path]:
        """Create the draft for outputs in the folder ``place``.

        Returns:
            The draft, and the folder in it whose contents will be moved to ``place``.
        """
        existing = next(folder for folder in (place, *place.parents) if folder.exists())
        if existing not in self._drafts:
            sweep_around(existing)
            draft = self._drafts[existing] = Draft.next_to(existing / name)
            try:
                draft.create()
            except OSError as error:
                error.filename = str(existing)
                raise
        path = self._drafts[existing].new / place.relative_to(existing)
        path.mkdir(parents=True, exist_ok=True)
        return self._drafts[existing], path

    def _place_all(self) -> None:
        for output in self._outputs:
            if output.path is not None:
                _flush(output.path)
        with defer_signals():
            self._guard()
            places = [output.place for output in self._outputs]
            for draft in self._drafts.values():
                _place_new_folders(draft, places)
            for output in self._outputs:
                self._place(output)
        for folder in {output.place.parent for output in self._outputs}:
            with suppress(OSError):  # some file systems cannot flush a folder
                _flush_one(folder)

    def _place(self, output: _Output) -> None:
        if output.path is None or output.draft is None:
            output.place.unlink(missing_ok=True)
            return
        while os.path.lexists(output.path):  # otherwise it was moved together with its folder
            place = output.place
            place.parent.mkdir(parents=True, exist_ok=True)
            # A folder that a sweep may have to put back must be next to the draft.
            is_replaceable = place.parent == output.draft.folder or not output.path.is_dir()
            if self._overwrite and is_replaceable and output.alternative is None and os.path.lexists(place):
                if output.check is not None:
                    output.check(output.target)
                _replace(output.path, place, output.draft.old)
            elif _move(output.path, place):
                break
            elif output.alternative is not None:
                output.target = output.alternative()
            elif not self._overwrite or not is_replaceable:
                raise RunError(f"{output.target} was written by another process in the meantime and was not replaced. Choose another name.")
        if not os.path.lexists(output.place):  # the folder of the draft was moved away
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(output.target))

    def _name_targets(self, error: BaseException) -> None:
        """Replace the paths of drafts in an error by the paths that the user knows."""
        names = [(output.path, output.target) for output in self._outputs]
        names += [(draft.new, draft.folder) for draft in self._drafts.values()]
        for path, target in names:
            if isinstance(error, OSError) and isinstance(error.filename, str):
                error.filename = error.filename.replace(str(path), str(target))
            if isinstance(error, PgenError):
                error.args = tuple(str(part).replace(str(path), str(target)) for part in error.args)


def _place_new_folders(draft: Draft, places: list[Path]) -> None:
    """Rename folders that do not exist yet as a whole, with all outputs in them."""
    for path in draft.new.iterdir():
        place = draft.folder / path.name
        if path.is_dir() and place not in places and not os.path.lexists(place):
            _move(path, place)


def _move(path: Path, target: Path) -> bool:
    """Rename ``path`` to ``target`` and return True; return False if ``target`` exists."""
    try:
        if path.is_dir():
            path.rename(target)  # fails if a file, or a folder that is not empty, is there by now
            return True
        try:
            os.link(path, target)
        except FileExistsError:
            return False
        except OSError:  # a file system without hard links
            if os.path.lexists(target):
                return False
            path.rename(target)
        else:
            path.unlink()
        return True
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
            return False
        raise


def _replace(path: Path, place: Path, old: Path) -> None:
    """Replace what is at ``place`` by ``path``, keeping its mode, group and owner.

    A folder at ``place`` is moved into the folder ``old`` first.
    """
    _keep_access(path, place.stat())
    if not path.is_dir():
        path.replace(place)
        return
    old.mkdir(exist_ok=True)
    place.rename(old / place.name)
    path.rename(place)  # if this fails, Draft.remove puts the old folder back


def _keep_access(path: Path, before: os.stat_result) -> None:
    """Give ``path`` the mode, group and owner of what it replaces, as far as the system permits."""
    after = path.stat()
    with suppress(OSError):
        if after.st_gid != before.st_gid:
            os.chown(path, -1, before.st_gid)
        if after.st_uid != before.st_uid:
            os.chown(path, before.st_uid, -1)
    with suppress(OSError):
        path.chmod(stat.S_IMODE(before.st_mode))


@contextmanager
def atomic_write(path: str | os.PathLike[str], guard: Callable[[], object] = lambda: None) -> Iterator[Path]:
    """Write one file, replacing what is at ``path``; yields the path of the draft to write to."""
    with Outputs(guard=guard) as outputs:
        yield outputs.add(path)


def write_through_memory(
    path: str | os.PathLike[str], save: Callable[[IO[bytes]], object], guard: Callable[[], object] = lambda: None
) -> None:
    """Write atomically to ``path`` what ``save`` writes to a binary stream.

    The stream is in memory because torch and safetensors report a full disk by errors of their own,
    while Python's files raise OSError.
    """
    buffer = io.BytesIO()
    save(buffer)
    with atomic_write(path, guard) as draft:
        draft.write_bytes(buffer.getbuffer())


def append_line(path: Path, line: str) -> None:
    """Append a line to a log in one write, so that lines of several processes do not mix."""
    with path.open("ab", buffering=0) as stream:
        stream.write(f"{line}\n".encode())


def require_space(path: str | os.PathLike[str], size: int) -> None:
    """Raise OSError unless ``size`` more bytes are free on the disk of ``path``."""
    if free_space(path) < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def free_space(path: str | os.PathLike[str]) -> int:
    """Return the free bytes on the disk of ``path``, which need not exist."""
    return shutil.disk_usage(next(folder for folder in Path(path).absolute().parents if folder.exists())).free


def require_folder(out: Path) -> Path:
    """Return ``out``, or raise ConfigError if no folder can be made there."""
    if file := _first_file(out, *out.parents):
        raise ConfigError(f"{option('out', out)}: {'' if file == out else f'{file} '}is a file, expected a folder. Choose another place.")
    return out


def refuse_existing(path: str | os.PathLike[str], *, overwrite: bool, inputs: Iterable[Path] = (), folder: bool = False) -> Path:
    """Check that an output may be written to ``path``.

    Args:
        path: Where the output will be.
        overwrite: Whether it may replace what is there.
        inputs: Files and folders that are read and must stay.
        folder: Whether the output is a folder.

    Returns:
        ``path``.

    Raises:
        ConfigError: It may not.
    """
    target = Path(path)
    sweep_around(target.parent)  # first, because it may put back what belongs here
    # lexists, because a broken link exists too.
    if os.path.lexists(target):
        if source := next((source for source in inputs if _overlap(target, source)), None):
            part = "" if _resolve(source) == _resolve(target) else f" or a part of {source}"
            raise ConfigError(f"{target} is an input{part} and would be lost. Choose another name.")
        if not overwrite:
            raise ConfigError(f"{target} exists already. Choose another name, or pass {option('overwrite')} to replace it.")
        if target.exists() and not (target.is_dir() if folder else target.is_file()):
            raise ConfigError(f"{target} is not a {'folder' if folder else 'file'} and is not replaced. Choose another name.")
    if file := _first_file(*target.parents):
        raise ConfigError(f"{target}: {file} is a file, expected a folder. Choose another place.")
    return target


def _overlap(target: Path, source: Path) -> bool:
    """Return whether replacing one would delete something of the other."""
    if not (target.exists() and source.exists()):
        return False
    one, other = _resolve(target), _resolve(source)
    return target.samefile(source) or one.is_relative_to(other) or other.is_relative_to(one)


def _resolve(path: str | os.PathLike[str]) -> Path:
    # Path.resolve would raise RuntimeError in Python 3.11 and 3.12 for links in a circle.
    return Path(os.path.realpath(path))


def _first_file(*paths: Path) -> Path | None:
    """Return the first path that exists and is not a folder."""
    return next((path for path in paths if os.path.lexists(path) and not path.is_dir()), None)


def _flush(path: Path) -> None:
    """Flush a file, or all files of a folder, to disk."""
    if not path.is_dir():
        _flush_one(path)
        return
    files = [file for file in path.rglob("*") if file.is_file()]
    if len(files) > MOST_FLUSHES:
        os.sync()
        return
    for file in files:
        _flush_one(file)


def _flush_one(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
