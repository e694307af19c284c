"""pgen: train, deploy, sample and evaluate generative models of liquid-argon detector images.

What the author of a plug-in imports is here, and is loaded only when touched, so that ``import pgen`` costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from pgen.errors import UserError as UserError
    from pgen.plugins.contract import API_VERSION as API_VERSION
    from pgen.plugins.contract import DataInfo as DataInfo
    from pgen.plugins.contract import MetricSpec as MetricSpec
    from pgen.plugins.contract import ModelConfig as ModelConfig
    from pgen.plugins.contract import ModelSpec as ModelSpec
    from pgen.plugins.hookspecs import hookimpl as hookimpl

_HOME = {
    "hookimpl": "pgen.plugins.hookspecs",
    "API_VERSION": "pgen.plugins.contract",
    "MetricSpec": "pgen.plugins.contract",
    "ModelSpec": "pgen.plugins.contract",
    "ModelConfig": "pgen.plugins.contract",
    "DataInfo": "pgen.plugins.contract",
    "UserError": "pgen.errors",
}
__all__ = ["API_VERSION", "DataInfo", "MetricSpec", "ModelConfig", "ModelSpec", "UserError", "__version__", "hookimpl"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'pgen' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOME[name]), name)
