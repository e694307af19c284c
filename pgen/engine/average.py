"""A running average of weights (EMA), which generates better and steadier images than the last step's."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class Average:
    """The exponential moving average of a model's parameters and of the running statistics of its batch normalisations; all other buffers
    are those of the last step that moved a weight. (torch's AveragedModel averages all buffers or none.)

    The decay rises to ``decay`` as (1 + t) / (10 + t) over the updates t, so that a short run is not judged by its first weights.

    model: the model with averaged weights, in evaluation mode. updates: how many there were.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._decay, self.updates = decay, 0
        self.model = copy.deepcopy(model).eval().requires_grad_(False)

    @torch.no_grad()
    def follow(self, model: nn.Module) -> None:
        """Take in the weights of ``model``, which have moved."""
        weight = 1 - min(self._decay, (1 + self.updates) / (10 + self.updates)) if self.updates else 1.0
        # Many small tensors in few operations.
        torch._foreach_lerp_(_averaged(self.model), _averaged(model), weight)
        torch._foreach_copy_(_copied(self.model), _copied(model))
        self.updates += 1

    def state(self) -> dict[str, Any]:
        return {"model": self.model.state_dict(), "updates": self.updates}

    def load(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.updates = state["updates"]


def _averaged(model: nn.Module) -> list[Tensor]:
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    return [*model.parameters(), *(values for norm in norms for values in norm.buffers() if values.is_floating_point())]


def _copied(model: nn.Module) -> list[Tensor]:
    averaged = set(map(id, _averaged(model)))
    return [values for values in model.buffers() if id(values) not in averaged]
