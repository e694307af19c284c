"""Signals that end work in order.

On the first signal, training finishes its step and saves, and other commands remove unfinished
files. A second signal acts at once. SIGINT is Ctrl-C, SIGTERM and SIGUSR1 come from schedulers,
SIGHUP from a terminal that closes. An ignored SIGHUP, as under nohup, stays ignored.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

from pgen.errors import Stopped

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)


def raise_on_signals() -> None:
    """Make these signals raise :class:`pgen.errors.Stopped`, except SIGINT (KeyboardInterrupt)."""
    for number in STOPPING:
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, _raise)


class StopSignal:
    """Context manager that records a signal instead of ending the process.

    Outside the main thread, the only one that may set handlers, it records nothing.

    Attributes:
        signal: Number of the signal that came, or None.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._former: dict[int, Any] = {}

    def __enter__(self) -> StopSignal:
        if threading.current_thread() is threading.main_thread():
            for number in STOPPING:
                if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                    self._former[number] = signal.signal(number, self._record)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)

    def _record(self, number: int, frame: FrameType | None) -> None:
        self.signal = number
        _restore_defaults()


def _raise(number: int, frame: FrameType | None) -> None:
    _restore_defaults()
    raise Stopped(number)


def _restore_defaults() -> None:
    """Let the next signal end the process, whatever library is running then."""
    for number in STOPPING:
        if signal.getsignal(number) != signal.SIG_IGN:
            # KeyboardInterrupt unwinds the stack, so that the terminal is restored.
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
