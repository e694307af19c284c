"""Means of training metrics, summed on the device so that a step does not wait for the GPU."""

from __future__ import annotations

import torch
from torch import Tensor

from pgen.engine.distributed.group import ProcessGroup


class MetricAccumulator:
    """Sums metrics until they are computed and reset, over all ranks of a group."""

    def __init__(self, group: ProcessGroup) -> None:
        self._group = group
        self._sums: dict[str, Tensor] = {}
        self._weights: dict[str, float] = {}

    def add(self, metrics: dict[str, Tensor], weight: float = 1.0) -> None:
        """Add the means over a micro-batch that is the fraction ``weight`` of a batch."""
        for name, value in metrics.items():
            value = weight * value.detach().double().reshape(())
            self._sums[name] = self._sums[name] + value if name in self._sums else value
            self._weights[name] = self._weights.get(name, 0.0) + weight

    def compute_and_reset(self) -> dict[str, float]:
        """Return the means since the last call."""
        if not self._sums:
            return {}
        sums = torch.stack([value.cpu() for value in self._sums.values()])
        weights = torch.tensor(list(self._weights.values()), dtype=torch.float64)
        self._group.all_reduce_sum([sums, weights])
        means = dict(zip(self._sums, (sums / weights).tolist(), strict=True))
        self._sums, self._weights = {}, {}
        return means
