"""Exclusive locks on files, and the marker by which pgen recognises files of its own."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import lock_descriptor

from pgen.errors import DataError

#: Ending of the names of lock files.
LOCK = ".pgen-lock"
#: First line of every file that pgen locks; files and folders without it are never removed.
MARKER = b"pgen-owner-1\n"


class FileLock:
    """An exclusive lock on a file, held until it is released or the process ends in any way.

    Unlike `filelock.FileLock` it notices when the file is moved or deleted under the lock.

    Attributes:
        path: The file.
        is_supported: Whether the file system has locks. If not, every lock can be acquired.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.is_supported = path, True
        self._descriptor: int | None = None

    def acquire(self, *, wait: bool = False, create: bool = True) -> bool:
        """Acquire the lock.

        Args:
            wait: Wait for a process that holds the lock.
            create: Create the file if it does not exist.

        Returns:
            Whether the lock was acquired. False only if another process holds it.

        Raises:
            OSError: The file cannot be opened, or is a symbolic link.
        """
        while True:
            descriptor = os.open(self.path, os.O_RDWR | os.O_NOFOLLOW | (os.O_CREAT if create else 0), 0o666)
            try:
                self.is_supported = True
                try:
                    is_locked = lock_descriptor(descriptor, blocking=wait)
                except OSError:
                    is_locked, self.is_supported = True, False
                # Another process may have removed the file between open and lock.
                if is_locked and self._is_at_path(descriptor):
                    self._descriptor, descriptor = descriptor, -1
                    return True
                if not is_locked:
                    return False
            finally:
                if descriptor >= 0:
                    os.close(descriptor)

    def is_in_place(self) -> bool:
        """Return whether the locked file is the one that is now at ``path``."""
        return self._descriptor is not None and self._is_at_path(self._descriptor)

    def is_deleted(self) -> bool:
        """Return whether the locked file was deleted, and not only moved."""
        return self._descriptor is not None and os.fstat(self._descriptor).st_nlink == 0

    def release(self) -> None:
        """Release the lock, if it is held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    __del__ = release

    def mark(self) -> None:
        """Write pgen's marker and the identity of this machine into the locked file.

        Raises:
            DataError: The file holds something else.
        """
        assert self._descriptor is not None
        if os.pread(self._descriptor, len(MARKER), 0) not in (b"", MARKER):
            raise DataError(f"{self.path} was not written by pgen, which needs this name. Move it away.")
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, MARKER + b"".join(machine_identity()), 0)

    def _is_at_path(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(self.path.lstat(), os.fstat(descriptor))
        except OSError:
            return False


@contextmanager
def exclusive_access(path: Path, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Let only one process at a time change the file at ``path``.

    Args:
        path: The file. The lock is a hidden file next to it, which is removed afterwards.
        on_wait: Called once if another process holds the lock.
    """
    lock = FileLock(path.with_name(f".{path.name}{LOCK}"))
    if not lock.acquire():
        on_wait()
        lock.acquire(wait=True)
    try:
        lock.mark()
        try:
            yield
        finally:
            lock.path.unlink(missing_ok=True)  # while it is locked, so that waiting processes see it gone
    finally:
        lock.release()


def machine_identity() -> set[bytes]:
    """Return the lines that identify this machine.

    They are its host name, which survives a restart, and the id of its last start, which all its
    containers share.
    """
    lines = {f"host {socket.gethostname()}\n".encode()}
    with suppress(OSError):
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        lines.add(f"start {boot_id}\n".encode())
    return lines


def read_marker(path: Path) -> set[bytes] | None:
    """Read the lines that :meth:`FileLock.mark` wrote after the marker.

    Returns:
        The identity of the machine; None if the file has no marker.

    Raises:
        OSError: There is no such file.
    """
    if not stat.S_ISREG(path.lstat().st_mode):
        return None
    with path.open("rb") as stream:
        return set(stream.read(1000).splitlines(keepends=True)) if stream.read(len(MARKER)) == MARKER else None
