"""A running average of weights (EMA), which generates better and steadier images than the last step's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


class Average:
    """The exponential moving average of a model's weights and buffers. Its decay rises to ``decay`` as (1 + t) / (10 + t) over the updates
    t, so that a short run is not judged by its first weights."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._decay = decay
        self._averaged = AveragedModel(model, multi_avg_fn=self._move, use_buffers=True)

    @property
    def model(self) -> nn.Module:
        """The model with averaged weights, in evaluation mode."""
        return self._averaged.module.eval()

    def follow(self, model: nn.Module) -> None:
        """Take in the weights of ``model``, which have moved."""
        self._averaged.update_parameters(model)

    def state(self) -> dict[str, Any]:
        return {"model": self._averaged.module.state_dict(), "updates": int(self._averaged.n_averaged)}

    def load(self, state: dict[str, Any]) -> None:
        self._averaged.module.load_state_dict(state["model"])
        self._averaged.n_averaged.fill_(state["updates"])

    @torch.no_grad()
    def _move(self, averaged: Sequence[Tensor], current: Sequence[Tensor], _: Tensor | int) -> None:
        updates = int(self._averaged.n_averaged)  # on the CPU
        weight = 1 - min(self._decay, (1 + updates) / (10 + updates))
        for mine, other in zip(averaged, current, strict=True):
            if mine.is_floating_point():
                mine.lerp_(other, weight)
            else:
                mine.copy_(other)
