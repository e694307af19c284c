"""Everything that pgen writes is written here: whole or not at all, and only in place of what may be replaced.

Outputs are made in a draft, a hidden folder beside their place, and are renamed back to back once all of them are complete. A draft whose
process was killed is swept by the next command that writes there. docs/formats.md describes what a user can see of this.
"""

from __future__ import annotations

import errno
import io
import os
import re
import secrets
import shutil
import signal
import socket
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from filelock import lock_descriptor

from pgen.errors import PgenError

#: What the names of pgen's hidden folders and lock files end with.
DRAFT, PARTS, LOCK = ".pgen-draft", ".pgen-parts", ".pgen-lock"
#: The file in a hidden folder that its process keeps locked, and how it begins. Without it nothing is ever removed.
OWNER, MARKER = "owner", b"pgen-owner-1\n"
#: Seconds without a change after which a process is taken for dead whose lock would not be seen here.
LONGEST_PAUSE = 3 * 86400.0
#: Files of a folder that are flushed to disk one by one; of more of them, all file systems are flushed at once.
FLUSHED = 100
#: Signals that end a process and wait while files change places.
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def natural(text: str) -> list[tuple[int, str]]:
    """A key to sort names by, that puts "2.png" before "10.png"."""
    # Digits of ASCII alone, compared as text: str.isdigit takes superscripts, which int does not, and int takes no more than 4,300.
    parts = re.split("0*([0-9]+)", text)
    return [(len(part), part) if k % 2 else (-1, part) for k, part in enumerate(parts)]


def numbered(folder: Path, name: str) -> list[Path]:
    """name_<i>.npy of a folder, in order of i."""
    found = [(int(match[1]), path) for path in folder.iterdir() if (match := re.fullmatch(rf"{name}_([0-9]+)\.npy", path.name))]
    return [path for _, path in sorted(found)]


