"""Write HDF5 files, and append to tables in them."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy.typing as npt

from pgen.utils.deferred_signals import defer_signals


class _FailSafeFile(io.RawIOBase):
    """A file that hides failed writes from the HDF5 library.

    After a failed write the library would crash, at the latest when the process ends.

    Attributes:
        error: The first error of a write, or None.
    """

    def __init__(self, path: Path, mode: Literal["w", "r+"]) -> None:
        self._descriptor = os.open(path, os.O_RDWR | (os.O_CREAT | os.O_TRUNC if mode == "w" else 0), 0o666)
        self._position = 0
        self.error: OSError | None = None

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position}.get(whence)
        self._position = offset + (os.fstat(self._descriptor).st_size if base is None else base)
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any) -> int:
        count = os.preadv(self._descriptor, [buffer], self._position)
        self._position += count
        return count

    def write(self, content: Any) -> int:
        remaining = memoryview(content)
        try:
            while remaining and self.error is None:
                count = os.pwrite(self._descriptor, remaining, self._position)
                self._position, remaining = self._position + count, remaining[count:]
        except OSError as error:
            self.error = error
        self._position += len(remaining)
        return len(content)

    def truncate(self, size: int | None = None) -> int:
        size = self._position if size is None else size
        try:
            if self.error is None:
                os.ftruncate(self._descriptor, size)
        except OSError as error:
            self.error = error
        return size

    def flush(self) -> None:
        """Nothing is buffered."""

    def close(self) -> None:
        if not self.closed:
            os.close(self._descriptor)
        super().close()


class HDF5Output:
    """An HDF5 file being written. It must only be changed within :meth:`change`."""

    def __init__(self, stream: _FailSafeFile, file: Any) -> None:
        self._stream, self._file = stream, file

    @contextmanager
    def change(self) -> Iterator[Any]:
        """Change the file in a block; yields the `h5py.File`.

        Raises:
            OSError: The change could not be written.
        """
        # HDF5 would take an exception from a signal handler for a failed write.
        with defer_signals():
            try:
                yield self._file
            except Exception as error:
                # What was not written cannot be read either, so the first failed write is the
                # cause.
                raise self._stream.error or error from None
        self.check()

    def check(self) -> None:
        """Raise the OSError of a write that failed."""
        if self._stream.error is not None:
            raise self._stream.error

    def append(self, name: str, values: npt.NDArray, *, chunk: int, **compression: Any) -> None:
        """Append rows to a dataset.

        Args:
            name: The dataset; it is created if it does not exist.
            values: Values (n,).
            chunk: Rows per chunk of a new dataset.
            **compression: h5py's compression options for a new dataset.

        Raises:
            OSError: The rows could not be written.
        """
        with self.change() as file:
            _extend(file, name, values, chunk, compression)


def _extend(file: Any, name: str, values: npt.NDArray, chunk: int, compression: dict[str, Any]) -> None:
    # A function of its own, because h5py writes to a dataset again when it is deleted, which must
    # happen within HDF5Output.change.
    if name not in file:
        file.create_dataset(name, (0,), values.dtype, maxshape=(None,), chunks=(chunk,), **compression)
    dataset = file[name]
    start = len(dataset)
    dataset.resize(start + len(values), axis=0)
    dataset[start:] = values


@contextmanager
def open_output(path: Path, mode: Literal["w", "r+"] = "w") -> Iterator[HDF5Output]:
    """Open a new HDF5 file (``w``) or an existing one (``r+``) for writing.

    Raises:
        OSError: It could not be written, for example because of a full disk, a quota or a limit on
            file sizes.
    """
    import h5py

    stream = _FailSafeFile(path, mode)
    try:
        with defer_signals():
            file = h5py.File(stream, mode)
        output = HDF5Output(stream, file)
        try:
            yield output
        finally:
            with defer_signals():
                _close(file, stream)
        output.check()
    finally:
        stream.close()


def _close(file: Any, stream: _FailSafeFile) -> None:
    try:
        file.close()
    except Exception:
        if stream.error is None:
            raise
