"""Means of training metrics, kept on the device so that a step does not wait for the GPU."""

from __future__ import annotations

import torch
from torch import Tensor


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

    def read(self) -> dict[str, float]:
        """The means, and start anew."""
        means = {name: float(total) / self._count[name] for name, total in self._sums.items()}
        self._sums, self._count = {}, {}
        return means
