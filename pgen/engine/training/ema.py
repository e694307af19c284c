"""A running average of weights (EMA), which generates better and steadier images than the last step's."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parameter import is_lazy

from pgen.errors import PgenError, one_line


class ExponentialMovingAverage:
    """The exponential moving average of a model's parameters and of the running statistics of its batch normalisations. All else that is
    state (other buffers, counters, ``get_extra_state`` of every submodule) is the model's own. (torch's AveragedModel averages all buffers
    or none, and leaves extra state as it was before training.)

    The decay rises to ``decay`` as (1 + t) / (10 + t) over the updates t, so that a short run is not judged by its first weights.

    model: the model with averaged weights, in evaluation mode. updates: how many there were.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._decay, self.updates = decay, 0
        if lazy := {name for name, values in model.named_parameters() if is_lazy(values)}:
            raise _changed(lazy)
        try:
            self.model = copy.deepcopy(model).eval().requires_grad_(False)
        except Exception as error:
            raise PgenError(f"--ema {decay:g}: the model cannot be copied ({one_line(error)}); leave --ema out.") from error
        self._averaged, self._copied = _state_tensors(self.model)

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take in the weights of ``model``, which have moved."""
        weight = 1 - min(self._decay, (1 + self.updates) / (10 + self.updates)) if self.updates else 1.0
        averaged, copied = _state_tensors(model)
        if pairs := _paired(self._averaged, averaged):
            # Many small tensors in few operations.
            torch._foreach_lerp_([own for own, _ in pairs], [moved for _, moved in pairs], weight)
        self._copy_rest(model, copied)
        self.updates += 1

    @torch.no_grad()
    def copy_rest(self, model: nn.Module) -> None:
        """Make all state that is not averaged that of ``model``."""
        self._copy_rest(model, _state_tensors(model)[1])

    def _copy_rest(self, model: nn.Module, copied: dict[str, Tensor]) -> None:
        if pairs := _paired(self._copied, copied):
            torch._foreach_copy_([own for own, _ in pairs], [values for _, values in pairs])
        for own, module in zip(self.model.modules(), model.modules(), strict=True):
            if type(module).get_extra_state is not nn.Module.get_extra_state:
                own.set_extra_state(copy.deepcopy(module.get_extra_state()))

    def state(self) -> dict[str, Any]:
        return {"model": self.model.state_dict(), "updates": self.updates}

    def load(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.updates = state["updates"]


def _state_tensors(model: nn.Module) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Parameters and buffers by name: those that are averaged, and the others."""
    averaged: dict[str, Tensor] = {}
    copied: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        (averaged if parameter.is_floating_point() or parameter.is_complex() else copied)[name] = parameter
    for prefix, module in model.named_modules():
        is_norm = isinstance(module, _BatchNorm)
        for name, values in module.named_buffers(prefix, recurse=False):
            (averaged if is_norm and values.is_floating_point() else copied)[name] = values
    return averaged, copied


def _paired(own: dict[str, Tensor], followed: dict[str, Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Tensors of the same names. UserError where the model has others than when training began."""
    changed = own.keys() ^ followed.keys() or {name for name, values in own.items() if values.shape != followed[name].shape}
    if changed:
        raise _changed(changed)
    return [(values, followed[name]) for name, values in own.items()]


def _changed(names: set[str]) -> PgenError:
    return PgenError(
        f"--ema: {', '.join(sorted(names))} of the model came, went or changed shape since training began; leave --ema out, or let the "
        "model make all its parameters and buffers in __init__."
    )
