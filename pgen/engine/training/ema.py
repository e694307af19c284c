"""Exponential moving average (EMA) of weights, which generates better images."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parameter import is_lazy

from pgen.errors import PluginError, one_line, option


class ExponentialMovingAverage:
    """The EMA of a model's parameters and of the running statistics of its batch norms.

    All other state (buffers, counters, ``get_extra_state`` of every submodule) is copied from the
    model. (torch's AveragedModel averages all buffers or none, and keeps the extra state of the
    untrained model.)

    The decay rises to ``decay`` as (1 + t) / (10 + t) over the updates t, so that the average of a
    short run is not dominated by its first weights.

    Attributes:
        model: The model with averaged weights, in evaluation mode.
        updates: Number of updates.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._decay, self.updates = decay, 0
        if lazy := {name for name, values in model.named_parameters() if is_lazy(values)}:
            raise _state_changed_error(lazy)
        try:
            self.model = copy.deepcopy(model).eval().requires_grad_(False)
        except Exception as error:
            raise PluginError(
                f"{option('ema', f'{decay:g}')}: the model cannot be copied ({one_line(error)}); leave {option('ema')} out."
            ) from error
        self._averaged, self._copied = _state_tensors(self.model)

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Update the average with the new weights of ``model``."""
        weight = 1 - min(self._decay, (1 + self.updates) / (10 + self.updates)) if self.updates else 1.0
        averaged, copied = _state_tensors(model)
        if pairs := _pair(self._averaged, averaged):
            # Many small tensors in few operations.
            torch._foreach_lerp_([average for average, _ in pairs], [current for _, current in pairs], weight)
        self._copy_rest(model, copied)
        self.updates += 1

    @torch.no_grad()
    def copy_rest(self, model: nn.Module) -> None:
        """Copy all state that is not averaged from ``model``."""
        self._copy_rest(model, _state_tensors(model)[1])

    def _copy_rest(self, model: nn.Module, copied: dict[str, Tensor]) -> None:
        if pairs := _pair(self._copied, copied):
            torch._foreach_copy_([own for own, _ in pairs], [values for _, values in pairs])
        for own, module in zip(self.model.modules(), model.modules(), strict=True):
            if type(module).get_extra_state is not nn.Module.get_extra_state:
                own.set_extra_state(copy.deepcopy(module.get_extra_state()))

    def state(self) -> dict[str, Any]:
        """Return the state for a checkpoint."""
        return {"model": self.model.state_dict(), "updates": self.updates}

    def load(self, state: dict[str, Any]) -> None:
        """Restore the state of a checkpoint."""
        self.model.load_state_dict(state["model"])
        self.updates = state["updates"]


def _state_tensors(model: nn.Module) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return parameters and buffers by name: those that are averaged, and the others."""
    averaged: dict[str, Tensor] = {}
    copied: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        (averaged if parameter.is_floating_point() or parameter.is_complex() else copied)[name] = parameter
    for prefix, module in model.named_modules():
        is_norm = isinstance(module, _BatchNorm)
        for name, values in module.named_buffers(prefix, recurse=False):
            (averaged if is_norm and values.is_floating_point() else copied)[name] = values
    return averaged, copied


def _pair(own: dict[str, Tensor], model: dict[str, Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Pair tensors of the same names.

    Raises:
        PluginError: The model has other tensors than when training began.
    """
    changed = own.keys() ^ model.keys() or {name for name, values in own.items() if values.shape != model[name].shape}
    if changed:
        raise _state_changed_error(changed)
    return [(values, model[name]) for name, values in own.items()]


def _state_changed_error(names: set[str]) -> PluginError:
    return PluginError(
        f"{option('ema')}: {', '.join(sorted(names))} of the model appeared, vanished or changed shape in training; leave it out, or let "
        "the model make all its parameters and buffers in __init__."
    )
