"""Exponential moving average (EMA) of weights, which generates better images than the last step."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parameter import is_lazy

from pgen.errors import ConfigError, one_line, option


class ExponentialMovingAverage:
    """EMA of a model's parameters and of the running statistics of its batch normalisation.

    All other state (other buffers, counters, ``get_extra_state`` of every submodule) is copied from
    the model. torch's ``AveragedModel`` averages all buffers or none, and leaves extra state as it
    was before training.

    The decay at update t is min(decay, (1 + t) / (10 + t)), so that the first weights do not
    dominate a short run.

    Attributes:
        model: The model with averaged weights, in evaluation mode.
        updates: Number of updates.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        """Start from a copy of the model.

        Args:
            model: The model.
            decay: Largest weight of the former average in an update, below 1.

        Raises:
            ConfigError: The model cannot be copied, or has lazy parameters.
        """
        self._decay, self.updates = decay, 0
        if lazy := {name for name, values in model.named_parameters() if is_lazy(values)}:
            raise _changed_error(lazy)
        try:
            self.model = copy.deepcopy(model).eval().requires_grad_(False)
        except Exception as error:
            reason = one_line(error)
            raise ConfigError(f"{option('ema', f'{decay:g}')}: the model cannot be copied ({reason}); leave it out.") from error
        self._averaged, self._copied = _state_tensors(self.model)

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Average in the current weights of ``model`` and copy the rest of its state.

        Raises:
            ConfigError: The model's parameters or buffers are others than when training began.
        """
        weight = 1 - min(self._decay, (1 + self.updates) / (10 + self.updates)) if self.updates else 1.0
        averaged, copied = _state_tensors(model)
        if pairs := _pair_by_name(self._averaged, averaged):
            # One fused operation is faster than one per tensor.
            torch._foreach_lerp_([own for own, _ in pairs], [values for _, values in pairs], weight)
        self._copy_state(model, copied)
        self.updates += 1

    @torch.no_grad()
    def copy_rest(self, model: nn.Module) -> None:
        """Copy all state that is not averaged from ``model``."""
        self._copy_state(model, _state_tensors(model)[1])

    def _copy_state(self, model: nn.Module, copied: dict[str, Tensor]) -> None:
        if pairs := _pair_by_name(self._copied, copied):
            torch._foreach_copy_([own for own, _ in pairs], [values for _, values in pairs])
        for own, module in zip(self.model.modules(), model.modules(), strict=True):
            if type(module).get_extra_state is not nn.Module.get_extra_state:
                own.set_extra_state(copy.deepcopy(module.get_extra_state()))

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint stores."""
        return {"model": self.model.state_dict(), "updates": self.updates}

    def load(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state` returned."""
        self.model.load_state_dict(state["model"])
        self.updates = state["updates"]


def _state_tensors(model: nn.Module) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the parameters and buffers by name: those that are averaged, and the others."""
    averaged: dict[str, Tensor] = {}
    copied: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        (averaged if parameter.is_floating_point() or parameter.is_complex() else copied)[name] = parameter
    for prefix, module in model.named_modules():
        is_norm = isinstance(module, _BatchNorm)
        for name, values in module.named_buffers(prefix, recurse=False):
            (averaged if is_norm and values.is_floating_point() else copied)[name] = values
    return averaged, copied


def _pair_by_name(own: dict[str, Tensor], source: dict[str, Tensor]) -> list[tuple[Tensor, Tensor]]:
    changed = own.keys() ^ source.keys() or {name for name, values in own.items() if values.shape != source[name].shape}
    if changed:
        raise _changed_error(changed)
    return [(values, source[name]) for name, values in own.items()]


def _changed_error(names: set[str]) -> ConfigError:
    return ConfigError(
        f"{option('ema')}: {', '.join(sorted(names))} of the model came, went or changed shape since training began; leave it out, or let "
        "the model make all its parameters and buffers in __init__."
    )
