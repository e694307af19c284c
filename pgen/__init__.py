"""pgen: train, deploy, sample and evaluate generative models of liquid-argon detector images.

Names are loaded on first use, so that ``import pgen`` costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pgen._version import __version__

if TYPE_CHECKING:
    from pgen.api import Run as Run
    from pgen.api import evaluate as evaluate
    from pgen.api import load as load
    from pgen.api import open_images as open_images
    from pgen.api import split as split
    from pgen.api import train as train
    from pgen.errors import ConfigError as ConfigError
    from pgen.errors import DataError as DataError
    from pgen.errors import DeviceError as DeviceError
    from pgen.errors import PgenError as PgenError
    from pgen.errors import PluginError as PluginError
    from pgen.errors import RunError as RunError
    from pgen.errors import UserError as UserError
    from pgen.plugins.hookspecs import hookimpl as hookimpl
    from pgen.plugins.specs import API_VERSION as API_VERSION
    from pgen.plugins.specs import DataInfo as DataInfo
    from pgen.plugins.specs import MetricSpec as MetricSpec
    from pgen.plugins.specs import ModelConfig as ModelConfig
    from pgen.plugins.specs import ModelSpec as ModelSpec

_MODULES = {
    "pgen.api": ("Run", "evaluate", "load", "open_images", "split", "train"),
    "pgen.errors": ("ConfigError", "DataError", "DeviceError", "PgenError", "PluginError", "RunError", "UserError"),
    "pgen.plugins.hookspecs": ("hookimpl",),
    "pgen.plugins.specs": ("API_VERSION", "DataInfo", "MetricSpec", "ModelConfig", "ModelSpec"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}
__all__ = ["__version__", *_MODULE_OF]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'pgen' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