class Lock:
    """An exclusive lock on a file, held until it is released or the process ends, however it ends.

    Attributes:
        path: The file.
        supported: Whether the file system has locks. Where it has none, every lock can be taken.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.supported = path, True
        self._descriptor: int | None = None

    def take(self, *, wait: bool = False, create: bool = True) -> bool:
        """Take the lock; the file is made where there is none, if ``create``.

        Returns:
            Whether it was taken. Without ``wait`` it is not where another process holds it.
        """
        while True:
            descriptor = os.open(self.path, os.O_RDWR | os.O_NOFOLLOW | (os.O_CREAT if create else 0), 0o666)
            try:
                self.supported = True
                try:
                    taken = lock_descriptor(descriptor, blocking=wait)
                except OSError:
                    taken, self.supported = True, False
                # Another process may have removed the file before this one came to lock it.
                if taken and self._names(descriptor):
                    self._descriptor, descriptor = descriptor, -1
                    return True
                if not taken:
                    return False
            finally:
                if descriptor >= 0:
                    os.close(descriptor)

    def is_in_place(self) -> bool:
        """Whether the locked file is the one that now lies at ``path``."""
        return self._descriptor is not None and self._names(self._descriptor)

    def is_deleted(self) -> bool:
        """Whether the locked file has been deleted, and not merely moved."""
        return self._descriptor is not None and os.fstat(self._descriptor).st_nlink == 0

    def release(self) -> None:
        """Let another process take it. Without a lock, nothing happens."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    __del__ = release

    def mark(self) -> None:
        """Write pgen's marker, and which machine this is, into the locked file. UserError where it holds anything else."""
        assert self._descriptor is not None
        if os.pread(self._descriptor, len(MARKER), 0) not in (b"", MARKER):
            raise PgenError(f"{self.path} is no file of pgen, which needs this name; move it away.")
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, MARKER + b"".join(_machine()), 0)

    def _names(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(self.path.lstat(), os.fstat(descriptor))
        except OSError:
            return False


@contextmanager
def locked(path: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Be the one process that changes the file at ``path``.

    Args:
        path: The file. The lock is a hidden file next to it, which is removed again.
        waiting: Called once if another process has the lock and must be waited for.
    """
    lock = Lock(path.with_name(f".{path.name}{LOCK}"))
    if not lock.take():
        waiting()
        lock.take(wait=True)
    try:
        lock.mark()
        try:
            yield
        finally:
            lock.path.unlink(missing_ok=True)  # before others can take it, so that they find it gone
    finally:
        lock.release()


class OwnFolder:
    """A hidden folder of pgen's own. Its owner file carries pgen's marker and is locked by the process that uses it.

    Attributes:
        owned: Whether this process has made or claimed it.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.lock = path, Lock(path / OWNER)
        self.owned = False

    def make(self) -> None:
        """Make the folder and own it. OSError where something lies there already."""
        while True:
            with signals_held():
                self.path.mkdir()
                self.owned = True
            with suppress(FileNotFoundError):  # another process swept it before it was marked
                self.lock.take()
                self.lock.mark()
                return

    def claim(self) -> bool:
        """Own an existing folder.

        Returns:
            Whether it is owned now. It is not where there is none, where it is not pgen's, or where another process has it locked.
        """
        try:
            if self.path.is_symlink() or _marked_by(self.lock.path) is None or not self.lock.take(create=False):
                return False
        except OSError:
            return False
        self.owned = True
        return True

    def is_abandoned(self) -> bool:
        """Whether no living process can be using the claimed folder.

        The lock tells, if the file system has locks and another process on this machine had it. Some file systems have locks that other
        machines do not see; then it is so once the folder has not changed for days.
        """
        if self.lock.supported and _machine() & (_marked_by(self.lock.path) or set()):
            return True
        return time.time() - _last_change(self.path) > LONGEST_PAUSE

    def remove(self) -> None:
        """Delete the folder, if it is owned. Its marker goes last, so that a kill leaves what can still be swept."""
        if not self.owned:
            return
        with suppress(OSError):
            for entry in list(self.path.iterdir()):
                if entry.is_dir() and not entry.is_symlink():
                    shutil.rmtree(entry, ignore_errors=True)
                elif entry.name != OWNER:
                    entry.unlink(missing_ok=True)
            self.lock.path.unlink(missing_ok=True)
            self.path.rmdir()
        self.lock.release()
        self.owned = False


class _Draft(OwnFolder):
    """Where outputs are made that will lie in ``folder`` or below: they in ``new``, a folder that one of them replaces in ``old``."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.folder, self.new, self.old = path.parent, path / "new", path / "old"

    @classmethod
    def beside(cls, target: Path) -> _Draft:
        """One that is yet to be made, for a target in the same folder."""
        short = os.fsencode(target.name)[:200].decode(sys.getfilesystemencoding(), "ignore")  # a name has at most 255 bytes
        return cls(target.with_name(f".{short}.{secrets.token_hex(4)}{DRAFT}"))

    def make(self) -> None:
        super().make()
        self.new.mkdir()

    def remove(self) -> None:
        """Delete the draft, if it is owned, after a folder that was about to be replaced is back in its place."""
        try:
            for old in self.old.iterdir() if self.owned and self.old.is_dir() else ():
                if not os.path.lexists(self.folder / old.name):
                    old.rename(self.folder / old.name)
        except OSError:
            self.lock.release()  # the next sweep tries it again
        else:
            super().remove()


def sweep(folder: Path) -> None:
    """Remove what killed processes of pgen have left unfinished in a folder, and put back a folder that one of them was replacing."""
    try:
        paths = [path for path in folder.iterdir() if path.name.startswith(".")]
    except OSError:
        return
    for path in paths:
        if re.fullmatch(rf".*\.[0-9a-f]{{8}}{re.escape(DRAFT)}", path.name, re.DOTALL):
            _sweep_unmarked(path)
            _sweep_draft(path)
        elif path.name.endswith(PARTS):
            _sweep_unmarked(path)
            _sweep_parts(path)
        elif path.name.endswith(LOCK):
            _sweep_lock(path)


def sweep_around(folder: Path) -> None:
    """:func:`sweep` a folder and the one above it, where an earlier draft lies if the folder itself was missing then."""
    for place in (folder, folder.absolute().parent):
        sweep(place)


def restore(path: Path) -> None:
    """Put back a folder that a killed process was about to replace, if there is one and nothing lies at ``path`` now."""
    if not os.path.lexists(path):
        sweep(path.parent)


def _sweep_unmarked(path: Path) -> None:
    """Remove a folder whose process was killed before it could mark it: one with nothing in it, or an empty owner file alone.

    A process that lives and is about to mark it makes it again.
    """
    if path.is_symlink():
        return
    lock = Lock(path / OWNER)
    with suppress(OSError):
        names = [entry.name for entry in path.iterdir()]
        # Its size again once it is locked: only then is nobody about to mark it.
        if names == [OWNER] and _is_empty_file(lock.path) and lock.take(create=False) and lock.supported and _is_empty_file(lock.path):
            lock.path.unlink()
        if names in ([], [OWNER]):
            path.rmdir()  # if it is empty now
    lock.release()


def _sweep_draft(path: Path) -> None:
    draft = _Draft(path)
    if draft.claim() and draft.is_abandoned():
        draft.remove()
    draft.lock.release()


def _sweep_parts(path: Path) -> None:
    """Remove parts that were kept for an output that is complete by now."""
    parts, output = OwnFolder(path), path.with_name(path.name[1 : -len(PARTS)])
    with suppress(OSError):
        if output.stat().st_mtime > _last_change(path) and parts.claim() and parts.is_abandoned():
            parts.remove()
    parts.lock.release()


def _sweep_lock(path: Path) -> None:
    lock = Lock(path)
    with suppress(OSError):
        if (_marked_by(path) or set()) & _machine() and lock.take(create=False) and lock.supported:
            path.unlink()
    lock.release()


def _is_empty_file(path: Path) -> bool:
    status = path.lstat()
    return stat.S_ISREG(status.st_mode) and status.st_size == 0


def _machine() -> set[bytes]:
    """Lines by which this machine is known again: its name, which outlives a restart, and its start, which all its containers share."""
    lines = {f"host {socket.gethostname()}\n".encode()}
    with suppress(OSError):
        start = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        lines.add(f"start {start}\n".encode())
    return lines


def _marked_by(path: Path) -> set[bytes] | None:
    """The lines that name the machine in a file with pgen's marker; None in another file. OSError where there is none."""
    if not stat.S_ISREG(path.lstat().st_mode):
        return None
    with path.open("rb") as stream:
        return set(stream.read(1000).splitlines(keepends=True)) if stream.read(len(MARKER)) == MARKER else None


def _last_change(folder: Path) -> float:
    changes = [folder.stat().st_mtime]
    for path in folder.rglob("*"):
        with suppress(OSError):
            changes.append(path.lstat().st_mtime)
    return max(changes)


@dataclass
class _Output:
    """What is made at ``path`` for ``target``; ``path`` is None for what is only removed."""

    target: Path
    path: Path | None = None
    draft: _Draft | None = None
    check: Callable[[Path], object] | None = None
    otherwise: Callable[[], Path] | None = None

    @property
    def place(self) -> Path:
        """The target, links followed."""
        return _real(self.target)


class Outputs:
    """The files and folders that one command writes. They are in place, all of them, when the ``with`` block has ended without an error.

    Killed at any moment, each is absent, as it was, or complete. Links are followed; a file that is replaced keeps its mode, group and,
    where that is permitted, its owner.

    Args:
        overwrite: Whether outputs may replace what lies at their place.
        inputs: Files and folders that the command reads, which no output replaces.
        guard: Called just before the outputs are put in their place; it raises where they must not be.
    """

    def __init__(self, *, overwrite: bool = True, inputs: Iterable[Path] = (), guard: Callable[[], object] = lambda: None) -> None:
        self._overwrite, self._inputs, self._guard = overwrite, list(inputs), guard
        self._drafts: dict[Path, _Draft] = {}
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
        otherwise: Callable[[], Path] | None = None,
    ) -> Path:
        """Announce a file or folder.

        Args:
            target: Where it will lie.
            folder: Whether it is a folder.
            check: Called with what is to be replaced, now and again just before; it raises where that must stay.
            otherwise: Gives another target, should this one be taken by the time the output is complete.

        Returns:
            The path to write it to, in a folder that exists.

        Raises:
            UserError: Something lies there already, or is an input.
        """
        while otherwise is not None and os.path.lexists(target):
            target = otherwise()
        refuse_existing(target, overwrite=self._overwrite, inputs=self._inputs, folder=folder)
        if check is not None and os.path.lexists(target):
            check(Path(target))
        place = _real(target)
        if any(place == other.place for other in self._outputs):
            raise PgenError(f"{target} is named for two outputs; name different files.")
        draft, parent = self._draft(place.parent, place.name)
        self._outputs.append(_Output(Path(target), parent / place.name, draft, check, otherwise))
        return parent / place.name

    def folder(self, target: Path) -> Path:
        """The folder for files that will lie in the folder ``target``. Each of them is yet to be announced by :meth:`add`."""
        return self._draft(_real(target), target.name)[1]

    def remove(self, target: Path) -> None:
        """Announce a file that is to be deleted, after the outputs announced before have come to their place."""
        self._outputs.append(_Output(target))

    @property
    def targets(self) -> list[Path]:
        """Where the outputs lie, in the order in which they were announced."""
        return [output.target for output in self._outputs if output.path is not None]

    def _draft(self, place: Path, name: str) -> tuple[_Draft, Path]:
        """The draft for what will lie in the folder ``place``, and the folder in it that stands for ``place``."""
        existing = next(folder for folder in (place, *place.parents) if folder.exists())
        if existing not in self._drafts:
            sweep_around(existing)
            draft = self._drafts[existing] = _Draft.beside(existing / name)
            try:
                draft.make()
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
        with signals_held():
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
        while os.path.lexists(output.path):  # else it came to its place with its folder
            place = output.place
            place.parent.mkdir(parents=True, exist_ok=True)
            # What a sweep would put back must lie next to the draft.
            beside = place.parent == output.draft.folder or not output.path.is_dir()
            if self._overwrite and beside and output.otherwise is None and os.path.lexists(place):
                if output.check is not None:
                    output.check(output.target)
                _replace(output.path, place, output.draft.old)
            elif _move(output.path, place):
                break
            elif output.otherwise is not None:
                output.target = output.otherwise()
            elif not self._overwrite or not beside:
                raise PgenError(f"{output.target} was written by another process meanwhile, and stays as it is; choose another name.")
        if not os.path.lexists(output.place):  # the folder of the draft was moved away
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(output.target))

    def _name_targets(self, error: BaseException) -> None:
        """Let an error name what the user knows, the target, and not the draft."""
        names = [(output.path, output.target) for output in self._outputs]
        names += [(draft.new, draft.folder) for draft in self._drafts.values()]
        for drafted, target in names:
            if isinstance(error, OSError) and isinstance(error.filename, str):
                error.filename = error.filename.replace(str(drafted), str(target))
            if isinstance(error, PgenError):
                error.args = tuple(str(part).replace(str(drafted), str(target)) for part in error.args)


