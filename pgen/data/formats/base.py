"""What all readers share: lazily read image sets, file handles, and errors of libraries."""

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

from pgen.data.events import describe_names, strip_unique_suffix
from pgen.data.images import FloatArray, ImageSet, Indices, require_finite
from pgen.data.skipped import NONE_SKIPPED, Skipped
from pgen.errors import ChoiceNeeded, DamagedImage, DataError, PgenError, listed
from pgen.utils.resources import free_memory, is_out_of_memory, open_file_limit
from pgen.utils.untrusted import TooLarge

#: No reader holds much more than this of a file at once.
WINDOW_BYTES = 32 * 2**20

T = TypeVar("T")

#: By error number: why the system refuses what may be a good file, and what helps.
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
def wrap_read_errors(name: str, kind: str) -> Iterator[None]:
    """Turn whatever a library raises on a bad file into a DataError with its cause.

    Any exception is caught, because the exception types of the libraries are many and undocumented.

    Args:
        name: What the user typed.
        kind: What the file is read as.

    Raises:
        DataError: If the block raises another exception than a PgenError or a lack of memory.
    """
    try:
        yield
    except PgenError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        if cause := _find_cause(error):
            raise DataError(f"{name}: cannot be read: {cause}.") from error
        reason = (str(error).strip().splitlines() or [""])[0][:160]
        raise DataError(
            f"{name}: cannot be read as {kind} ({type(error).__name__}: {reason}); it may be truncated or damaged. Fetch it again."
        ) from error


def _find_cause(error: Exception) -> str | None:
    """Return why a file that may be sound cannot be read, and what helps; None for damage."""
    message = " ".join(str(error).split())
    if isinstance(error, TooLarge):
        return f"it does not fit into memory ({message}); free some, or give a part of it in a smaller file"
    if isinstance(error, ImportError):
        return f"the package {error.name} is missing; install it (pip install {error.name})" if error.name else message
    if "TorchScript" in message:
        return "it is a TorchScript program, which pgen never runs; save only tensors"
    if "encrypted" in message and isinstance(error, RuntimeError):
        return "it is encrypted; unpack it first"
    # By name, so that pickle need not be imported.
    if type(error).__name__ == "UnpicklingError" and (match := re.search(r"GLOBAL ([\w.]+)", message)):
        return f"it holds an object of Python, {match[1]}, which pgen never unpickles; save only tensors, numbers and text"
    if isinstance(error, OSError):
        if "already open for write" in message:
            return "a program has it open for writing, or died while it had; wait for that, or repair the file by h5clear -s"
        # Some versions of HDF5 give the number only in the message.
        match = re.search(r"errno = ([0-9]+)", message)
        return SYSTEM_CAUSES.get(error.errno or (int(match[1]) if match else 0))
    return None


def require_file(path: Path, name: str) -> None:
    """Refuse all but a regular file: opening a pipe may block for ever, a device has no end.

    Raises:
        DataError: If ``path`` does not lead to a regular file.
    """
    try:
        mode = path.stat().st_mode
    except OSError as error:
        if isinstance(error, FileNotFoundError) and path.is_symlink():
            raise DataError(
                f"{name}: a link to {path.readlink()}, which is not there; make the link anew, or put the file back."
            ) from error
        raise DataError(f"{name}: cannot be read: {SYSTEM_CAUSES.get(error.errno or 0, error.strerror)}.") from error
    if not stat.S_ISREG(mode):
        kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
        raise DataError(f"{name}: {kinds.get(stat.S_IFMT(mode), 'a device')}, expected a regular file; copy its data into a file.")


def to_text(value: Any) -> str:
    """Return a single string, stored as text or as bytes."""
    item = np.asarray(value).item()
    return item.decode() if isinstance(item, bytes) else str(item)


def to_native(values: Any) -> npt.NDArray:
    """Return values as text in place of bytes, and numbers in this machine's byte order."""
    array = np.asarray(values)
    return np.char.decode(array, "utf-8") if array.dtype.kind == "S" else array.astype(array.dtype.newbyteorder("="), copy=False)


