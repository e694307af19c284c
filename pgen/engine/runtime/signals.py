"""Signals that end a command in order: training saves, others remove incomplete outputs.

SIGINT is Ctrl-C, SIGTERM and SIGUSR1 come from schedulers, SIGHUP from a terminal that closes; if
SIGHUP is ignored, as by nohup, it stays ignored. A second signal ends the process at once.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

from pgen.errors import Stopped

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)


def raise_on_signals() -> None:
    """Make these signals raise :class:`pgen.errors.Stopped`.

    SIGINT raises KeyboardInterrupt already.
    """
    for number in STOPPING:
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, _raise)


class StopSignal:
    """Context in which these signals only store their number in ``signal``."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self._former: dict[int, Any] = {}

    def __enter__(self) -> StopSignal:
        if threading.current_thread() is threading.main_thread():
            for number in STOPPING:
                if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                    self._former[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = number
        _end_on_next_signal()


def _raise(number: int, frame: FrameType | None) -> None:
    _end_on_next_signal()
    raise Stopped(number)


def _end_on_next_signal() -> None:
    """Restore the default handlers, so that the next signal ends the process at once."""
    for number in STOPPING:
        if signal.getsignal(number) != signal.SIG_IGN:
            # KeyboardInterrupt lets the terminal be restored.
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
