"""Signals that wait for the end of a block."""

from __future__ import annotations

import signal
from threading import Thread

import pytest

from pgen.utils.deferred_signals import defer_signals


def test_a_signal_is_delivered_after_the_block() -> None:
    events = []
    with pytest.raises(KeyboardInterrupt), defer_signals():
        signal.raise_signal(signal.SIGINT)
        events.append("end of block")
    assert events == ["end of block"] and signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_handlers_are_restored_after_an_error() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ValueError), defer_signals():
        assert signal.getsignal(signal.SIGTERM) is not before
        raise ValueError
    assert signal.getsignal(signal.SIGTERM) is before


def test_other_threads_are_not_affected() -> None:
    handlers = []

    def run() -> None:
        with defer_signals():
            handlers.append(signal.getsignal(signal.SIGINT))

    thread = Thread(target=run)
    thread.start()
    thread.join()
    assert handlers == [signal.getsignal(signal.SIGINT)]
