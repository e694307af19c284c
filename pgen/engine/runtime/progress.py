"""How the engine tells what it does. It prints nothing itself: the command line gives it a Reporter that does."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """One moment of training. fraction: 0 to 1 of the whole. rate: samples a second. memory: bytes on the GPU, or None. is_last: whether
    training ends here."""

    step: int
    epoch: int
    num_epochs: int
    fraction: float
    rate: float
    metrics: dict[str, float]
    memory: int | None = None
    is_last: bool = False


class Reporter:
    """Says nothing. The base of every reporter."""

    def message(self, text: str) -> None:
        """Something worth a line."""

    def progress(self, progress: Progress) -> None:
        """A step was done; called every few steps."""

    def tick(self, done: int, total: int) -> None:
        """``done`` of ``total`` images were handled."""
