"""Means of training metrics, kept on the device so that a step does not wait for the GPU."""

from __future__ import annotations

import torch
from torch import Tensor

from pgen.engine.distributed.group import ProcessGroup


class MetricAccumulator:
    """Sums since it was last read. ranks: those over which means are taken."""

    def __init__(self, ranks: ProcessGroup) -> None:
        self._ranks = ranks
        self._sums: dict[str, Tensor] = {}
        self._weights: dict[str, float] = {}

    def add(self, metrics: dict[str, Tensor], weight: float = 1.0) -> None:
        """Means over samples that are ``weight`` of a batch."""
        for name, value in metrics.items():
            value = weight * value.detach().double().reshape(())
            self._sums[name] = self._sums[name] + value if name in self._sums else value
            self._weights[name] = self._weights.get(name, 0.0) + weight

    def read(self) -> dict[str, float]:
        """The means, and start anew."""
        if not self._sums:
            return {}
        sums = torch.stack([value.cpu() for value in self._sums.values()])
        weights = torch.tensor(list(self._weights.values()), dtype=torch.float64)
        self._ranks.all_reduce_sum([sums, weights])
        means = dict(zip(self._sums, (sums / weights).tolist(), strict=True))
        self._sums, self._weights = {}, {}
        return means
