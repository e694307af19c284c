"""What authors of plug-ins import from pgen, and what users type, as text: one line a name or option."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from typer.main import get_command

from pgen.cli.app import app
from pgen.cli.commands.train import model_command
from pgen.engine.config import TrainConfig
from pgen.plugins import hookspecs
from pgen.plugins.registry import load

#: Modules whose ``__all__`` is public, and names that are public in others.
MODULES = ("pgen", "pgen.data", "pgen.metrics", "pgen.ot", "pgen.testing")
NAMES = {
    "pgen.data.transforms.charge_scales": ("Scale",),
    "pgen.plugins.requests": ("DeployRequest", "SampleRequest"),
    "pgen.engine.run": ("Run",),
    "pgen.engine.monitoring.loggers": ("Logger",),
    "pgen.engine.training.trainer": ("Trainer",),
}


def surface() -> list[str]:
    """All of it, sorted where order does not matter to a user."""
    return [*api(), *hooks(), *commands(), *settings()]


def api() -> Iterator[str]:
    public = {module: tuple(import_module(module).__all__) for module in MODULES} | NAMES
    for module, names in sorted(public.items()):
        for name in sorted(names):
            yield from described(f"{module}.{name}", getattr(import_module(module), name))


def described(path: str, value: Any) -> Iterator[str]:
    if inspect.isclass(value):
        yield f"class {path}{signature(value)}"
        for name, member in sorted(vars(value).items()):
            if name.startswith("_") or name in ("model_config",):
                continue
            if callable(member) or isinstance(member, classmethod | staticmethod):
                yield f"  {path}.{name}{signature(getattr(value, name))}"
            elif isinstance(member, property):
                yield f"  {path}.{name}"
    elif inspect.isfunction(value):
        yield f"def {path}{signature(value)}"
    else:
        yield f"{path}: {type(value).__name__}"


def signature(value: Any) -> str:
    try:
        return str(inspect.signature(value))
    except ValueError:
        return ""


def hooks() -> Iterator[str]:
    for name, value in sorted(vars(hookspecs).items()):
        if hasattr(value, "pgen_spec"):
            yield f"hook {name}{signature(value)}"


def commands() -> Iterator[str]:
    yield from options("pgen", get_command(app))
    for model in ("ae", "ewm", "flow", "gan"):
        yield from options(f"pgen train {model}", model_command(model))


def settings() -> Iterator[str]:
    for config in (TrainConfig, *(load(model).config_class() for model in ("ae", "ewm", "flow", "gan"))):
        for name, field in config.model_fields.items():
            yield f"{config.__name__}.{name}: {inspect.formatannotation(field.annotation)} = {field.default!r}"


def options(path: str, command: Any) -> Iterator[str]:
    """Typer brings along its own Click, in one version, and takes another in others: only what both have is asked."""
    children = getattr(command, "commands", {})
    if children or hasattr(command, "list_commands"):
        for name in command.list_commands(None):
            if path != "pgen train":  # its children are the models
                yield from options(f"{path} {name}", command.get_command(None, name))
    else:
        yield path
    for parameter in command.params:
        if parameter.name != "help":
            spelt = "/".join([*getattr(parameter, "opts", ()), *getattr(parameter, "secondary_opts", ())])
            needed = " (required)" if parameter.required else ""
            yield f"{path} {spelt}{needed}"
