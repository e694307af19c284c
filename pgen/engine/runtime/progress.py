"""Progress events and log messages of long work.

The library prints nothing: messages go to ``logging.getLogger("pgen")``, and progress to a
:class:`Progress` that the command line or a notebook shows.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

logger = logging.getLogger("pgen")


@dataclass(frozen=True)
class TrainingStatus:
    """The state of training after a step.

    Attributes:
        step: Steps done.
        epoch: Number of the current epoch, from 1.
        num_epochs: Epochs of the whole run.
        fraction: Fraction of the whole run that is done, 0 to 1.
        rate: Samples per second.
        metrics: Losses by name.
        memory: Bytes in use on the GPU; None on the CPU.
        is_last: Whether training ends here.
    """

    step: int
    epoch: int
    num_epochs: int
    fraction: float
    rate: float
    metrics: dict[str, float]
    memory: int | None = None
    is_last: bool = False


class Progress:
    """What long work reports to. This base class shows nothing."""

    def training(self, status: TrainingStatus) -> None:
        """Show the state of training; called several times per second."""

    def images(self, done: int, total: int) -> None:
        """Show that ``done`` of ``total`` images have been processed."""


def log_line(text: str) -> None:
    """Log a line; one that begins with "warning: " as a warning."""
    if text.startswith("warning: "):
        logger.warning(text.removeprefix("warning: "))
    else:
        logger.info(text)
