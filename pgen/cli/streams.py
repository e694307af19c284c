"""Keep commands running when the terminal, pipe or disk that their output goes to is gone."""

from __future__ import annotations

import errno
import io
import os
import select
import sys
from typing import Any, TextIO

#: Errors when the reader of a stream has ended, such as `head` or a terminal: nothing is lost then.
_READER_GONE = (errno.EPIPE, errno.EIO, errno.EBADF)


class _RobustFile(io.FileIO):
    """A file descriptor that never fails to write.

    After the first error everything written to it is dropped, by other writers too.

    Attributes:
        error: The first error.
    """

    error: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            # None if the descriptor is non-blocking and its reader is slow.
            while (written := super().write(data)) is None:
                select.select((), (self,), ())
            return written
        except OSError as error:
            self.error = error
            _redirect_to_null(self.fileno())
            return memoryview(data).nbytes


def protect() -> None:
    """Replace standard output and error by streams that never raise.

    Characters that the terminal's encoding lacks are escaped.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            _redirect_to_null(number)  # otherwise the next file to be opened would get this number
    sys.stdout, sys.stderr = _wrap(1, sys.stdout), _wrap(2, sys.stderr)


def lost_output() -> OSError | None:
    """Flush standard output and return the error by which a part of it was lost.

    Returns:
        The error; None if nothing was lost, or the reader had ended.
    """
    sys.stdout.flush()
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    error = raw.error if isinstance(raw, _RobustFile) else None
    return None if error is None or error.errno in _READER_GONE else error


def _wrap(number: int, stream: TextIO | None) -> TextIO:
    """Return a robust stream for descriptor ``number``, or ``stream`` if that writes elsewhere."""
    encoding, by_line = "utf-8", True
    if stream is not None:
        try:
            if stream.fileno() != number:
                return stream
            stream.flush()
        except (OSError, ValueError):
            return stream
        encoding, by_line = stream.encoding, getattr(stream, "line_buffering", True) or getattr(stream, "write_through", False)
    buffer = io.BufferedWriter(_RobustFile(number, "w", closefd=False))
    return io.TextIOWrapper(buffer, encoding, errors="backslashreplace", line_buffering=by_line)


def _redirect_to_null(number: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    if null != number:
        os.dup2(null, number)
        os.close(null)