def _place_new_folders(draft: _Draft, places: list[Path]) -> None:
    """Rename folders that are not there yet as a whole, with all outputs in them."""
    for path in draft.new.iterdir():
        place = draft.folder / path.name
        if path.is_dir() and place not in places and not os.path.lexists(place):
            _move(path, place)


def _move(path: Path, target: Path) -> bool:
    """Rename to a place where nothing lies; whether nothing did."""
    try:
        if path.is_dir():
            path.rename(target)  # fails where a folder with something in it, or a file, has come to lie there
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


def _replace(path: Path, place: Path, aside: Path) -> None:
    """Put ``path`` where something lies, which is deleted, and whose mode, group and owner it takes on. A folder to be deleted goes into
    the folder ``aside`` first."""
    _keep_access(path, place.stat())
    if not path.is_dir():
        path.replace(place)
        return
    aside.mkdir(exist_ok=True)
    place.rename(aside / place.name)
    path.rename(place)  # if this fails, the other is put back with the removal of the draft


def _keep_access(path: Path, before: os.stat_result) -> None:
    """Mode, group and owner of what lay there before, as far as the system permits."""
    after = path.stat()
    with suppress(OSError):
        if after.st_gid != before.st_gid:
            os.chown(path, -1, before.st_gid)
        if after.st_uid != before.st_uid:
            os.chown(path, before.st_uid, -1)
    with suppress(OSError):
        path.chmod(stat.S_IMODE(before.st_mode))


