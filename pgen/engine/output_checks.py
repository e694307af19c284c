"""Checks of what a model's methods return; a wrong value is reported as an error of its plug-in."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from pgen.engine.artifacts.weights import extra_state, pack, unpack
from pgen.errors import one_line
from pgen.plugins.entry_points import plugin_error
from pgen.plugins.registry import Plugin


def check_metrics(plugin: Plugin, method: str, metrics: Any) -> None:
    """Check that ``method`` returned a dictionary of scalar tensors.

    Raises:
        PluginError: It returned something else.
    """
    if not isinstance(metrics, dict):
        raise plugin_error(plugin.entry, f"{method} returned {type(metrics).__name__}, expected a dictionary of scalar tensors")
    for name, value in metrics.items():
        if not (isinstance(value, Tensor) and value.numel() == 1):
            content = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else repr(value)
            raise plugin_error(plugin.entry, f"metric {name} of {method} is {content}, expected a scalar tensor")


def check_held_out(plugin: Plugin, metrics: Any) -> None:
    """Check that ``held_out_step`` returned metrics, among them the spec's ``best``.

    Raises:
        PluginError: It did not.
    """
    check_metrics(plugin, "held_out_step", metrics)
    best = plugin.spec.best
    if best is not None and best not in metrics:
        raise plugin_error(plugin.entry, f"its best is {best!r}, but held_out_step returns {', '.join(metrics) or 'nothing'}")


def check_extra_state(plugin: Plugin, state: dict[str, Any]) -> None:
    """Check that a checkpoint can restore a model's extra state: tensors and plain values.

    Raises:
        PluginError: ``get_extra_state`` of a module returned something else.
    """
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


def check_samples(plugin: Plugin, samples: Any, n: int, shape: tuple[int, ...]) -> None:
    """Check that ``sample`` returned a tensor (n, *shape).

    Raises:
        PluginError: It returned something else.
    """
    expected = (n, *shape)
    if not isinstance(samples, Tensor) or samples.shape != expected:
        content = f"has the shape {tuple(samples.shape)}" if isinstance(samples, Tensor) else f"returned {type(samples).__name__}"
        raise plugin_error(plugin.entry, f"sample({n}) {content}, expected {expected}")


def parameters_without_optimizer(model: nn.Module, optimizers: dict[str, torch.optim.Optimizer]) -> list[str]:
    """Name the parameters that require a gradient but are in no optimiser."""
    optimized = {id(p) for optimizer in optimizers.values() for group in optimizer.param_groups for p in group["params"]}
    return [name for name, p in model.named_parameters() if p.requires_grad and id(p) not in optimized]
