"""What all readers share: a lazily read ImageSet, file handles, and library errors turned into one sentence."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, TypeVar
from weakref import ref

import numpy as np
import numpy.typing as npt

from pgen.data.events import about_events, named_as_stored
from pgen.data.images import FloatArray, ImageSetBase, Indices, checked
from pgen.data.skipped import NOTHING, Skipped
from pgen.errors import DamagedImage, PgenError
from pgen.utils.resources import free_memory, is_out_of_memory, open_file_limit
from pgen.utils.untrusted import TooLarge

WINDOW_BYTES = 32 * 2**20  #: no reader holds much more than this of a file at once

T = TypeVar("T")

#: Why the system does not hand out what may be a good file, and what helps.
SYSTEM_CAUSES = {
    errno.EACCES: "permission denied; ask its owner to let you read it (chmod)",
    errno.EPERM: "permission denied; ask its owner to let you read it (chmod)",
    errno.EAGAIN: "another program has it open for writing and locked it; wait until that is closed",
    errno.EMFILE: "too many files are open; raise the limit (ulimit -n), or give fewer files at once",
    errno.ENFILE: "too many files are open on this machine; try again when other programs have closed some",
    errno.ENOENT: "it is not there any more; put it back",
    errno.ENOLCK: "its file system has no locks, which HDF5 needs; set HDF5_USE_FILE_LOCKING=FALSE",
    errno.ENOMEM: "there is not enough memory for it; free some, or read fewer images at once by entries=START-STOP",
    errno.ELOOP: "its symbolic links lead in a circle; name the file itself",
    errno.EIO: "the disk reports a fault; try again, or copy the file to another one",
    errno.ESTALE: "its network file system was mounted anew meanwhile; try again",
    errno.ETIMEDOUT: "its network file system does not answer; try again later",
}


@contextmanager
def reading(name: str, what: str) -> Iterator[None]:
    """Turns whatever a library raises on a bad file into one UserError with its cause: their exception types are many and undocumented."""
    try:
        yield
    except PgenError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        if cause := _find_cause(error):
            raise PgenError(f"{name}: cannot be read: {cause}.") from error
        reason = (str(error).strip().splitlines() or [""])[0][:160]
        raise PgenError(
            f"{name}: cannot be read as {what} ({type(error).__name__}: {reason}); it may be truncated or damaged. Fetch it again."
        ) from error


def _find_cause(error: Exception) -> str | None:
    """What keeps a file that may be sound from being read, and what helps; None for damage."""
    message = " ".join(str(error).split())
    if isinstance(error, TooLarge):
        return f"it does not fit into memory ({message}); free some, or give a part of it in a smaller file"
    if isinstance(error, ImportError):
        return f"the package {error.name} is missing; install it (pip install {error.name})" if error.name else message
    if "TorchScript" in message:
        return "it is a TorchScript program, which pgen never runs; save tensors alone"
    if "encrypted" in message and isinstance(error, RuntimeError):
        return "it is encrypted; unpack it first"
    # By the class, since pickle is imported by few.
    if type(error).__name__ == "UnpicklingError" and (match := re.search(r"GLOBAL ([\w.]+)", message)):
        return f"it holds an object of Python, {match[1]}, which pgen never unpickles; save tensors, numbers and text alone"
    if isinstance(error, OSError):
        if "already open for write" in message:
            return "a program has it open for writing, or died while it had; wait for that, or repair the file by h5clear -s"
        # HDF5 tells the number in words alone, in some versions.
        match = re.search(r"errno = ([0-9]+)", message)
        return SYSTEM_CAUSES.get(error.errno or (int(match[1]) if match else 0))
    return None


def require_file(path: Path, name: str) -> None:
    """UserError unless ``path`` leads to a regular file: to open a pipe may take for ever, and a device has no end."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        if isinstance(error, FileNotFoundError) and path.is_symlink():
            raise PgenError(
                f"{name}: a link to {path.readlink()}, which is not there; make the link anew, or put the file back."
            ) from error
        raise PgenError(f"{name}: cannot be read: {SYSTEM_CAUSES.get(error.errno or 0, error.strerror)}.") from error
    if not stat.S_ISREG(mode):
        kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
        raise PgenError(f"{name}: {kinds.get(stat.S_IFMT(mode), 'a device')}, wanted a regular file; copy what it gives into a file.")


