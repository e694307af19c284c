"""What all readers share: a lazily read ImageSet, file handles, and library errors turned into one sentence."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from pgen.data.events import about_events, named_as_stored
from pgen.data.images import Described, FloatArray, Indices, checked
from pgen.data.skipped import NOTHING, Skipped
from pgen.errors import DamagedImage, UserError
from pgen.resources import is_out_of_memory

WINDOW_BYTES = 32 * 2**20  #: no reader holds much more than this of a file at once

T = TypeVar("T")


@contextmanager
def reading(name: str, what: str) -> Iterator[None]:
    """Turns whatever a library raises on a bad file into one UserError: their exception types are many and undocumented."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        reason = (str(error).strip().splitlines() or [""])[0][:160]
        raise UserError(
            f"{name}: cannot be read as {what} ({type(error).__name__}: {reason}); it may be truncated or damaged. Fetch it again."
        ) from error


def text(value: Any) -> str:
    """One string, whether its file holds text or bytes."""
    one = np.asarray(value).item()
    return one.decode() if isinstance(one, bytes) else str(one)


def plain(values: Any) -> npt.NDArray:
    """Text in place of bytes, and numbers with their bytes in the order of this machine."""
    found = np.asarray(values)
    return np.char.decode(found, "utf-8") if found.dtype.kind == "S" else found.astype(found.dtype.newbyteorder("="), copy=False)


class Handle(Generic[T]):
    """An open file, or what is read of one: opened on first use, where it is not given, and again in every forked process: HDF5 and ROOT
    handles do not survive a fork."""

    def __init__(self, open_file: Callable[[], T], file: T | None = None) -> None:
        self.open_file, self.file = open_file, file
        self.pid = -1 if file is None else os.getpid()

    def __call__(self) -> T:
        if self.file is None or self.pid != os.getpid():
            self.file, self.pid = self.open_file(), os.getpid()
        return self.file


class LazyImages(Described):
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
            raise UserError(f"{name}: found {len(entries)} images of shape {shape}, wanted at least one pixel of one image.")
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
                raise UserError(f"{name}: found {what} of shape {values.shape} for {len(entries)} images, wanted one each; leave it out.")
        wanted = (len(entries), shape[0], 4)
        if geometry is not None and (geometry.shape != wanted or geometry.dtype.kind != "f"):
            raise UserError(f"{name}: found a geometry of {geometry.dtype} {geometry.shape}, wanted float numbers {wanted}; leave it out.")

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
        raise UserError(f"{name}: found an array of type {array.dtype}, wanted real numbers.")
    if array.ndim not in (3, 4):
        raise UserError(f"{name}: found an array of shape {array.shape}, wanted images as (N, H, W) or (N, C, H, W).")
    stack = array[:, None] if array.ndim == 3 else array
    return LazyImages(lambda first, stop: stack[first:stop], stack.shape[1:], name=name, entries=np.arange(len(stack)), **rest)
