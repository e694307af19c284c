"""What the methods of a model answer, looked at where it arrives: what does not fit is told as the fault of its plug-in."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from pgen.engine.artifacts.weights import extra_state, pack, unpack
from pgen.errors import one_line
from pgen.plugins.entry_points import plugin_error
from pgen.plugins.registry import Plugin


def check_metrics(plugin: Plugin, method: str, found: Any) -> None:
    """UserError where ``method`` returned anything but a dictionary of scalars."""
    if not isinstance(found, dict):
        raise plugin_error(plugin.entry, f"{method} returned {type(found).__name__}, wanted a dictionary of scalar tensors")
    for name, value in found.items():
        if not (isinstance(value, Tensor) and value.numel() == 1):
            told = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else repr(value)
            raise plugin_error(plugin.entry, f"metric {name} of {method} is {told}, wanted a scalar tensor")


def check_held_out(plugin: Plugin, found: Any) -> None:
    """UserError where ``held_out_step`` returned anything but that, or not the metric that the spec's ``best`` names."""
    check_metrics(plugin, "held_out_step", found)
    best = plugin.spec.best
    if best is not None and best not in found:
        raise plugin_error(plugin.entry, f"its best is {best!r}, but held_out_step returns {', '.join(found) or 'nothing'}")


def check_extra_state(plugin: Plugin, state: dict[str, Any]) -> None:
    """UserError for extra state that a checkpoint could not give back: anything but tensors and plain values."""
    for name, value in extra_state(state).items():
        if isinstance(value, Tensor):
            continue
        try:
            unpack(pack(value))
        except Exception as error:
            kind = type(value).__name__
            raise plugin_error(
                plugin.entry,
                f"get_extra_state returned a {kind} as {name} that cannot be saved ({one_line(error)}); use tensors and plain values",
            ) from error


def check_samples(plugin: Plugin, found: Any, n: int, shape: tuple[int, ...]) -> None:
    """UserError where ``sample`` returned anything but n samples of ``shape``."""
    wanted = (n, *shape)
    if not isinstance(found, Tensor) or found.shape != wanted:
        told = f"has the shape {tuple(found.shape)}" if isinstance(found, Tensor) else f"returned {type(found).__name__}"
        raise plugin_error(plugin.entry, f"sample({n}) {told}, wanted {wanted}")


def parameters_without_optimizer(model: nn.Module, optimizers: dict[str, torch.optim.Optimizer]) -> list[str]:
    """Names of the parameters that no optimiser moves, though they ask for a gradient."""
    moved = {id(p) for each in optimizers.values() for group in each.param_groups for p in group["params"]}
    return [name for name, p in model.named_parameters() if p.requires_grad and id(p) not in moved]