def text(value: Any) -> str:
    """One string, whether its file holds text or bytes."""
    one = np.asarray(value).item()
    return one.decode() if isinstance(one, bytes) else str(one)


def plain(values: Any) -> npt.NDArray:
    """Text in place of bytes, and numbers with their bytes in the order of this machine."""
    found = np.asarray(values)
    return np.char.decode(found, "utf-8") if found.dtype.kind == "S" else found.astype(found.dtype.newbyteorder("="), copy=False)


class ForkSafeHandle(Generic[T]):
    """An open file, or what was read of one: opened on first use, where it is not given, and again in every forked process: HDF5 and ROOT
    handles do not survive a fork.

    Of all handles those used last stay open, as far as the limits of this process for open files and for memory allow.

    Args:
        open_file: Opens it.
        file: It, where it is open already.
        files: How many files it keeps open, if it has no attribute ``files`` that says so.
        memory: Bytes of memory that it keeps, if it has no attribute ``memory``.
    """

    def __init__(self, open_file: Callable[[], T], file: T | None = None, *, files: int = 1, memory: int = 0) -> None:
        self.open_file, self.file = open_file, file
        self.pid = -1 if file is None else os.getpid()
        self._needs = (files, memory)
        self._held = (0, 0)
        self._reference = ref(self)
        if file is not None:
            self()

    def __call__(self) -> T:
        if self.file is None or self.pid != os.getpid():
            self.close()
            _make_room(*self._needs)
            self.file, self.pid = self.open_file(), os.getpid()
        self._hold(getattr(self.file, "files", self._needs[0]), getattr(self.file, "memory", self._needs[1]))
        return self.file

    def close(self) -> None:
        """Close it until it is used again; what is being read from it is read to its end."""
        self.file = None
        self._hold(0, 0)
        _OPEN.pop(id(self), None)

    def __del__(self) -> None:
        self.close()

    def _hold(self, files: int, memory: int) -> None:
        """Note what it holds now, and that it was used last."""
        _HELD["files"] += files - self._held[0]
        _HELD["memory"] += memory - self._held[1]
        self._held = (files, memory)
        _OPEN.pop(id(self), None)
        _OPEN[id(self)] = self._reference


#: All handles that are open, in the order in which they were used, and how many files and bytes they hold together.
_OPEN: dict[int, ref[ForkSafeHandle]] = {}
_HELD = {"files": 0, "memory": 0}
#: Files that all handles keep open at most, and of the limit of this process the fraction.
MOST_FILES, FRACTION_OF_FILES = 256, 0.25


def _make_room(files: int, memory: int) -> None:
    """Close the handles used least recently until there is room for one more, of so many files and bytes."""
    most = {
        "files": max(1, min(MOST_FILES, int(FRACTION_OF_FILES * open_file_limit()))) - files,
        "memory": (free_memory() + _HELD["memory"]) // 2 - memory,
    }
    if all(_HELD[what] <= most[what] for what in most):
        return
    for reference in list(_OPEN.values()):
        handle = reference()
        if handle and any(_HELD[what] > most[what] and held for what, held in zip(most, handle._held, strict=True)):
            handle.close()


def make_window(counts: Sequence[int], read: Callable[[int, int, int], npt.NDArray]) -> Callable[[int, int], npt.NDArray]:
    """The ``window`` of :class:`LazyImages` for parts one after the other.

    Args:
        counts: How many images each part holds.
        read: Takes the number of a part, and the first image and the one behind the last to read of it.
    """
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)

    def window(first: int, stop: int) -> npt.NDArray:
        touched = range(int(np.searchsorted(starts, first, "right")) - 1, int(np.searchsorted(starts, stop, "left")))
        blocks = [read(k, max(first - int(starts[k]), 0), min(stop - int(starts[k]), counts[k])) for k in touched]
        return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)

    return window