def select_one(kind: str, available: list[str], requested: str | None, name: str) -> str:
    """Select what to read: the requested one, or the only one available.

    Args:
        kind: Name of the option that selects, such as "producer".
        available: What there is.
        requested: The value of the option, or None.
        name: What the user typed, for messages.

    Raises:
        DataError: If there is none, or not the requested one.
        ChoiceNeeded: If there are several, and none is requested.
    """
    if not available:
        raise DataError(f"{name}: found no {kind} in it, expected one; is this the right file?")
    if requested is not None and requested not in available:
        raise DataError(f"{name}: has no {kind} {requested!r}; found {listed(available)}. Give one of these as {kind}=.")
    if requested is None and len(available) > 1:
        raise ChoiceNeeded(f"{name}: holds more than one {kind} ({listed(available, 8)}); choose one by adding {kind}={available[0]}.")
    return requested or available[0]


class ForkSafeHandle(Generic[T]):
    """An open file that is opened on first use, and again in every forked process.

    HDF5 and ROOT handles do not survive a fork. Of all handles, those used last stay open, as far
    as this process's limits for open files and memory allow.

    Args:
        open_file: Opens the file, or reads what is kept of it.
        file: The open file, if there is one.
        files: Number of files it keeps open, if it has no attribute ``files``.
        memory: Bytes of memory it keeps, if it has no attribute ``memory``.
    """

    def __init__(self, open_file: Callable[[], T], file: T | None = None, *, files: int = 1, memory: int = 0) -> None:
        self.open_file, self.file = open_file, file
        self.pid = -1 if file is None else os.getpid()
        self._default_usage = (files, memory)
        self._usage = (0, 0)
        self._reference = ref(self)
        if file is not None:
            self()

    def __call__(self) -> T:
        """Return the open file."""
        if self.file is None or self.pid != os.getpid():
            self.close()
            _make_room(*self._default_usage)
            self.file, self.pid = self.open_file(), os.getpid()
        self._set_usage(getattr(self.file, "files", self._default_usage[0]), getattr(self.file, "memory", self._default_usage[1]))
        return self.file

    def close(self) -> None:
        """Close it until it is used again; reads under way finish."""
        self.file = None
        self._set_usage(0, 0)
        _OPEN.pop(id(self), None)

    def __del__(self) -> None:
        self.close()

    def _set_usage(self, files: int, memory: int) -> None:
        """Note what it uses now, and that it was used last."""
        _USAGE["files"] += files - self._usage[0]
        _USAGE["memory"] += memory - self._usage[1]
        self._usage = (files, memory)
        _OPEN.pop(id(self), None)
        _OPEN[id(self)] = self._reference


#: All open handles, the least recently used first, and the files and bytes that they use together.
_OPEN: dict[int, ref[ForkSafeHandle]] = {}
_USAGE = {"files": 0, "memory": 0}
#: Files that all handles keep open at most: a number, and a fraction of this process's limit.
MAX_FILES, MAX_FRACTION_OF_FILES = 256, 0.25


def _make_room(files: int, memory: int) -> None:
    """Close the least recently used handles until so many files and bytes are free."""
    limits = {
        "files": max(1, min(MAX_FILES, int(MAX_FRACTION_OF_FILES * open_file_limit()))) - files,
        "memory": (free_memory() + _USAGE["memory"]) // 2 - memory,
    }
    if all(_USAGE[kind] <= limits[kind] for kind in limits):
        return
    for reference in list(_OPEN.values()):
        handle = reference()
        if handle and any(_USAGE[kind] > limits[kind] and used for kind, used in zip(limits, handle._usage, strict=True)):
            handle.close()


def make_window(counts: Sequence[int], read: Callable[[int, int, int], npt.NDArray]) -> Callable[[int, int], npt.NDArray]:
    """Make the ``window`` of :class:`LazyImages` for images that lie in several parts.

    Args:
        counts: Number of images in each part.
        read: Reads images (n, C, H, W) of part k from ``first`` to ``stop``, of (k, first, stop).
    """
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)

    def window(first: int, stop: int) -> npt.NDArray:
        touched = range(int(np.searchsorted(starts, first, "right")) - 1, int(np.searchsorted(starts, stop, "left")))
        blocks = [read(k, max(first - int(starts[k]), 0), min(stop - int(starts[k]), counts[k])) for k in touched]
        return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)

    return window


