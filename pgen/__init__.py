"""pgen: train, deploy, sample and evaluate generative models of liquid-argon detector images.

What the author of a plug-in imports is here, and is loaded only when touched, so that ``import pgen`` costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pgen._version import __version__

if TYPE_CHECKING:
    from pgen.errors import PgenError as PgenError
    from pgen.errors import UserError as UserError
    from pgen.plugins.hookspecs import hookimpl as hookimpl
    from pgen.plugins.specs import API_VERSION as API_VERSION
    from pgen.plugins.specs import DataInfo as DataInfo
    from pgen.plugins.specs import MetricSpec as MetricSpec
    from pgen.plugins.specs import ModelConfig as ModelConfig
    from pgen.plugins.specs import ModelSpec as ModelSpec

_HOME = {
    "hookimpl": "pgen.plugins.hookspecs",
    "API_VERSION": "pgen.plugins.specs",
    "MetricSpec": "pgen.plugins.specs",
    "ModelSpec": "pgen.plugins.specs",
    "ModelConfig": "pgen.plugins.specs",
    "DataInfo": "pgen.plugins.specs",
    "PgenError": "pgen.errors",
    "UserError": "pgen.errors",
}
__all__ = ["API_VERSION", "DataInfo", "MetricSpec", "ModelConfig", "ModelSpec", "PgenError", "UserError", "__version__", "hookimpl"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'pgen' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOME[name]), name)
