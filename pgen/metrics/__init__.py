"""Metrics that score generated images against real ones. Names are imported on first use.

A metric is a function from :class:`EvaluationSets` to a :class:`MetricResult`. This package knows
arrays only: no files, no figures, no models.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pgen.metrics.inputs import EvaluationSets as EvaluationSets
    from pgen.metrics.results import Measurement as Measurement
    from pgen.metrics.results import MetricResult as MetricResult
    from pgen.metrics.results import PerSet as PerSet
    from pgen.metrics.runner import evaluate as evaluate
    from pgen.metrics.significance import measure as measure

_MODULES = {
    "inputs": ("EvaluationSets",),
    "results": ("Measurement", "MetricResult", "PerSet"),
    "runner": ("evaluate",),
    "significance": ("measure",),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}
__all__ = list(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
