"""Means of training metrics, kept on the device so that a step does not wait for the GPU."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pgen.errors import UserError


class Tracker:
    """Sums since it was last read."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._count: dict[str, int] = {}

    def add(self, metrics: dict[str, Tensor]) -> None:
        for name, value in metrics.items():
            value = torch.as_tensor(value).detach().double()
            self._sums[name] = self._sums[name] + value if name in self._sums else value
            self._count[name] = self._count.get(name, 0) + 1

    def read(self, step: int) -> dict[str, float]:
        """The means, and start anew. UserError where one is not finite."""
        means = {name: float(total) / self._count[name] for name, total in self._sums.items()}
        self._sums, self._count = {}, {}
        bad = [name for name, value in means.items() if not math.isfinite(value)]
        if bad:
            raise diverged(f"{', '.join(bad)} became NaN or infinite", step)
        return means


def diverged(what: str, step: int) -> UserError:
    return UserError(
        f"Training diverged: {what} at or before step {step}. The last good checkpoint is kept; "
        "start again with a smaller learning rate (the --…lr options), or with --precision fp32."
    )
