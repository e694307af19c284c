"""Standard output and error that outlive their readers: work continues when a terminal, a pipe or a disk that held its output is gone."""

from __future__ import annotations

import errno
import io
import os
import select
import sys
from typing import Any, TextIO

#: Errors of a reader that has gone, as `head`, `tee` or a terminal: nobody is left to miss what is not written.
_GONE = (errno.EPIPE, errno.EIO, errno.EBADF)


class _Lasting(io.FileIO):
    """A file descriptor that takes everything: after the first error what is written to it is dropped, by other writers too."""

    lost: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            # None where the descriptor does not block and its reader is slow.
            while (written := super().write(data)) is None:
                select.select((), (self,), ())
            return written
        except OSError as error:
            self.lost = error
            _to_nowhere(self.fileno())
            return memoryview(data).nbytes


def protect() -> None:
    """Let no error of standard output and error reach the code that prints. A name that the terminal's encoding lacks is escaped."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            _to_nowhere(number)  # else the next file that is opened would be taken for it
    sys.stdout, sys.stderr = _lasting(1, sys.stdout), _lasting(2, sys.stderr)


def lost_output() -> OSError | None:
    """Why standard output is not complete, once all of it is written; None where it is, or where its reader left."""
    sys.stdout.flush()
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    error = raw.lost if isinstance(raw, _Lasting) else None
    return None if error is None or error.errno in _GONE else error


def _lasting(number: int, stream: TextIO | None) -> TextIO:
    """A stream on the descriptor ``number`` in place of ``stream``, unless that writes elsewhere."""
    encoding, by_line = "utf-8", True
    if stream is not None:
        try:
            if stream.fileno() != number:
                return stream
            stream.flush()
        except (OSError, ValueError):
            return stream
        encoding, by_line = stream.encoding, getattr(stream, "line_buffering", True) or getattr(stream, "write_through", False)
    buffer = io.BufferedWriter(_Lasting(number, "w", closefd=False))
    return io.TextIOWrapper(buffer, encoding, errors="backslashreplace", line_buffering=by_line)


def _to_nowhere(number: int) -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    if nowhere != number:
        os.dup2(nowhere, number)
        os.close(nowhere)
