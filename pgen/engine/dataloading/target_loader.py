"""All targets at once, step after step, for a model that wants them so."""

from __future__ import annotations

from collections.abc import Callable, Generator

import torch
from torch import Tensor

from pgen.engine.dataloading.dataset import TrainingDataset
from pgen.engine.distributed.group import BatchShard
from pgen.engine.runtime.seeding import generator


class AllTargets:
    """A part of the targets on the device, and the conditions of all. Codes that came with a spread are drawn anew in each epoch, each from
    the distribution that its image was encoded to."""

    def __init__(self, data: TrainingDataset, part: BatchShard, device: torch.device, seed: int, *, sparse: bool) -> None:
        self._part, self._device, self._seed = part, device, seed
        self._targets = data.targets(part, device, sparse=sparse)
        self.condition = None if data.condition is None else data.condition.to(device)
        self._spread = None if data.spread is None else part.of(data.spread).to(device)

    def stream(self, epoch: Callable[[], float]) -> Generator[Tensor]:
        """The targets of each step, without end; the same tensor as long as they are the same. epoch: how many are done."""
        if self._spread is None:
            while True:
                yield self._targets
        drawn, targets = -1, self._targets
        while True:
            if (now := int(epoch())) != drawn:
                drawn = now
                # Of all targets, so that it does not depend on how they are shared out.
                size = (self._part.total, self._targets.shape[1])
                noise = torch.randn(size, generator=generator(self._seed, "codes", drawn, self._device), device=self._device)
                targets = self._targets + self._spread * self._part.of(noise)
            yield targets
