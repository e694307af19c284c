"""Blocks of code that signals do not interrupt."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

#: Signals that end a process.
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def defer_signals() -> Iterator[None]:
    """Deliver signals that end the process only after the block.

    Outside the main thread this does nothing: Python handles signals in the main thread only.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers: dict[int, Any] = {}
    received: list[int] = []
    try:
        for number in ENDING:
            if signal.getsignal(number) is not None:  # a handler that C code set cannot be restored
                handlers[number] = signal.signal(number, lambda number, frame: received.append(number))
        yield
    finally:
        for deferred, handler in handlers.items():
            signal.signal(deferred, handler)
        if received:
            signal.raise_signal(received[0])