class LazyImages(ImageSetBase):
    """An ImageSet read in windows.

    ``window(first, stop)`` returns images (stop - first, C, H, W) for the file's consecutive entries; image ``i`` of the set is entry
    ``entries[i]``. Scattered reads become as few windows as possible, none of them larger than WINDOW_BYTES.

    ``events``: of each image, empty where it has no name (see :mod:`pgen.data.events`); None: of none.
    """

    def __init__(
        self,
        window: Callable[[int, int], npt.NDArray],
        shape: tuple[int, int, int],
        *,
        name: str,
        entries: npt.NDArray[np.int64],
        ids: Sequence[str] | npt.NDArray | None = None,
        events: Sequence[str] | npt.NDArray | None = None,
        labels: Mapping[str, npt.NDArray] | None = None,
        unit: str = "ADC",
        geometry: npt.NDArray[np.float64] | None = None,
        left_out: Skipped = NOTHING,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        if not len(entries) or 0 in shape:
            raise PgenError(f"{name}: found {len(entries)} images of shape {shape}, wanted at least one pixel of one image.")
        self.window, self.entries = window, entries
        self.name, self.shape, self.unit, self.geometry = name, shape, unit, geometry
        with reading(name, "images with ids and labels"):
            self.ids = plain(entries if ids is None else ids).astype(str)
            names = named_as_stored(plain(events).astype(str)) if events is not None else np.zeros(self.ids.shape, "U1")
            self.unnamed = names == ""  # events that are named by the file
            self.events = np.where(self.unnamed, self.ids, names) if names.shape == self.ids.shape else names
            self.labels: Mapping[str, npt.NDArray] = {label: plain(values) for label, values in (labels or {}).items()}
        self.left_out, self.about = left_out, dict(about or {})
        self.about.setdefault("event_names", about_events(names))
        for what, values in {"ids": self.ids, "events": self.events, **self.labels}.items():
            if not values.ndim or len(values) != len(entries) or (values.ndim > 1 and what not in self.labels):
                raise PgenError(f"{name}: found {what} of shape {values.shape} for {len(entries)} images, wanted one each; leave it out.")
        wanted = (len(entries), shape[0], 4)
        if geometry is not None and (geometry.shape != wanted or geometry.dtype.kind != "f"):
            raise PgenError(f"{name}: found a geometry of {geometry.dtype} {geometry.shape}, wanted float numbers {wanted}; leave it out.")

    def __len__(self) -> int:
        return len(self.entries)

    def read(self, indices: Indices) -> FloatArray:
        wanted, back = np.unique(self.entries[np.asarray(indices, dtype=np.int64)], return_inverse=True)
        images = np.empty((len(wanted), *self.shape), np.float32)
        longest = max(1, WINDOW_BYTES // (4 * int(np.prod(self.shape))))
        start = 0
        while start < len(wanted):
            ahead = wanted[start : start + longest]
            stop = start + int(np.sum(ahead == wanted[start] + np.arange(len(ahead))))
            try:
                with reading(self.name, "images"):
                    images[start:stop] = checked(self.window(int(wanted[start]), int(wanted[stop - 1]) + 1), self.name)
            except DamagedImage as error:
                raise DamagedImage(f"{error} Or skip such images by check=true.", error.reason) from error
            start = stop
        return images[back]


def from_array(array: npt.NDArray, *, name: str, **rest: Any) -> LazyImages:
    """An ImageSet over an array (in memory or mapped) that keeps the array's own type until it is read."""
    if array.dtype.kind not in "biuf":
        raise PgenError(f"{name}: found an array of type {array.dtype}, wanted real numbers.")
    if array.ndim not in (3, 4):
        raise PgenError(f"{name}: found an array of shape {array.shape}, wanted images as (N, H, W) or (N, C, H, W).")
    stack = array[:, None] if array.ndim == 3 else array
    return LazyImages(lambda first, stop: stack[first:stop], stack.shape[1:], name=name, entries=np.arange(len(stack)), **rest)
