"""What a model sees of the engine while it trains."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pgen.engine.seeds import generator


class Trainer:
    """Passed to ``training_step``.

    step: number of the step being done, from 0. seed: of the run. batch_size, shuffle: the user's options of these names.
    optimizers: as the model made them.
    """

    def __init__(
        self, optimizers: dict[str, torch.optim.Optimizer], device: torch.device, *, seed: int, batch_size: int, shuffle: bool
    ) -> None:
        self.optimizers = optimizers
        self.device = device
        self.seed, self.batch_size, self.shuffle = seed, batch_size, shuffle
        self.step = 0
        for optimizer in optimizers.values():
            for group in optimizer.param_groups:
                group["initial_lr"] = group["lr"]

    def set_rates(self, done: float, last: float) -> None:
        """Learning rates at the fraction ``done`` of a run: from the model's own down to ``last`` times that, along half a cosine.

        A model may still set rates of its own in ``training_step``.
        """
        factor = last + (1 - last) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = factor * group["initial_lr"]

    def generator(self, step: int | None = None) -> torch.Generator:
        """The random generator of a step (None: of this one), always at its beginning: the same noise can be drawn again later."""
        return generator(self.seed, "noise", self.step if step is None else step, self.device)

    def update(self, name: str, loss: Tensor) -> None:
        """Move the optimiser called ``name`` down the gradient of ``loss`` (a scalar). No other parameter gets a gradient."""
        optimizer = self.optimizers[name]
        optimizer.zero_grad(set_to_none=True)
        loss.backward(inputs=[p for group in optimizer.param_groups for p in group["params"]])
        optimizer.step()
