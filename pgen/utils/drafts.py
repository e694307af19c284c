"""Hidden folders in which pgen prepares its outputs, and their removal after a kill.

docs/formats.md describes what a user can see of this.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import stat
import sys
import time
from contextlib import suppress
from pathlib import Path

from pgen.utils.deferred_signals import defer_signals
from pgen.utils.locks import LOCK, FileLock, machine_identity, read_marker

#: Endings of the names of drafts, and of folders with the parts of an interrupted conversion.
DRAFT, PARTS = ".pgen-draft", ".pgen-parts"
#: File in a hidden folder that its process keeps locked.
OWNER = "owner"
#: Seconds without a change after which a process is considered dead if its lock could not be seen
#: from here.
STALE_AFTER = 3 * 86400.0


class OwnedFolder:
    """A hidden folder of pgen, whose owner file is marked and locked by the process that uses it.

    Attributes:
        path: The folder.
        lock: The lock on its owner file.
        is_owned: Whether this process created or claimed the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.lock = path, FileLock(path / OWNER)
        self.is_owned = False

    def create(self) -> None:
        """Create the folder and own it.

        Raises:
            OSError: The path exists already, or cannot be written.
        """
        while True:
            with defer_signals():
                self.path.mkdir()
                self.is_owned = True
            with suppress(FileNotFoundError):  # another process swept the folder before it was marked
                self.lock.acquire()
                self.lock.mark()
                return

    def claim(self) -> bool:
        """Try to own an existing folder.

        Returns:
            Whether it is owned now. False if there is no such folder, it is not pgen's, or another
            process has locked it.
        """
        try:
            if self.path.is_symlink() or read_marker(self.lock.path) is None or not self.lock.acquire(create=False):
                return False
        except OSError:
            return False
        self.is_owned = True
        return True

    def is_abandoned(self) -> bool:
        """Return whether no living process can be using the claimed folder.

        The lock proves it if the file system has locks and the folder was made on this machine.
        Other machines may not see the lock; then the folder must not have changed for days.
        """
        if self.lock.is_supported and machine_identity() & (read_marker(self.lock.path) or set()):
            return True
        return time.time() - _last_change(self.path) > STALE_AFTER

    def remove(self) -> None:
        """Delete the folder, if it is owned.

        The marker is deleted last: what a kill leaves can still be swept.
        """
        if not self.is_owned:
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
        self.is_owned = False


class Draft(OwnedFolder):
    """A hidden folder for outputs that are moved to the folder around it, or below, when complete.

    Attributes:
        folder: The folder around the draft.
        new: Folder with the outputs.
        old: Folder with what an output replaces, until the output is in its place.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.folder, self.new, self.old = path.parent, path / "new", path / "old"

    @classmethod
    def next_to(cls, target: Path) -> Draft:
        """Return a draft, not yet created, in the same folder as ``target``."""
        name = os.fsencode(target.name)[:200].decode(sys.getfilesystemencoding(), "ignore")  # file names have at most 255 bytes
        return cls(target.with_name(f".{name}.{secrets.token_hex(4)}{DRAFT}"))

    def create(self) -> None:
        """Create the draft and own it."""
        super().create()
        self.new.mkdir()

    def remove(self) -> None:
        """Put back a folder that was about to be replaced, then delete the draft if owned."""
        try:
            for old in self.old.iterdir() if self.is_owned and self.old.is_dir() else ():
                if not os.path.lexists(self.folder / old.name):
                    old.rename(self.folder / old.name)
        except OSError:
            self.lock.release()  # the next sweep tries again
        else:
            super().remove()


def sweep(folder: Path) -> None:
    """Remove what killed pgen processes left in ``folder``.

    A folder that one of them was replacing is put back.
    """
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
    """Sweep a folder and its parent, which has the draft if the folder did not exist yet."""
    for place in (folder, folder.absolute().parent):
        sweep(place)


def restore(path: Path) -> None:
    """Put back a folder that a killed process was replacing, if nothing is at ``path`` now."""
    if not os.path.lexists(path):
        sweep(path.parent)


def _sweep_unmarked(path: Path) -> None:
    """Remove a folder whose process was killed before it wrote the marker.

    Such a folder is empty, or has only an empty owner file. A living process that is about to write
    the marker creates the folder again.
    """
    if path.is_symlink():
        return
    lock = FileLock(path / OWNER)
    with suppress(OSError):
        names = [entry.name for entry in path.iterdir()]
        is_unmarked = names == [OWNER] and _is_empty_file(lock.path)
        # The size is read again under the lock: only then is no process about to write the marker.
        if is_unmarked and lock.acquire(create=False) and lock.is_supported and _is_empty_file(lock.path):
            lock.path.unlink()
        if names in ([], [OWNER]):
            path.rmdir()  # fails unless the folder is empty now
    lock.release()


def _sweep_draft(path: Path) -> None:
    draft = Draft(path)
    if draft.claim() and draft.is_abandoned():
        draft.remove()
    draft.lock.release()


def _sweep_parts(path: Path) -> None:
    """Remove the parts of an output that has been completed since."""
    parts, output = OwnedFolder(path), path.with_name(path.name[1 : -len(PARTS)])
    with suppress(OSError):
        if output.stat().st_mtime > _last_change(path) and parts.claim() and parts.is_abandoned():
            parts.remove()
    parts.lock.release()


def _sweep_lock(path: Path) -> None:
    lock = FileLock(path)
    with suppress(OSError):
        if (read_marker(path) or set()) & machine_identity() and lock.acquire(create=False) and lock.is_supported:
            path.unlink()
    lock.release()


def _is_empty_file(path: Path) -> bool:
    status = path.lstat()
    return stat.S_ISREG(status.st_mode) and status.st_size == 0


def _last_change(folder: Path) -> float:
    changes = [folder.stat().st_mtime]
    for path in folder.rglob("*"):
        with suppress(OSError):
            changes.append(path.lstat().st_mtime)
    return max(changes)
