"""HDF5 files that pgen writes, and tables in them that grow."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy.typing as npt

from pgen.utils.files import signals_held


class _FailSafeFile(io.RawIOBase):
    """A file whose writes never fail as far as HDF5 can tell; ``error`` is the first that did.

    A failed write leaves the HDF5 library in a state from which it crashes, at the latest when the process ends.
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
        left = memoryview(content)
        try:
            while left and self.error is None:
                count = os.pwrite(self._descriptor, left, self._position)
                self._position, left = self._position + count, left[count:]
        except OSError as error:
            self.error = error
        self._position += len(left)
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


class Output:
    """An HDF5 file being written, which is changed within :meth:`changing` alone."""

    def __init__(self, stream: _FailSafeFile, file: Any) -> None:
        self._stream, self._file = stream, file

    @contextmanager
    def changing(self) -> Iterator[Any]:
        """The file, to be changed by the block. OSError where that could not be written."""
        # A signal's exception must not come up amid HDF5, which would take it for a failed write.
        with signals_held():
            try:
                yield self._file
            except Exception as error:
                # What was not written cannot be read either: the cause is the first failure.
                raise self._stream.error or error from None
        self.check()

    def check(self) -> None:
        """OSError where a write has failed."""
        if self._stream.error is not None:
            raise self._stream.error

    def append(self, name: str, values: npt.NDArray, *, chunk: int, **compression: Any) -> None:
        """Add ``values`` (n,) to dataset ``name``, which is made where there is none, of chunks of ``chunk`` rows, with h5py's options of
        compression."""
        with self.changing() as file:
            _extend(file, name, values, chunk, compression)


def _extend(file: Any, name: str, values: npt.NDArray, chunk: int, compression: dict[str, Any]) -> None:
    # A function of its own: the dataset is written to once more when it is let go of, which must be within Output.changing.
    if name not in file:
        file.create_dataset(name, (0,), values.dtype, maxshape=(None,), chunks=(chunk,), **compression)
    dataset = file[name]
    start = len(dataset)
    dataset.resize(start + len(values), axis=0)
    dataset[start:] = values


@contextmanager
def open_output(path: Path, mode: Literal["w", "r+"] = "w") -> Iterator[Output]:
    """A new HDF5 file, or with ``r+`` an existing one, to write to.

    Raises:
        OSError: It could not be written, for whatever cause: a full disk, a quota, a limit on the size of files, a failing disk.
    """
    import h5py

    stream = _FailSafeFile(path, mode)
    try:
        with signals_held():
            file = h5py.File(stream, mode)
        output = Output(stream, file)
        try:
            yield output
        finally:
            with signals_held():
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
