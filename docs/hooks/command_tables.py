"""Tables of every command and option, from the objects that make up the command line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from typer.main import get_command

from pgen.cli.app import app
from pgen.cli.commands import presets
from pgen.cli.commands.train import model_command
from pgen.engine.config import TrainConfig
from pgen.plugins import registry
from pgen.plugins.entry_points import MODELS, entries

Row = tuple[str, str, str, str]

_DEFAULT = re.compile(r"\s*\[default: (.+?)\]$")
_HIDDEN_OPTIONS = {"--help", "--install-completion", "--show-completion"}
_TYPES = {int: "whole number", float: "number", str: "text", Path: "path", bool: "flag"}
_BOUNDS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}


def commands() -> str:
    root = get_command(app)
    return "\n".join(["## Options before any command", "", *_table(map(_option_row, _options(root))), *_group(root, "pgen")])


def _group(group: Any, path: str) -> Iterator[str]:
    context = _context(group, path)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if f"{path} {name}" == "pgen train":
            yield from _train(command)
        elif f"{path} {name}" == "pgen evaluate":
            yield from _evaluate(command)
        else:
            yield from _command(command, f"{path} {name}")
            if hasattr(command, "list_commands"):
                yield from _group(command, f"{path} {name}")


def _command(command: Any, path: str) -> Iterator[str]:
    level = "##" if path.count(" ") == 1 else "###"
    yield from ("", f"{level} {path}", "", _one_line(command.help), "")
    yield from _table([*_argument_rows(command), *map(_option_row, _options(command))])


def _train(group: Any) -> Iterator[str]:
    """One command per model; the options that all models share are listed once."""
    yield from ("", "## pgen train", "", _one_line(group.help), "")
    shared: dict[str, Any] = {}
    for name in (entry.name for entry in entries(MODELS) if entry.package == "pgen"):
        command, plugin = model_command(name), registry.load(name)
        own = [option for option in _options(command) if getattr(option, "rich_help_panel", "") == f"Options of {name}"]
        shared |= {option.name: option for option in _options(command) if option not in own and option.name not in shared}
        yield from ("", f"### pgen train {name}", "", f"{plugin.spec.summary}.", "")
        if plugin.spec.settings:
            yield from (f"This model changes some defaults of the shared options: {_as_options(plugin.spec.settings)}.", "")
        fields = plugin.config_class().model_fields
        yield from _table(_option_row(option, fields[option.name]) for option in own)
    yield from ("", "### Options of every model", "", "All models, including plug-ins, have these options besides their own.", "")
    yield from _table(_option_row(option, TrainConfig.model_fields.get(option.name)) for option in shared.values())
    yield from ("", "### Presets", "", "`--preset NAME` starts from these options. Options on the command line override them.", "")
    yield "| preset | model | options |\n|---|---|---|"
    for preset in presets.preset_names():
        for model, options in presets.load_tables(preset).items():
            yield f"| `{preset}` | `{model}` | {_as_options(options)} |"


def _evaluate(group: Any) -> Iterator[str]:
    """One command per metric, which all have the same options, and a few more."""
    context = _context(group, "pgen evaluate")
    metrics = registry.metrics()[0]
    yield from ("", "## pgen evaluate", "", _one_line(group.help), "")
    yield from _command(group.get_command(context, "all"), "pgen evaluate all")
    yield from ("", "### pgen evaluate METRIC", "", "One metric, with the same options as `pgen evaluate all`:", "")
    yield "| metric | question |\n|---|---|"
    yield from (f"| `{name}` | {_cell(spec.summary)} |" for name, (entry, spec) in metrics.items() if entry.package == "pgen")
    for name in group.list_commands(context):
        if name != "all" and name not in metrics:
            yield from _command(group.get_command(context, name), f"pgen evaluate {name}")


def _as_options(values: dict[str, Any]) -> str:
    return ", ".join(f"`--{key.replace('_', '-')} {value}`" for key, value in values.items())


def _options(command: Any) -> list[Any]:
    return [option for option in command.params if option.param_type_name == "option" and not _HIDDEN_OPTIONS & set(option.opts)]


def _argument_rows(command: Any) -> list[Row]:
    arguments = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
    return [
        (f"`{(argument.metavar or argument.name.upper()).replace('|', ' or ')}`", _type(argument), _default(argument), argument.help or "")
        for argument in arguments
    ]


def _option_row(option: Any, field: Any = None) -> Row:
    """A row of a table.

    Args:
        option: The option of the command line.
        field: The pydantic field behind it, with default and bounds, for options of training.
    """
    text = option.help or ""
    default = _default(option)
    if field is not None and (value := field.get_default()) is not None:
        default = f"`{str(value).lower() if isinstance(value, bool) else value}`"
    elif match := _DEFAULT.search(text):
        default = match[1] if " " in match[1] else f"`{match[1]}`"
    names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    return names, _type(option, _field_bounds(field) if field else ""), default, _DEFAULT.sub("", text)


def _default(parameter: Any) -> str:
    shown = getattr(parameter, "show_default", None)
    if parameter.required:
        return "required"
    if isinstance(shown, str):
        return shown
    value = parameter.default
    if callable(value) or value in (None, (), []) or value is False or type(value).__name__ == "Sentinel":
        return ""
    return f"`{', '.join(map(str, value)) if isinstance(value, list | tuple) else value}`"


def _type(parameter: Any, bounds: str = "") -> str:
    if getattr(parameter, "is_flag", False):
        return "flag"
    kind = parameter.type_descriptor.annotation
    if get_origin(kind) is list:
        (kind,) = get_args(kind)
    name = " or ".join(f"`{word}`" for word in get_args(kind)) if get_origin(kind) is Literal else _TYPES[kind]
    bounds = bounds or _bounds(ge=parameter.min, le=parameter.max)
    return name + (f", {bounds}" if bounds else "") + (", repeatable" if parameter.multiple or parameter.nargs == -1 else "")


def _field_bounds(field: Any) -> str:
    """The bounds of a pydantic field."""
    return _bounds(**{name: getattr(limit, name) for limit in field.metadata for name in _BOUNDS if hasattr(limit, name)})


def _bounds(**limits: Any) -> str:
    return " and ".join(f"{_BOUNDS[name]} {_limit(value)}" for name, value in limits.items() if value is not None)


def _limit(value: float) -> str:
    is_power_of_two = isinstance(value, int) and value > 9999 and value & (value - 1) == 0
    return f"2^{value.bit_length() - 1}" if is_power_of_two else f"{value:,}"


def _table(rows: Iterable[Row]) -> list[str]:
    lines = ["| " + " | ".join(map(_cell, row)) + " |" for row in rows]
    return ["| option | type | default | meaning |", "|---|---|---|---|", *lines, ""] if lines else []


def _one_line(text: str | None) -> str:
    return " ".join((text or "").split())


def _cell(text: str) -> str:
    return re.sub(r"(?<!\\)\|", r"\\|", _one_line(text)).replace("<", "&lt;")


def _context(group: Any, path: str) -> Any:
    return group.context_class(group, info_name=path)


PARTS = {"commands": commands}