@contextmanager
def signals_held() -> Iterator[None]:
    """Signals that end the process wait until the block is done. Only in the main thread does Python handle any."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former: dict[int, Any] = {}
    came: list[int] = []
    try:
        for number in ENDING:
            if signal.getsignal(number) is not None:  # one that was not set by Python cannot be set again
                former[number] = signal.signal(number, lambda number, frame: came.append(number))
        yield
    finally:
        for held, handler in former.items():
            signal.signal(held, handler)
        if came:
            signal.raise_signal(came[0])


@contextmanager
def atomic(path: str | os.PathLike[str], guard: Callable[[], object] = lambda: None) -> Iterator[Path]:
    """:class:`Outputs` for one file: the path to write it to. What lies at ``path`` is replaced."""
    with Outputs(guard=guard) as outputs:
        yield outputs.add(path)


def write_through_memory(
    path: str | os.PathLike[str], save: Callable[[IO[bytes]], object], guard: Callable[[], object] = lambda: None
) -> None:
    """Write to ``path``, atomically, what ``save`` puts into a binary stream.

    Through memory, since the writers of torch and safetensors tell of a full disk in errors of their own, Python's files in an OSError.
    """
    buffer = io.BytesIO()
    save(buffer)
    with atomic(path, guard) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def append_line(path: Path, line: str) -> None:
    """Add a line to a log, in one write, so that lines of several processes do not mix."""
    with path.open("ab", buffering=0) as stream:
        stream.write(f"{line}\n".encode())


def need_space(path: str | os.PathLike[str], size: int) -> None:
    """OSError unless ``size`` bytes more are free where ``path`` lies."""
    if free_space(path) < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def free_space(path: str | os.PathLike[str]) -> int:
    """Bytes that are free where ``path`` lies."""
    return shutil.disk_usage(next(folder for folder in Path(path).absolute().parents if folder.exists())).free


def folder_of(out: Path) -> Path:
    """``out``, or a UserError where no folder can be made there."""
    if above := _no_folder(out, *out.parents):
        raise PgenError(f"--out {out}: {'' if above == out else f'{above} '}is a file, wanted a folder; choose another place.")
    return out


def refuse_existing(path: str | os.PathLike[str], *, overwrite: bool, inputs: Iterable[Path] = (), folder: bool = False) -> Path:
    """``path``, or a UserError where no output may be written there.

    Args:
        path: Where an output is to lie.
        overwrite: Whether it may replace what lies there.
        inputs: Files and folders that are read and must stay.
        folder: Whether the output is a folder.
    """
    target = Path(path)
    sweep_around(target.parent)  # first, since it may put back what lies here
    # lexists: a link that leads nowhere is there too.
    if os.path.lexists(target):
        if source := next((source for source in inputs if _overlap(target, source)), None):
            within = "" if _real(source) == _real(target) else f" or a part of {source}"
            raise PgenError(f"{target} is an input{within}, and would be lost; name another file.")
        if not overwrite:
            raise PgenError(f"{target} exists already and would be lost; name another file or pass --overwrite.")
        if target.exists() and not (target.is_dir() if folder else target.is_file()):
            raise PgenError(f"{target} is no {'folder' if folder else 'file'}, and stays as it is; choose another name.")
    if above := _no_folder(*target.parents):
        raise PgenError(f"{target}: {above} is a file, wanted a folder; choose another place.")
    return target


def _overlap(target: Path, source: Path) -> bool:
    """Whether to replace one would take something of the other."""
    if not (target.exists() and source.exists()):
        return False
    one, other = _real(target), _real(source)
    return target.samefile(source) or one.is_relative_to(other) or other.is_relative_to(one)


def _real(path: str | os.PathLike[str]) -> Path:
    """Where a path leads, links followed."""
    return Path(os.path.realpath(path))


def _no_folder(*paths: Path) -> Path | None:
    """The first of them that is there and is none."""
    return next((path for path in paths if os.path.lexists(path) and not path.is_dir()), None)


def _flush(path: Path) -> None:
    """Make sure that a file, or all of a folder, is on the disk."""
    if not path.is_dir():
        _flush_one(path)
        return
    files = [file for file in path.rglob("*") if file.is_file()]
    if len(files) > FLUSHED:
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