class LazyImages(ImageSet):
    """Images of a file, read in windows of consecutive entries.

    Scattered reads become as few windows as possible, none of them larger than WINDOW_BYTES.

    Args:
        window: Reads the consecutive entries of the file from ``first`` to ``stop``, (stop - first,
            C, H, W), of (first, stop).
        shape: (C, H, W) of every image.
        name: What the user typed.
        entries: (N,) entry of each image.
        ids: (N,) unique id of each image; by default its entry.
        events: (N,) event of each image, empty if it has no name, see :mod:`pgen.data.events`; None
            for events without names.
        labels: Name to values, (N,) or (N, k).
        unit: Unit of charge.
        geometry: (N, C, 4), see :class:`pgen.data.images.ImageSet`.
        left_out: Events of the file that gave no image.
        about: What ``pgen data info`` shows.

    Attributes:
        is_unnamed: (N,) whether an image's event has no name in the file.

    Raises:
        DataError: If there are no images, or ids, events, labels or geometry are of other lengths.
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
        left_out: Skipped = NONE_SKIPPED,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        if not len(entries) or 0 in shape:
            raise DataError(f"{name}: found {len(entries)} images of shape {shape}; expected at least one pixel of one image.")
        self.window, self.entries = window, entries
        self.name, self.shape, self.unit, self.geometry = name, shape, unit, geometry
        with wrap_read_errors(name, "images with ids and labels"):
            self.ids = to_native(entries if ids is None else ids).astype(str)
            names = strip_unique_suffix(to_native(events).astype(str)) if events is not None else np.zeros(self.ids.shape, "U1")
            self.is_unnamed = names == ""
            self.events = np.where(self.is_unnamed, self.ids, names) if names.shape == self.ids.shape else names
            self.labels = {label: to_native(values) for label, values in (labels or {}).items()}
        self.left_out, self.about = left_out, {**(about or {}), "event_names": describe_names(names)}
        for key, values in {"ids": self.ids, "events": self.events, **self.labels}.items():
            if not values.ndim or len(values) != len(entries) or (values.ndim > 1 and key not in self.labels):
                raise DataError(f"{name}: found {key} of shape {values.shape} for {len(entries)} images; expected one each. Leave it out.")
        expected = (len(entries), shape[0], 4)
        if geometry is not None and (geometry.shape != expected or geometry.dtype.kind != "f"):
            raise DataError(f"{name}: found a geometry of {geometry.dtype} {geometry.shape}; expected floats {expected}. Leave it out.")

    def __len__(self) -> int:
        return len(self.entries)

    def read(self, indices: Indices) -> FloatArray:
        """Read the images at ``indices``, (n, C, H, W)."""
        entries, inverse = np.unique(self.entries[np.asarray(indices, dtype=np.int64)], return_inverse=True)
        images = np.empty((len(entries), *self.shape), np.float32)
        longest = max(1, WINDOW_BYTES // (4 * int(np.prod(self.shape))))
        start = 0
        while start < len(entries):
            ahead = entries[start : start + longest]
            stop = start + int(np.sum(ahead == entries[start] + np.arange(len(ahead))))
            try:
                with wrap_read_errors(self.name, "images"):
                    images[start:stop] = require_finite(self.window(int(entries[start]), int(entries[stop - 1]) + 1), self.name)
            except DamagedImage as error:
                raise DamagedImage(f"{error} Or skip such images by check=true.", error.reason) from error
            start = stop
        return images[inverse]


def from_array(array: npt.NDArray, *, name: str, **metadata: Any) -> LazyImages:
    """Make a set of an array (N, H, W) or (N, C, H, W), which keeps its type until it is read.

    Args:
        array: The images.
        name: What the user typed.
        metadata: Arguments of :class:`LazyImages`.

    Raises:
        DataError: If the array is of another rank or type.
    """
    if array.dtype.kind not in "biuf":
        raise DataError(f"{name}: found an array of type {array.dtype}; expected real numbers.")
    if array.ndim not in (3, 4):
        raise DataError(f"{name}: found an array of shape {array.shape}; expected images as (N, H, W) or (N, C, H, W).")
    stack = array[:, None] if array.ndim == 3 else array
    return LazyImages(lambda first, stop: stack[first:stop], stack.shape[1:], name=name, entries=np.arange(len(stack)), **metadata)
